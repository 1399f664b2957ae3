/** Pictures that a run of Stable Diffusion starts from or looks at: their latents, and masks in the latents' size. */
import { InvalidArgumentError } from '../../engine/index.ts';
import type { AutoencoderKL, RunOptions } from '../../models/index.ts';
import { latentScaling, mapLatents } from '../../models/latentScaling.ts';
import { planesOf, repeatedTo, type ImageInput, type Planes } from '../picture/imageInput.ts';
import type { LatentRun } from '../run/latentRun.ts';
import type { Generators, LatentShape } from '../run/latents.ts';
import type { TextToImageOptions } from '../options/textToImage.ts';

/** A picture to start from: pixels, or latents in the scale of `generate`; and its size in pixels. */
export interface GivenPicture extends Planes {
  height: number;
  width: number;
}

/**
 * Pixels [B,3,H,W], or what another pipeline's `latents` are, [B,C,h,w], told apart by their channels.
 * @throws InvalidArgumentError for another shape, or values that are not finite
 */
export function givenPicture(vae: AutoencoderKL, image: ImageInput): GivenPicture {
  const { inChannels, latentChannels } = vae.config;
  const latents = 'shape' in image && image.shape[1] === latentChannels && latentChannels !== inChannels;
  const planes = planesOf('image', image, latents ? latentChannels : inChannels, [-1, 1]);
  const factor = latents ? vae.downsampling : 1;
  return { ...planes, height: factor * planes.shape[2], width: factor * planes.shape[3] };
}

/**
 * Latents [B,C,h,w] of one picture or B, drawn from the encoder's posterior and scaled. One generator draws once per
 * picture given; several draw for each result its own. What is latents already stays as it is.
 * @throws InvalidArgumentError for another number of pictures or generators; LimitError, AbortedError, OutOfMemoryError
 */
export async function encodePictures(
  vae: AutoencoderKL,
  planes: Planes,
  [batch, ...item]: LatentShape,
  generator: Generators,
  options: RunOptions,
): Promise<Float32Array> {
  const n = planes.shape[0];
  if (n !== 1 && n !== batch) throw new InvalidArgumentError(`generate: expected 1 or ${batch} of image, got ${n}`);
  const { inChannels, latentChannels } = vae.config;
  if (planes.shape[1] === latentChannels && latentChannels !== inChannels) {
    return repeatedTo('image', planes, batch).data as Float32Array;
  }
  const encoded = await vae.encode({ image: planes, ...options });
  const posterior = await encoded.posterior();
  const { toDenoiser } = latentScaling(vae.config);
  const count = item[0] * item[1] * item[2];
  const scaled = (noise: Float32Array) => mapLatents(posterior.sample(noise), posterior.shape, toDenoiser);
  if ('randn' in generator) {
    const z = scaled(generator.randn(n * count));
    return repeatedTo('image', { data: z, shape: [n, item[0], item[1], item[2]] }, batch).data as Float32Array;
  }
  if (generator.length !== batch) {
    throw new InvalidArgumentError(`generate: expected one generator or ${batch}, got ${generator.length}`);
  }
  const out = new Float32Array(batch * count);
  if (n === 1) {
    generator.forEach((g, i) => out.set(scaled(g.randn(count)), i * count));
    return out;
  }
  generator.forEach((g, i) => out.set(g.randn(count), i * count));
  return scaled(out);
}

/**
 * Most likely latents [B,C,h,w] of a picture to edit, as the encoder gives them: most networks that edit were trained
 * without the scale, by which the others multiply them alone. Several results per picture have it behind each other, as
 * the reference library repeats them.
 * @throws as {@link encodePictures}
 */
export async function editedPicture(
  vae: AutoencoderKL,
  planes: Planes,
  [batch, ...item]: LatentShape,
  options: RunOptions,
  scaled = false,
): Promise<Float32Array> {
  const n = planes.shape[0];
  if (batch % n !== 0) throw new InvalidArgumentError(`generate: expected 1 or ${batch} of image, got ${n}`);
  const { inChannels } = vae.config;
  const z =
    planes.shape[1] === inChannels
      ? (await (await vae.encode({ image: planes, ...options })).posterior()).mode()
      : planes.data;
  const one = repeatedTo('image', { data: z, shape: [1, n * item[0], item[1], item[2]] }, batch / n);
  const scale = scaled ? vae.config.scalingFactor : 1;
  return Float32Array.from(one.data, (v) => v * scale);
}

