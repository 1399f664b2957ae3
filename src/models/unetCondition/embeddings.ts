/** What conditions a U-Net beside the noise: one vector for all blocks, and the context of the cross-attentions. */
import { InvalidArgumentError, type Tensor } from '../../engine/index.ts';
import { addShared } from '../../kernels/addShared.ts';
import { add, attention, concat, embedding, packRows, reshape, unary, type Activation } from '../../kernels/index.ts';
import { affineLayerNorm } from '../blocks/layerNorm.ts';
import { conv, dense } from '../layers.ts';
import { joinTokens, takeTokens } from '../transformers/tokens.ts';
import type { WeightScope } from '../weightScope.ts';
import type { EncoderConfig } from './unetConditionConfig.ts';

/** In storage layout; which of them a network reads, its config says. */
export interface Conditions {
  /** Sinusoidal or Fourier features [B,F]. */
  timestep: Tensor;
  /** [B,timeCondProjDim], added to the features through a projection. */
  timestepCond?: Tensor;
  /** Class ids u32 [B], features of a class timestep [B,F], or a vector [B,E]. */
  classLabels?: Tensor;
  /** Text states [B,S,E]. */
  context?: Tensor;
  /** Pooled text [B,P]. */
  textEmbeds?: Tensor;
  /** Features of the time ids, side by side [B,n·additionTimeEmbedDim]. */
  timeIds?: Tensor;
  /** [B,P]. */
  imageEmbeds?: Tensor;
  /** A picture of eight times the size, [B,8H,8W,3]. */
  hint?: Tensor;
  /** Features of objects and boxes, [B,N,E + box features] each. */
  objects?: readonly Tensor[];
}

/** Width of the timestep features that the host computes. */
export function timeFeatureDim({ timeEmbeddingType, timeEmbeddingDim, blockOutChannels }: EncoderConfig): number {
  return timeEmbeddingType === 'fourier' ? timeEmbeddingDim : blockOutChannels[0];
}

/** Tokens that an image embedding becomes, alone and in front of text. */
const IMAGE_TOKENS = 32;
export const IMAGE_TEXT_TOKENS = 10;

/** The sum (or pair) of all embeddings, [B,D] or [B,2D], without the activation that blocks apply. */
export function embedConditions(config: EncoderConfig, w: WeightScope, c: Conditions): Tensor {
  const { timeEmbeddingDim: D, timestepPostAct, timeEmbeddingAct, act } = config;
  if (config.timeEmbeddingType === 'fourier') w.at('time_proj').param('weight', [D / 2]); // read on the host
  let features = c.timestep; // [B,F]
  const at = w.at('time_embedding');
  if (config.timeCondProjDim !== null) {
    const name = at.at('cond_proj');
    if (c.timestepCond) features = dense(name, c.timestepCond, features.shape[1], { bias: false, residual: features });
    else name.param('weight', [features.shape[1], config.timeCondProjDim]);
  }
  let e = mlp(at, features, D, act); // [B,D]
  if (timestepPostAct) e = unary(e, { act: timestepPostAct }); // [B,D]
  const label = classEmbedding(config, w.at('class_embedding'), c); // [B,D]
  if (label) e = config.classEmbeddingsConcat ? concat(e, label) : add(e, label); // [B,D] or [B,2D]
  const added = addedEmbedding(config, w.at('add_embedding'), c); // [B,D]
  if (added) e = add(e, added); // [B,D]
  return timeEmbeddingAct ? unary(e, { act: timeEmbeddingAct }) : e; // [B,D] or [B,2D]
}

function classEmbedding(config: EncoderConfig, w: WeightScope, c: Conditions): Tensor | undefined {
  const { classEmbedding: kind, timeEmbeddingDim: D, numClassEmbeds, classAct } = config;
  if (kind === 'none') return undefined;
  const labels = expected(c, 'classLabels');
  switch (kind) {
    case 'table':
      return embedding(labels, w.param('weight', [numClassEmbeds!, D])); // [B,D]
    case 'timestep':
      return mlp(w, labels, D, classAct); // [B,D]
    case 'identity':
      return labels; // [B,D]
    case 'projection':
      return mlp(w, labels, D, 'silu'); // [B,D]
    case 'simple_projection':
      return dense(w, labels, D); // [B,D]
  }
}

