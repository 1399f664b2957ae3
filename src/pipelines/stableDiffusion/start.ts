/** Where a run of Stable Diffusion begins, and what its network is shown of pictures. */
import { InvalidArgumentError } from '../../engine/index.ts';
import type { AutoencoderKL, RunOptions } from '../../models/index.ts';
import type { Sampler } from '../../sampler/index.ts';
import type { Vec } from '../../sampler/vec.ts';
import { denoisingPart } from './denoisingPart.ts';
import type { GpuSpace } from '../gpu/gpuSpace.ts';
import { stepChoice, type LatentRun } from '../run/latentRun.ts';
import { initialNoise, type Generators, type LatentShape } from '../run/latents.ts';
import type { SdKind } from './kinds.ts';
import {
  editedPicture,
  encodePictures,
  latentMask,
  readMask,
  shownPicture,
  startingPoint,
  type GivenPicture,
} from './pictures.ts';
import type { TextToImageOptions } from '../options/textToImage.ts';

/** What a run begins with. */
export interface SdStart extends Pick<LatentRun, 'start' | 'prepare' | 'choice' | 'known'> {
  /** What the network is told at each step that is done. */
  steps: readonly number[];
  /** In place of noise: another pipeline's state at the first step. */
  latents?: Float32Array;
  /** What the network sees in the channels behind the state; filled when the run is prepared. */
  beside: readonly Vec[];
  /** Latents of a picture that is edited. */
  edited?: Float32Array;
}

/** What is known of a run before its pictures. */
export interface SdStartOptions {
  kind: SdKind;
  vae: AutoencoderKL;
  sampler: Sampler;
  shape: LatentShape;
  image: GivenPicture | undefined;
  /** Whether the network reads more channels than it writes. */
  shown: boolean;
  /** Whether a picture that is edited has the scale of latents. */
  scaled?: boolean;
  generator: Generators;
}

/**
 * Reads the pictures of a call. The order of draws is the reference library's: what a run starts from, the noise, what
 * the network is shown.
 * @throws InvalidArgumentError for pictures that are missing or do not fit, or parts of the schedule that leave no
 * step; LimitError, AbortedError, OutOfMemoryError
 */
export async function sdStart(
  { kind, vae, sampler, shape, image, shown, scaled, generator }: SdStartOptions,
  given: TextToImageOptions & { strength: number },
  run: RunOptions,
): Promise<SdStart> {
  const { maskImage, strength, denoisingStart, originalInferenceSteps } = given;
  const own = { ...stepChoice(given), originalInferenceSteps };
  const part = denoisingPart(sampler, own, given);
  const choice = { originalInferenceSteps, ...part };
  if (kind.edits) {
    if (!image) throw new InvalidArgumentError('generate: expected image, which this pipeline edits, got none');
    const edited = await editedPicture(vae, image, shape, run, scaled);
    return { choice, steps: sampler.timesteps(own).slice(0, part.end), beside: [], edited };
  }
  const beside: Vec[] = [];
  const looks = shown ? shownPicture(vae, image, maskImage, shape, run) : undefined;
  // The reference library encodes the masked picture for networks that do not see it, too.
  const unseen = !shown && image && maskImage && image.shape[1] === vae.config.inChannels ? image : undefined;
  const look = async (space: GpuSpace, generator: Generators): Promise<void> => {
    for (const values of (await looks?.(generator)) ?? []) beside.push(space.vec(values, shape[0]));
    if (unseen) drawPosterior(generator, unseen, shape);
  };
  if (denoisingStart !== undefined) {
    if (!image) throw new InvalidArgumentError('generate: expected image with denoisingStart, got none');
    const mask = maskImage && readMask(maskImage, shape, [image.height, image.width]);
    const latents = await encodePictures(vae, image, shape, generator, run);
    let known: ReturnType<NonNullable<LatentRun['known']>>;
    const prepare: LatentRun['prepare'] = async (space, generator) => {
      if (mask) {
        // Drawn whether it is laid over or not.
        const noise = initialNoise(shape, undefined, generator);
        const vec = (values: Float32Array) => space.vec(values, shape[0]);
        if (!shown)
          known = { image: vec(latents), maskImage: vec(latentMask(mask, shape, shape[1])), noise: vec(noise) };
      }
      await look(space, generator);
    };
    const steps = sampler.timesteps(own).slice(part.start, part.end);
    return { choice, steps, prepare, latents, beside, known: () => known };
  }
  const all = { ...own, strength: image && strength };
  const steps = sampler.timesteps(all).slice(sampler.start(all), part.end);
  // A network that is shown mask and picture keeps what is known by itself.
  const point = startingPoint(vae, image, shape, shown ? { strength } : { maskImage, strength }, run);
  return { choice, steps, prepare: look, beside, start: shown && strength === 1 ? undefined : point };
}

/** Takes from the generator what an encoder's posterior of a picture would. */
function drawPosterior(generator: Generators, { shape: [n] }: GivenPicture, [, ...item]: LatentShape): void {
  const count = item[0] * item[1] * item[2];
  if ('randn' in generator) generator.randn(n * count);
  else for (const g of generator) g.randn(count);
}
