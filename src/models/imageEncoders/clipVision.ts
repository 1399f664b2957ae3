/**
 * CLIP's picture encoder: a transformer over patches, whose state at a learned first token stands for the whole
 * picture.
 *
 * Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision", section 2.4,
 * https://arxiv.org/abs/2103.00020; Dosovitskiy et al. 2021 (ViT), https://arxiv.org/abs/2010.11929
 */
import type { Tensor } from '../../engine/index.ts';
import { add, embedding, fromNchw, reshape } from '../../kernels/index.ts';
import { affineLayerNorm } from '../blocks/layerNorm.ts';
import { conv, dense } from '../layers.ts';
import { clipLayer } from '../textEncoders/clipText.ts';
import { fromTokens, joinTokens, takeTokens } from '../transformers/tokens.ts';
import type { WeightScope } from '../weightScope.ts';
import type { ClipVisionConfig } from './clipVisionConfig.ts';

/** Inputs of a call. */
export interface ClipVisionInputs {
  /** Dense f32 [B,C,side,side], as the picture processor leaves it. */
  pixels: Tensor;
  /** Dense f32 [B,1,D]: the learned first token, once per picture. */
  first: Tensor;
  /** u32 [B,T]: 0 … T − 1 in each row. */
  positions: Tensor;
}

/** What comes out. */
export interface ClipVisionOutputs {
  /** In front of the first layer and behind each, [B,T,D]; none of them normed but the first. */
  states: Tensor[];
  /** The first token's last state, normed, [B,D]. */
  pooled: Tensor;
  /** The same in the space that texts share, [B,projectionDim]. */
  embeds: Tensor;
}

/** Patches side by side along each edge; what is left over is not looked at. */
export const patchesOf = ({ imageSize, patchSize }: ClipVisionConfig) => Math.floor(imageSize / patchSize);

/** Tokens of a picture: the learned one and the patches. */
export const tokensOf = (config: ClipVisionConfig) => 1 + patchesOf(config) ** 2;

/** pixels [B,C,side,side] → states, pooled state, projection. */
export function clipVision(config: ClipVisionConfig, w: WeightScope, inputs: ClipVisionInputs): ClipVisionOutputs {
  const { hiddenSize: D, patchSize: p, layers, eps, projectionDim } = config;
  const B = inputs.pixels.shape[0];
  const T = tokensOf(config);
  const v = w.at('vision_model');
  const e = v.at('embeddings');
  e.param('class_embedding', [D]); // read on the host
  const places = e.param('position_embedding.weight', [T, D]);
  const grid = { kernel: p, stride: p, padding: 0, bias: false };
  const patches = conv(e.at('patch_embedding'), fromNchw(inputs.pixels), D, grid); // [B,h,w,D]
  const tokens = joinTokens(fromTokens(inputs.first), reshape(patches, [B, T - 1, D])); // [B,T,D]
  let x = tokens.graph.scope(e.path, () => add(tokens, embedding(inputs.positions, places))); // [B,T,D]
  x = affineLayerNorm(v.at('pre_layrnorm'), x, { eps }); // [B,T,D]
  const states = [x];
  for (let i = 0; i < layers; i++) {
    x = clipLayer(config, v.at('encoder', 'layers', i), x); // [B,T,D]
    states.push(x);
  }
  const first = reshape(takeTokens(x, 0, 1), [B, D]); // [B,D]
  const pooled = affineLayerNorm(v.at('post_layernorm'), first, { eps }); // [B,D]
  const embeds = dense(w.at('visual_projection'), pooled, projectionDim, { bias: false }); // [B,projectionDim]
  return { states, pooled, embeds };
}
