/**
 * The vector that drives the norms of SD3 and Flux: timestep, pooled text, and perhaps the guidance that was distilled.
 */
import type { Tensor } from '../../engine/index.ts';
import { add } from '../../kernels/index.ts';
import { embeddingMlp } from '../layers.ts';
import { sinusoidalEmbedding } from '../timestep.ts';
import type { WeightScope } from '../weightScope.ts';
import { activated } from './modulation.ts';

/** Channels of the features of timestep and guidance. */
export const FEATURES = 256;

/** Features [B,256] of timesteps, or of guidance scales. */
export const features = (values: readonly number[]): Float32Array =>
  sinusoidalEmbedding(values, FEATURES, { flipSinToCos: true, freqShift: 0 });

/** Features [B,256] and the pooled text [B,P] → one vector [B,D], activated as every projection of it starts. */
export function textConditioning(
  w: WeightScope,
  D: number,
  { time, guidance, pooled }: { time: Tensor; guidance?: Tensor; pooled: Tensor },
): Tensor {
  let c = embeddingMlp(w.at('timestep_embedder'), time, D); // [B,D]
  if (guidance) c = add(c, embeddingMlp(w.at('guidance_embedder'), guidance, D)); // [B,D]
  return activated(add(c, embeddingMlp(w.at('text_embedder'), pooled, D))); // [B,D]
}
