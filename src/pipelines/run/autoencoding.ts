/** Pictures through an autoencoder and back: what is lost before any diffusion. */
import { numel, type Device } from '../../engine/index.ts';
import type { AutoencoderKL, EncodeOutput, ModelOutput } from '../../models/index.ts';
import type { AutoencoderTiny } from '../../models/tiny/autoencoderTinyModel.ts';
import type { VQModel } from '../../models/vq/vqModel.ts';
import type { NormalGenerator } from '../../sampler/noise/generator.ts';
import type { GeneratedImage } from '../picture/image.ts';
import { planesOf, type ImageInput } from '../picture/imageInput.ts';
import type { LatentShape } from './latents.ts';
import { anyPicturesOf, expectPicture } from './pixelDecoder.ts';

/** Any that goes from pictures to latents and back. */
export type Autoencoder = AutoencoderKL | VQModel | AutoencoderTiny;

/** What one call takes. */
export interface EncodeOptions {
  /** Draws from what a variational encoder says; default its most likely latents. */
  generator?: NormalGenerator;
  signal?: AbortSignal;
}

/** Latents on the host. */
export interface Latents {
  data: Float32Array;
  shape: LatentShape;
}

/**
 * Pictures [B,C,H,W] in −1 … 1, or bytes → latents [B,L,h,w] as the encoder gives them, not scaled.
 * @throws InvalidArgumentError, ShapeError for pictures that do not fit; UnsupportedError for an autoencoder of other
 * channels; LimitError, OutOfMemoryError, DeviceLostError, AbortedError
 */
export async function encodePictures(
  autoencoder: Autoencoder,
  image: ImageInput,
  { generator, signal }: EncodeOptions = {},
): Promise<Latents> {
  const { inChannels } = autoencoder.config;
  expectPicture('encode', inChannels);
  const out: ModelOutput & Partial<EncodeOutput> = await autoencoder.encode({
    image: planesOf('image', image, inChannels, [-1, 1]),
    signal,
  });
  if (!out.posterior) return { data: await out.read(), shape: shape4(out.shape) };
  const posterior = await out.posterior();
  const shape = shape4(posterior.shape);
  return { data: generator ? posterior.sample(generator.randn(numel(shape))) : posterior.mode(), shape };
}

/**
 * Pictures → latents → pictures; with a codebook through its nearest entries.
 * @throws as {@link encodePictures}
 */
export async function reconstruct(
  device: Device,
  autoencoder: Autoencoder,
  image: ImageInput,
  options: EncodeOptions = {},
): Promise<GeneratedImage[]> {
  const latent = await encodePictures(autoencoder, image, options);
  const out = await autoencoder.decode({ latent, signal: options.signal });
  expectPicture('decode', out.shape[1]);
  return anyPicturesOf(device, out.buffer, out.shape);
}

const shape4 = ([B, C, h, w]: readonly number[]): LatentShape => [B, C, h, w];
