/**
 * MMDiT, the transformer of Stable Diffusion 3 and 3.5: picture and text as two streams that attend to each other.
 *
 * Esser et al. 2024, "Scaling Rectified Flow Transformers for High-Resolution Image Synthesis",
 * https://arxiv.org/abs/2403.03206
 */
import { formatShape, ShapeError, type Tensor } from '../../engine/index.ts';
import { fromNchw } from '../../kernels/index.ts';
import { addShared } from '../../kernels/addShared.ts';
import { unpatchify } from '../../kernels/unpatchify.ts';
import { dense } from '../layers.ts';
import type { WeightScope } from '../weightScope.ts';
import { mmditBlock, type Streams } from './mmditBlock.ts';
import { continuousNorm } from './modulation.ts';
import type { SD3Config } from './sd3Config.ts';
import { textConditioning } from './textConditioning.ts';
import { fromTokens, patchTokens } from './tokens.ts';

/** What it reads; all dense, as the public edge has them. */
export interface SD3Inputs {
  /** [B,C,H,W]. */
  sample: Tensor;
  /** [B,S,jointAttentionDim]. */
  text: Tensor;
  /** [B,pooledProjectionDim]. */
  pooled: Tensor;
  /** Features [B,256]. */
  timestep: Tensor;
  /** [T,D], as addShared reads it. */
  positions: Tensor;
}

/** sample [B,C,H,W] → dense f32 [B,outChannels,p·⌊H/p⌋,p·⌊W/p⌋]. @throws ShapeError before anything runs. */
export function sd3(config: SD3Config, w: WeightScope, inputs: SD3Inputs): Tensor {
  const { heads, headDim, qkNorm, layers, patchSize, outChannels, dualAttentionLayers } = config;
  const D = heads * headDim;
  const [, C, H, W] = inputs.sample.shape;
  const [rows, columns] = [Math.floor(H / patchSize), Math.floor(W / patchSize)];
  if (C !== config.inChannels || rows < 1 || columns < 1) {
    throw new ShapeError(
      `sd3: expected sample [B,${config.inChannels},H,W] of at least ${patchSize}×${patchSize}, ` +
        `got ${formatShape(inputs.sample.shape)}`,
    );
  }
  const side = config.posEmbedMaxSize;
  if (side !== null) w.at('pos_embed').param('pos_embed', [1, side * side, D]);
  const patches = patchTokens(w.at('pos_embed', 'proj'), fromNchw(inputs.sample), D, patchSize); // [B,T,D]
  const [time, pooled] = [fromNchw(inputs.timestep), fromNchw(inputs.pooled)]; // [B,256], [B,P]
  const c = textConditioning(w.at('time_text_embed'), D, { time, pooled }); // [B,D]
  let streams: Streams = {
    x: addShared(patches, inputs.positions), // [B,T,D]
    context: dense(w.at('context_embedder'), fromTokens(inputs.text), D), // [B,S,D]
  };
  for (let i = 0; i < layers; i++) {
    const options = { heads, headDim, qkNorm, contextPreOnly: i === layers - 1, dual: dualAttentionLayers.includes(i) };
    streams = mmditBlock(w.at('transformer_blocks', i), streams, c, options); // [B,T,D], [B,S,D]
  }
  const x = continuousNorm(w.at('norm_out'), streams.x, c); // [B,T,D]
  const y = dense(w.at('proj_out'), x, patchSize ** 2 * outChannels); // [B,T,p²·out]
  return unpatchify(y, { rows, columns, patch: patchSize }); // [B,out,H',W']
}
