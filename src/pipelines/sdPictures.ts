/** Pictures that a run of Stable Diffusion starts from or looks at: their latents, and masks in the latents' size. */
import { InvalidArgumentError } from '../engine/index.ts';
import type { AutoencoderKL, RunOptions } from '../models/index.ts';
import { latentScaling, mapLatents } from '../models/latentScaling.ts';
import { planesOf, repeatedTo, type Planes } from './imageInput.ts';
import type { LatentRun } from './latentRun.ts';
import type { Generators, LatentShape } from './latents.ts';
import type { TextToImageOptions } from './textToImage.ts';

/**
 * Latents [B,C,h,w] of one picture or B, drawn from the encoder's posterior and scaled. One generator draws once per picture
 * given; several draw for each result its own.
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
 * @throws InvalidArgumentError for a mask without picture, or of another size
 */
export function startingPoint(
  vae: AutoencoderKL,
  image: Planes | undefined,
  shape: LatentShape,
  { maskImage, strength }: Pick<TextToImageOptions, 'maskImage'> & { strength: number },
  run: RunOptions,
): LatentRun['start'] {
  if (!image) {
    if (maskImage) throw new InvalidArgumentError('generate: expected image with maskImage, got none');
    return undefined;
  }
  const [batch, channels] = shape;
  const mask = maskImage && readMask(maskImage, shape, [image.shape[2], image.shape[3]]);
  return async (space, generator) => ({
    image: space.vec(await encodePictures(vae, image, shape, generator, run), batch),
    strength,
    maskImage: mask && space.vec(latentMask(mask, shape, channels), batch),
  });
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
