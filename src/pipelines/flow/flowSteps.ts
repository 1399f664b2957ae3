/** What the pipelines of straight flows (Stable Diffusion 3, Flux) have in common. */
import { ConfigError, InvalidArgumentError, UnsupportedError } from '../../engine/index.ts';
import type { AutoencoderKL } from '../../models/index.ts';
import { resolutionMu } from '../../sampler/parameterisation/flowMatching.ts';
import type { Sampler, StepChoice } from '../../sampler/index.ts';
import { refuseOptions } from '../options/refuseOptions.ts';
import type { TextToImageOptions } from '../options/textToImage.ts';

/** The logarithm of the shift by the number of tokens, where the schedule depends on it. */
export function dynamicMu({ config }: Sampler, tokens: number): number | undefined {
  return config.useDynamicShifting ? resolutionMu(tokens, config) : undefined;
}

/**
 * The strength that leaves ⌈steps·strength⌉ steps: the reference library's flows round up where its other pipelines
 * round down.
 * @throws InvalidArgumentError unless it is in (0, 1]; as {@link Sampler.transitions} for steps that are none
 */
export function flowStrength(sampler: Sampler, choice: StepChoice, strength: number): number {
  if (!(strength > 0 && strength <= 1)) {
    throw new InvalidArgumentError(`generate: expected strength in (0, 1], got ${strength}`);
  }
  const steps = sampler.transitions(choice).length;
  const left = steps - Math.floor(steps - steps * strength);
  // Half a step more, which rounding down takes off again.
  return left === steps ? 1 : (left + 0.5) / steps;
}

const OMIT = 'pipelines of this kind do not know it; omit it';
const FOREIGN = { controlImage: OMIT, denoisingStart: OMIT, denoisingEnd: OMIT, imageGuidanceScale: OMIT };

/** Options of other kinds of pipelines that would change the picture. @throws UnsupportedError naming one that is given */
export function refuseForeignOptions(options: TextToImageOptions): void {
  refuseOptions(options, FOREIGN, UnsupportedError);
}

/** @throws ConfigError for parts that belong to different models */
export function checkChannels(name: string, channels: number, vae: AutoencoderKL): void {
  if (channels === vae.config.latentChannels) return;
  throw new ConfigError(
    `${name}: expected a transformer of the ${vae.config.latentChannels} latent channels of vae/, got ${channels}; take ` +
      'both from one pipeline',
    'in_channels',
  );
}
