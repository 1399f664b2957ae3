/** From latents to pictures: the decoder's half of every latent diffusion pipeline. */
import { numel, type Device } from '../../engine/index.ts';
import type { AutoencoderKL, RunOptions } from '../../models/index.ts';
import { latentScaling, mapLatents, type LatentMap } from '../../models/latentScaling.ts';
import { LinearForm, type Vec } from '../../sampler/vec.ts';
import type { PictureLatents } from './basePipeline.ts';
import type { GpuSpace } from '../gpu/gpuSpace.ts';
import { GeneratedImage } from '../picture/image.ts';
import type { LatentShape } from './latents.ts';

/**
 * Pictures of latents, in a buffer of their own. @throws OutOfMemoryError, DeviceLostError, AbortedError, LimitError
 */
export type LatentDecoder = (
  space: GpuSpace,
  latents: Vec,
  shape: LatentShape,
  options: RunOptions,
) => Promise<GeneratedImage[]>;

/** A KL autoencoder, and what its config says of its latents. */
export function klLatents(vae: AutoencoderKL): PictureLatents {
  const { scalingFactor: scale, shiftFactor: shift, latentsMean: mean, latentsStd: std } = vae.config;
  return { model: vae, scale, shift, mean, std };
}

/** z / scaling_factor + shift_factor, or by mean and deviation per channel, through the decoder of a KL autoencoder. */
export function klDecoder(device: Device, vae: AutoencoderKL): LatentDecoder {
  const { toDecoder } = latentScaling(vae.config);
  return async (space, z, shape, options) => {
    const { buffer } = space.contiguous(await mapped(space, z, shape, toDecoder));
    const out = await vae.decode({ latent: { data: buffer, shape }, ...options });
    return picturesOf(device, out.buffer, out.shape);
  };
}

/** One factor for all is a dispatch; latents are small, so that one per channel goes by the host. */
async function mapped(space: GpuSpace, z: Vec, shape: LatentShape, map: LatentMap): Promise<Vec> {
  const { factor, offset } = map;
  if (factor.length === 1) return LinearForm.of(z, factor[0]).plusConstant(offset[0]).materialise();
  return space.vec(mapLatents(Float32Array.from(await space.read(z)), shape, map), shape[0]);
}

/** Pictures [B,3,H,W] copied out of a network's output, which its next call writes over. */
export async function picturesOf(
  device: Device,
  buffer: GPUBuffer,
  shape: readonly number[],
): Promise<GeneratedImage[]> {
  const [batch, , height, width] = shape;
  const bytes = 4 * numel(shape);
  const own = await device.scoped('decode', () => {
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC;
    const pictures = device.createBuffer(bytes, usage, 'pictures');
    const encoder = device.gpu.createCommandEncoder({ label: 'pictures' });
    encoder.copyBufferToBuffer(buffer, 0, pictures, 0, bytes);
    device.gpu.queue.submit([encoder.finish()]);
    return pictures;
  });
  return GeneratedImage.all(device, own, batch, width, height);
}