/** A mask of pixels, 0 or 1 each. @throws InvalidArgumentError unless it has the picture's size */
export function readMask(
  maskImage: NonNullable<TextToImageOptions['maskImage']>,
  [batch]: LatentShape,
  [height, width]: readonly [number, number],
): Planes {
  const mask = repeatedTo('maskImage', planesOf('maskImage', maskImage, 1, [0, 1]), batch);
  const [B, C, H, W] = mask.shape;
  if (H === height && W === width) {
    return { data: Float32Array.from(mask.data, (v) => (v >= 0.5 ? 1 : 0)), shape: [B, C, H, W] };
  }
  throw new InvalidArgumentError(
    `generate: expected maskImage of ${height}×${width} as image, got ${H}×${W}; resize it`,
  );
}

/** A mask as one of latent cells, the same in `channels` channels: the pixel that nearest-neighbour sampling picks. */
export function latentMask({ data, shape }: Planes, [B, , h, w]: LatentShape, channels: number): Float32Array {
  const [, , H, W] = shape;
  return Float32Array.from({ length: B * channels * h * w }, (_, i) => {
    const [x, y, b] = [i % w, Math.floor(i / w) % h, Math.floor(i / (channels * h * w))];
    return data[(b * H + Math.floor((y * H) / h)) * W + Math.floor((x * W) / w)];
  });
}

/**
 * Where a run begins that starts from a picture, or fills a mask in it; undefined where it starts from noise.
 * @param arrange from latents [B,C,h,w] to the order in which the run has them; default the same.
 * @throws InvalidArgumentError for a mask without picture, or of another size
 */
export function startingPoint(
  vae: AutoencoderKL,
  image: GivenPicture | undefined,
  shape: LatentShape,
  { maskImage, strength }: Pick<TextToImageOptions, 'maskImage'> & { strength: number },
  run: RunOptions,
  arrange: (latents: Float32Array) => Float32Array = (latents) => latents,
): LatentRun['start'] {
  if (!image) {
    if (maskImage) throw new InvalidArgumentError('generate: expected image with maskImage, got none');
    return undefined;
  }
  const [batch, channels] = shape;
  const mask = maskImage && readMask(maskImage, shape, [image.height, image.width]);
  return async (space, generator) => ({
    image: space.vec(arrange(await encodePictures(vae, image, shape, generator, run)), batch),
    strength,
    maskImage: mask && space.vec(arrange(latentMask(mask, shape, channels)), batch),
  });
}

/**
 * What a network that fills masks sees beside the state: where, and the latents of what is known.
 * @returns values [B,1,h,w] and [B,C,h,w]
 * @throws InvalidArgumentError without both, or for latents in place of a picture
 */
export function shownPicture(
  vae: AutoencoderKL,
  image: GivenPicture | undefined,
  maskImage: TextToImageOptions['maskImage'],
  shape: LatentShape,
  run: RunOptions,
): (generator: Generators) => Promise<[mask: Float32Array, masked: Float32Array]> {
  if (!image || !maskImage) {
    const missing = image ? 'no maskImage' : maskImage ? 'no image' : 'neither';
    throw new InvalidArgumentError(
      `generate: expected image and maskImage, since this network fills masks in pictures, got ${missing}`,
    );
  }
  if (image.shape[1] !== vae.config.inChannels) {
    throw new InvalidArgumentError('generate: expected image in pixels, since its masked part is encoded, got latents');
  }
  const mask = readMask(maskImage, shape, [image.height, image.width]);
  return async (generator) => {
    const masked = await encodePictures(vae, maskedPictures(image, mask), shape, generator, run);
    return [latentMask(mask, shape, 1), masked];
  };
}

/** Pictures with grey where something new is wanted, one per mask. */
export function maskedPictures(image: Planes, mask: Planes): Planes {
  const [B] = mask.shape;
  const { data, shape } = repeatedTo('image', image, B);
  const [, C, H, W] = shape;
  const plane = H * W;
  const out = Float32Array.from(data, (v, i) => {
    const b = Math.floor(i / (C * plane));
    return mask.data[b * plane + (i % plane)] === 1 ? 0 : v;
  });
  return { data: out, shape };
}
