/**
 * The autoencoder of latent diffusion whose latents are entries of a codebook, as diffusers' `VQModel` builds it.
 *
 * van den Oord et al. 2017, https://arxiv.org/abs/1711.00937; Esser et al. 2021, https://arxiv.org/abs/2012.09841;
 * Rombach et al. 2022, "High-Resolution Image Synthesis with Latent Diffusion Models", https://arxiv.org/abs/2112.10752
 */
import { formatShape, ShapeError, type Tensor, type Weight } from '../../engine/index.ts';
import { embedding, fromNchw, reshape, toNchw } from '../../kernels/index.ts';
import { nearestCode } from '../../kernels/nearestCode.ts';
import { decoderTrunk, encoderTrunk } from '../autoencoderKl.ts';
import { conv } from '../layers.ts';
import type { WeightScope } from '../weightScope.ts';
import { spatialDecoder } from './spatialDecoder.ts';
import type { VQConfig } from './vqConfig.ts';

/** Dense image [B,C,H,W] → latents [B,H/f,W/f,E], not quantised yet. @throws ShapeError */
export function vqEncode(config: VQConfig, w: WeightScope, image: Tensor): Tensor {
  expectChannels('encode', 'image', image, config.inChannels);
  const x = encoderTrunk(config, w.at('encoder'), fromNchw(image), config.latentChannels); // [B,H/f,W/f,L]
  return conv(w.at('quant_conv'), x, config.vqEmbedDim, { kernel: 1 }); // [B,H/f,W/f,E]
}

/** Dense latents [B,E,h,w] → [B,h,w,E]. @throws ShapeError */
export function vqLatents(config: VQConfig, latent: Tensor): Tensor {
  expectChannels('decode', 'latent', latent, config.vqEmbedDim);
  return fromNchw(latent); // [B,h,w,E]
}

/** Latents [B,h,w,E] → the index of the nearest entry for each pixel, u32 [B·h·w]. */
export function vqIndices(config: VQConfig, w: WeightScope, z: Tensor): Tensor {
  return z.graph.scope('quantize', () => nearestCode(z, codebook(config, w))); // [B·h·w]
}

/** Indices u32 [B·h·w] → the entries, [B,h,w,E]. */
export function vqLookup(config: VQConfig, w: WeightScope, indices: Tensor, shape: readonly number[]): Tensor {
  const entries = indices.graph.scope('quantize', () => embedding(indices, codebook(config, w))); // [B·h·w,E]
  return reshape(entries, [...shape, config.vqEmbedDim]); // [B,h,w,E]
}

/** Entries [B,h,w,E] → dense image [B,C,h·f,w·f]. */
export function vqDecode(config: VQConfig, w: WeightScope, zq: Tensor): Tensor {
  const x = conv(w.at('post_quant_conv'), zq, config.latentChannels, { kernel: 1 }); // [B,h,w,L]
  const d = w.at('decoder');
  return toNchw(config.normType === 'spatial' ? spatialDecoder(config, d, x, zq) : decoderTrunk(config, d, x));
}

const codebook = (config: VQConfig, w: WeightScope): Weight =>
  w.at('quantize').param('embedding.weight', [config.numVqEmbeddings, config.vqEmbedDim]);

function expectChannels(what: string, name: string, t: Tensor, channels: number): void {
  if (t.shape.length === 4 && t.shape[1] === channels) return;
  throw new ShapeError(`VQModel ${what}: expected ${name} [B,${channels},H,W], got ${formatShape(t.shape)}`);
}