function addedEmbedding(config: EncoderConfig, w: WeightScope, c: Conditions): Tensor | undefined {
  const { addition, timeEmbeddingDim: D, additionHeads } = config;
  const image = () => dense(w.at('image_proj'), expected(c, 'imageEmbeds'), D); // [B,D]
  switch (addition) {
    case 'none':
      return undefined;
    case 'text': {
      const pooled = attentionPool(w.at('pool'), affineLayerNorm(w.at('norm1'), expected(c, 'context')), additionHeads);
      return affineLayerNorm(w.at('norm2'), dense(w.at('proj'), pooled, D)); // [B,D]
    }
    case 'text_time':
      return mlp(w, concat(expected(c, 'textEmbeds'), expected(c, 'timeIds')), D, 'silu'); // [B,D]
    case 'text_image': {
      const text = dense(w.at('text_proj'), expected(c, 'textEmbeds'), D); // [B,D]
      return add(image(), affineLayerNorm(w.at('text_norm'), text)); // [B,D]
    }
    default:
      return affineLayerNorm(w.at('image_norm'), image()); // [B,D]
  }
}

/** Two linear layers with an activation between: `TimestepEmbedding`. x [B,F] → [B,D]. */
function mlp(w: WeightScope, x: Tensor, D: number, act: Activation): Tensor {
  return dense(w.at('linear_2'), dense(w.at('linear_1'), x, D, { act }), D); // [B,D]
}

/** The mean of all tokens, with a position added, looks at itself and at all of them. x [B,S,D] → [B,D]. */
function attentionPool(w: WeightScope, x: Tensor, heads: number): Tensor {
  const [B, , D] = x.shape;
  const place = x.graph.constant(w.param('positional_embedding', [1, D]), packRows(0, 1), 'f32');
  const mean = x.graph.scope(w.path, () => addShared(meanToken(x), place)); // [B,1,D]
  const all = joinTokens(mean, x); // [B,S+1,D]
  const q = dense(w.at('q_proj'), mean, D); // [B,1,D]
  const k = dense(w.at('k_proj'), all, D); // [B,S+1,D]
  const v = dense(w.at('v_proj'), all, D); // [B,S+1,D]
  return reshape(
    x.graph.scope(w.path, () => attention(q, k, v, { heads })),
    [B, D],
  ); // [B,D]
}

/** x [B,S,D] → [B,1,D]: attention whose scores are all zero weighs all tokens alike. */
export function meanToken(x: Tensor): Tensor {
  const [, S, D] = x.shape;
  if (S === 1) return x;
  let heads = 1;
  while (D / heads > 1024 || D % heads !== 0) heads++;
  return attention(takeTokens(x, 0, 1), x, x, { heads, scale: 0 }); // [B,1,D]
}

/** What the cross-attentions look at, [B,S,crossAttentionDim]. */
export function embedContext(config: EncoderConfig, w: WeightScope, c: Conditions): Tensor | undefined {
  const E = config.crossAttentionDim[0];
  const at = w.at('encoder_hid_proj');
  const imageTokens = (tokens: number) => {
    const image = expected(c, 'imageEmbeds');
    return reshape(dense(at.at('image_embeds'), image, tokens * E), [image.shape[0], tokens, E]); // [B,tokens,E]
  };
  switch (config.contextProjection) {
    case 'none':
      return c.context; // [B,S,E]
    case 'text_proj':
      return dense(at, expected(c, 'context'), E); // [B,S,E]
    case 'text_image_proj': {
      const image = imageTokens(IMAGE_TEXT_TOKENS); // [B,10,E]
      return joinTokens(image, dense(at.at('text_proj'), expected(c, 'context'), E)); // [B,10+S,E]
    }
    case 'image_proj':
      return affineLayerNorm(at.at('norm'), imageTokens(IMAGE_TOKENS)); // [B,32,E]
  }
}

/** Channels behind each convolution of the hint; the even ones from the third on halve the size. */
const HINT_CHANNELS = [16, 16, 32, 32, 96, 96, 256, 4];

/** A picture in the channels of the sample: hint [B,8H,8W,3] → [B,H,W,4]. `ImageHintTimeEmbedding` in diffusers. */
export function embedHint(w: WeightScope, c: Conditions): Tensor {
  let x = expected(c, 'hint');
  HINT_CHANNELS.forEach((channels, i) => {
    const last = i === HINT_CHANNELS.length - 1;
    const stride = i > 0 && i % 2 === 0 ? 2 : 1;
    x = conv(w.at('input_hint_block', 2 * i), x, channels, { stride, act: last ? 'none' : 'silu' });
  });
  return x; // [B,H,W,4]
}

function expected<K extends Exclude<keyof Conditions, 'objects'>>(c: Conditions, name: K): Tensor {
  const tensor = c[name];
  if (tensor) return tensor;
  throw new InvalidArgumentError(`U-Net: expected ${name} for this config, got none; pass it with the sample`);
}
