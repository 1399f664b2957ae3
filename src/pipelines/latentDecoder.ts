/** From latents to pictures: the decoder's half of every latent diffusion pipeline. */
import { numel, type Device } from '../engine/index.ts';
import type { AutoencoderKL, RunOptions } from '../models/index.ts';
import { LinearForm, type Vec } from '../sampler/vec.ts';
import type { GpuSpace } from './gpuSpace.ts';
import { GeneratedImage } from './image.ts';
import type { LatentShape } from './latents.ts';

/** Pictures of latents, in a buffer of their own. @throws OutOfMemoryError, DeviceLostError, AbortedError, LimitError */
export type LatentDecoder = (
  space: GpuSpace,
  latents: Vec,
  shape: LatentShape,
  options: RunOptions,
) => Promise<GeneratedImage[]>;

/** z / scaling_factor + shift_factor through the decoder of a KL autoencoder. */
export function klDecoder(device: Device, vae: AutoencoderKL): LatentDecoder {
  return async (space, z, shape, options) => {
    const { scalingFactor, shiftFactor } = vae.config;
    const latent = LinearForm.of(z, 1 / scalingFactor).plusConstant(shiftFactor ?? 0);
    const { buffer } = space.contiguous(latent.materialise());
    const out = await vae.decode({ latent: { data: buffer, shape }, ...options });
    return picturesOf(device, out.buffer, out.shape);
  };
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
