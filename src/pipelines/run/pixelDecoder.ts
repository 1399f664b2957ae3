/** From a run's last state to pictures: pixels as they are, or latents through a codebook. */
import { numel, UnsupportedError, type Device } from '../../engine/index.ts';
import type { VQModel } from '../../models/vq/vqModel.ts';
import { LinearForm } from '../../sampler/vec.ts';
import { GeneratedImage } from '../picture/image.ts';
import { picturesOf, type LatentDecoder } from './latentDecoder.ts';

/** Pictures show red, green and blue; a single channel is shown as grey. @throws UnsupportedError for another number */
export function expectPicture(where: string, channels: number): void {
  if (channels === 1 || channels === 3) return;
  throw new UnsupportedError(`${where}: expected a network of pictures with 1 or 3 channels, got ${channels}`);
}

/** The state itself is the picture, in that range. */
export function pixelDecoder(device: Device, [low, high]: readonly [number, number] = [-1, 1]): LatentDecoder {
  const scale = 2 / (high - low);
  return async (space, x, shape) => {
    const picture = LinearForm.of(x, scale).plusConstant(-1 - scale * low);
    const { buffer } = space.contiguous(picture.materialise());
    return anyPicturesOf(device, buffer, shape);
  };
}

/** z / scalingFactor → the nearest entries of the codebook → pictures. */
export function vqDecoder(device: Device, vq: VQModel, scalingFactor: number): LatentDecoder {
  return async (space, z, shape, options) => {
    const { buffer } = space.contiguous(LinearForm.of(z, 1 / scalingFactor).materialise());
    const out = await vq.decode({ latent: { data: buffer, shape }, ...options });
    return anyPicturesOf(device, out.buffer, out.shape);
  };
}

/** Pictures [B,3,H,W], or [B,1,H,W] as grey, copied out of a buffer that will be written over. */
export async function anyPicturesOf(
  device: Device,
  buffer: GPUBuffer,
  shape: readonly number[],
): Promise<GeneratedImage[]> {
  const [batch, channels, height, width] = shape;
  if (channels !== 1) return picturesOf(device, buffer, shape);
  const bytes = (4 * numel(shape)) / batch;
  const own = await device.scoped('decode', () => {
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC;
    const pictures = device.createBuffer(3 * batch * bytes, usage, 'pictures');
    const encoder = device.gpu.createCommandEncoder({ label: 'pictures' });
    for (let i = 0; i < 3 * batch; i++) {
      encoder.copyBufferToBuffer(buffer, Math.floor(i / 3) * bytes, pictures, i * bytes, bytes);
    }
    device.gpu.queue.submit([encoder.finish()]);
    return pictures;
  });
  return GeneratedImage.all(device, own, batch, width, height);
}
