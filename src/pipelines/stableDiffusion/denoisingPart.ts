/**
 * The part of a schedule that a pipeline does, where two share one: the first stops with noise left, the second goes
 * on.
 */
import { InvalidArgumentError } from '../../engine/index.ts';
import type { Sampler, StepChoice } from '../../sampler/index.ts';
import type { TextToImageOptions } from '../options/textToImage.ts';

/**
 * Steps at which to begin and after which to stop: a part p of the schedule ends before the first step whose timestep
 * is below N·(1 − p). Balaji et al. 2022 (eDiff-I); as diffusers' SDXL pipelines count.
 * @throws InvalidArgumentError for a part that is not in 0 … 1, or leaves no step
 */
export function denoisingPart(
  sampler: Sampler,
  choice: StepChoice,
  { denoisingStart, denoisingEnd }: Pick<TextToImageOptions, 'denoisingStart' | 'denoisingEnd'>,
): { start?: number; end?: number } {
  const { numTrainTimesteps: N } = sampler.config;
  const before = (name: string, part: number | undefined) => {
    if (part === undefined) return undefined;
    if (!(part >= 0 && part <= 1)) {
      throw new InvalidArgumentError(`generate: expected ${name} in 0 … 1, got ${part}`);
    }
    const cutoff = roundHalfEven(N - part * N);
    return sampler.timesteps(choice).filter((t) => t >= cutoff).length;
  };
  const [start, end] = [before('denoisingStart', denoisingStart), before('denoisingEnd', denoisingEnd)];
  const steps = sampler.timesteps(choice).length;
  if ((start ?? 0) < (end ?? steps)) return { start, end };
  throw new InvalidArgumentError(
    `generate: expected a step between denoisingStart and denoisingEnd, got ${denoisingStart ?? 0} … ` +
      `${denoisingEnd ?? 1} of ${steps} steps`,
  );
}

/** As Python rounds. */
function roundHalfEven(x: number): number {
  const rounded = Math.round(x);
  return x % 1 === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
}
