/**
 * The prior of unCLIP: a transformer over text, pooled condition, timestep and noisy embedding that predicts the clean
 * embedding of a picture.
 *
 * Ramesh et al. 2022, "Hierarchical Text-Conditional Image Generation with CLIP Latents", section 2.2,
 * https://arxiv.org/abs/2204.06125
 */
import type { Tensor } from '../../engine/index.ts';
import { fromNchw, reshape } from '../../kernels/index.ts';
import { addShared } from '../../kernels/addShared.ts';
import { feedForward } from '../blocks/feedForward.ts';
import { affineLayerNorm } from '../blocks/layerNorm.ts';
import { multiHeadAttention } from '../blocks/multiHeadAttention.ts';
import { dense } from '../layers.ts';
import type { WeightScope } from '../weightScope.ts';
import type { PriorConfig } from './priorConfig.ts';
import { fromTokens, joinTokens, takeTokens, toDense } from './tokens.ts';

/** What it reads; all dense, as the public edge has them. */
export interface PriorInputs {
  /** What is denoised, [B,N,embeddingDim]. */
  hidden: Tensor;
  /** Pooled condition [B,P,embeddingProjDim]. */
  condition: Tensor;
  /** Tokens of the text [B,S,embeddingDim], or [B,S,D] where the config does not project them. */
  text?: Tensor;
  /** Sinusoidal features [B,D]. */
  timestep: Tensor;
  /** Positions of all tokens, as addShared reads them. */
  positions: Tensor;
  /** The learned last token, [B,1,D], for a config that has it. */
  prd?: Tensor;
  /** Added to the scores, f32 [B,tokens,tokens]. */
  mask?: Tensor;
}

/** hidden [B,N,embeddingDim] → dense f32 [B,N,clipEmbedDim], or [B,1,clipEmbedDim] from the learned token. */
export function prior(config: PriorConfig, w: WeightScope, inputs: PriorInputs): Tensor {
  const { heads, headDim, projectsText, embeddingProjNorm, normIn, layers, clipEmbedDim } = config;
  const D = heads * headDim;
  let condition = fromTokens(inputs.condition); // [B,P,E']
  if (embeddingProjNorm) condition = affineLayerNorm(w.at('embedding_proj_norm'), condition); // [B,P,E']
  const text = inputs.text && fromTokens(inputs.text); // [B,S,E]
  const parts = [
    text && (projectsText ? dense(w.at('encoder_hidden_states_proj'), text, D) : text), // [B,S,D]
    dense(w.at('embedding_proj'), condition, D), // [B,P,D]
    timeToken(config, w.at('time_embedding'), fromNchw(inputs.timestep)), // [B,1,D]
    dense(w.at('proj_in'), fromTokens(inputs.hidden), D), // [B,N,D]
    inputs.prd && fromTokens(inputs.prd), // [B,1,D]
  ].filter((part) => part !== undefined);
  const first = parts.slice(0, text ? 3 : 2).reduce((n, part) => n + part.shape[1], 0);
  let x = addShared(parts.reduce(joinTokens), inputs.positions); // [B,T,D]
  if (normIn) x = affineLayerNorm(w.at('norm_in'), x); // [B,T,D]
  for (let i = 0; i < layers; i++) x = priorBlock(config, w.at('transformer_blocks', i), x, inputs.mask); // [B,T,D]
  const T = x.shape[1];
  // Norm and projection go token by token, so only the tokens that are read go through them.
  const read = inputs.prd ? takeTokens(x, T - 1, T) : takeTokens(x, first, T); // [B,N,D] or [B,1,D]
  const n = affineLayerNorm(w.at('norm_out'), read); // [B,N,D]
  return toDense(dense(w.at('proj_to_clip_embeddings'), n, clipEmbedDim)); // [B,N,clip]
}

/** Features of the timestep [B,D] → one token [B,1,D]. */
function timeToken({ timeEmbedAct: act, timeEmbedDim }: PriorConfig, w: WeightScope, time: Tensor): Tensor {
  const [B, D] = time.shape;
  const h = dense(w.at('linear_1'), time, timeEmbedDim, { act }); // [B,time]
  return reshape(dense(w.at('linear_2'), h, D), [B, 1, D]); // [B,1,D]
}

/** Attention and feed-forward network, each behind a norm; x [B,T,D] → [B,T,D]. */
function priorBlock({ heads, headDim }: PriorConfig, w: WeightScope, x: Tensor, mask: Tensor | undefined): Tensor {
  const n = affineLayerNorm(w.at('norm1'), x); // [B,T,D]
  x = multiHeadAttention(w.at('attn1'), n, undefined, { heads, headDim, bias: true, mask, residual: x }); // [B,T,D]
  return feedForward(w.at('ff'), affineLayerNorm(w.at('norm3'), x), { activation: 'gelu', residual: x }); // [B,T,D]
}
