/**
 * The transformer of Flux: blocks of two streams as in MMDiT, then blocks of one whose attention and feed-forward
 * network stand side by side; rotary positions on three axes.
 *
 * Black Forest Labs 2024, "FLUX.1", https://github.com/black-forest-labs/flux
 * Dehghani et al. 2023, "Scaling Vision Transformers to 22 Billion Parameters" (parallel layers), section 2
 */
import type { Tensor } from '../../engine/index.ts';
import { fromNchw } from '../../kernels/index.ts';
import { linearParts } from '../../kernels/linearParts.ts';
import { dense } from '../layers.ts';
import type { WeightScope } from '../weightScope.ts';
import type { FluxConfig } from './fluxConfig.ts';
import { headAttention, type HeadOptions } from './jointAttention.ts';
import { mmditBlock, type Streams } from './mmditBlock.ts';
import { adaptiveNorm, continuousNorm, gatedAdd, modulation } from './modulation.ts';
import { textConditioning } from './textConditioning.ts';
import { fromTokens, joinTokens, takeTokens, toDense } from './tokens.ts';

/** What it reads; all dense, as the public edge has them. */
export interface FluxInputs {
  /** Packed latents [B,T,inChannels]. */
  tokens: Tensor;
  /** [B,S,jointAttentionDim]. */
  text: Tensor;
  /** [B,pooledProjectionDim]. */
  pooled: Tensor;
  /** Features [B,256]. */
  timestep: Tensor;
  /** Features [B,256], for a config with guidance. */
  guidance?: Tensor;
  /** Rotary positions of the text's tokens, then the picture's, as rope reads them. */
  rotary: Tensor;
}

/** tokens [B,T,inChannels] → dense f32 [B,T,patch²·outChannels]. */
export function flux(config: FluxConfig, w: WeightScope, inputs: FluxInputs): Tensor {
  const { heads, headDim, layers, singleLayers, patchSize, outChannels } = config;
  const o: HeadOptions = { heads, headDim, qkNorm: 'rms_norm' };
  const D = heads * headDim;
  const [T, S] = [inputs.tokens.shape[1], inputs.text.shape[1]];
  const c = textConditioning(w.at('time_text_embed'), D, {
    time: fromNchw(inputs.timestep), // [B,256]
    guidance: inputs.guidance && fromNchw(inputs.guidance), // [B,256]
    pooled: fromNchw(inputs.pooled), // [B,P]
  }); // [B,D]
  let streams: Streams = {
    x: dense(w.at('x_embedder'), fromTokens(inputs.tokens), D), // [B,T,D]
    context: dense(w.at('context_embedder'), fromTokens(inputs.text), D), // [B,S,D]
  };
  for (let i = 0; i < layers; i++) {
    streams = mmditBlock(w.at('transformer_blocks', i), streams, c, o, inputs.rotary); // [B,T,D], [B,S,D]
  }
  let x = joinTokens(streams.context, streams.x); // [B,S+T,D]
  for (let i = 0; i < singleLayers; i++) {
    x = singleBlock(w.at('single_transformer_blocks', i), x, c, o, inputs.rotary); // [B,S+T,D]
  }
  x = continuousNorm(w.at('norm_out'), takeTokens(x, S, S + T), c); // [B,T,D]
  return toDense(dense(w.at('proj_out'), x, patchSize ** 2 * outChannels)); // [B,T,p²·out]
}

/** Attention and feed-forward network side by side, joined by one projection; x [B,S+T,D], c [B,D] → [B,S+T,D]. */
function singleBlock(w: WeightScope, x: Tensor, c: Tensor, o: HeadOptions, rotary: Tensor): Tensor {
  const D = x.shape[2];
  const v = modulation(w.at('norm', 'linear'), c, D, 3); // 3 × [B,D]
  const n = adaptiveNorm(x, v, { shift: 0, scale: 1 }); // [B,S+T,D]
  const a = headAttention(w.at('attn'), n, o, rotary); // [B,S+T,D]
  const m = dense(w.at('proj_mlp'), n, 4 * D, { act: 'gelu_tanh' }); // [B,S+T,4D]
  return gatedAdd(x, joined(w.at('proj_out'), [a, m], D), v, 2); // [B,S+T,D]
}

/** `nn.Linear` of parts that stand side by side: [B,T,K₁], [B,T,K₂] … → [B,T,out]. */
function joined(w: WeightScope, parts: readonly Tensor[], out: number): Tensor {
  const K = parts.reduce((n, part) => n + part.shape[2], 0);
  const [weight, bias] = [w.param('weight', [out, K]), w.param('bias', [out])];
  return parts[0].graph.scope(w.path, () => linearParts(parts, weight, bias));
}
