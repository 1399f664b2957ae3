/**
 * Which training timesteps a short run visits. Spacings as in table 2 of Lin et al. 2023 (Common Diffusion Noise
 * Schedules and Sample Steps are Flawed), with the rounding of the reference library (half to even).
 */
import { ConfigError, InvalidArgumentError } from '../../engine/errors.ts';

/** Ways to spread a few steps over the training timesteps, by the names of diffusers. */
export const TIMESTEP_SPACINGS = ['leading', 'trailing', 'linspace'] as const;
/** One of {@link TIMESTEP_SPACINGS}. */
export type TimestepSpacing = (typeof TIMESTEP_SPACINGS)[number];

/** How many steps, or which ones. */
export interface StepChoice {
  /** 1 … N; the config's spacing places them. */
  numInferenceSteps?: number;
  /** Training timesteps, strictly falling, in place of a number. */
  timesteps?: readonly number[];
  /**
   * Noise levels of the caller's own, strictly falling, in place of a number. Flow matching: in (0, 1], before the
   * shift, and the run ends at 0 on its own. k-diffusion's kin: one more than there are steps, the last may be 0.
   */
  sigmas?: readonly number[];
  /**
   * Image to image: how much of the run is left to do, in (0, 1]; default 1. The first steps are left out; LCM and TCD
   * spread their steps over what is left.
   */
  strength?: number;
  /** How many of `numInferenceSteps`, from the noisiest, to leave out; default 0, or what `strength` says. */
  start?: number;
  /**
   * LCM and TCD: steps of the teacher's solver, in place of the config's; for TCD any training timestep then counts.
   */
  originalInferenceSteps?: number;
  /** Flow matching with dynamic shifting: the logarithm of the shift, as {@link resolutionMu} finds it. */
  mu?: number;
  /** RePaint: steps of a jump back; default 10. */
  jumpLength?: number;
  /** RePaint: how often each jump is made, the first time included; default 10. */
  jumpNSample?: number;
}

/** Choices that not all classes know. */
export const SPECIAL_CHOICES = ['sigmas', 'mu', 'jumpLength', 'jumpNSample', 'originalInferenceSteps'] as const;
/** One of {@link SPECIAL_CHOICES}. */
export type SpecialChoice = (typeof SPECIAL_CHOICES)[number];

/** Nearest integer, ties to even, as numpy and Python round. */
export function roundHalfEven(x: number): number {
  const r = Math.round(x);
  return Math.abs(x % 1) === 0.5 && r % 2 !== 0 ? r - 1 : r;
}

/** Most steps of a run where noise levels are continuous; a run of more is a mistake. */
export const MOST_STEPS = 100_000;

/** Checks a number of steps. @throws InvalidArgumentError unless 1 ≤ steps ≤ most, an integer. */
export function checkSteps(steps: number, most = MOST_STEPS): void {
  if (Number.isInteger(steps) && steps >= 1 && steps <= most) return;
  const why = most === MOST_STEPS ? 'take fewer' : 'the model knows no more noise levels than it was trained with';
  throw new InvalidArgumentError(
    `sampler: expected numInferenceSteps in 1 … ${most}, an integer, got ${steps}; ${why}`,
  );
}

/**
 * `steps` timesteps, falling.
 *
 * - `leading`: multiples of ⌊N / steps⌋ from 0 up, plus `stepsOffset`; never starts at pure noise.
 * - `trailing`: N − 1 down in strides of N / steps; never ends at 0.
 * - `linspace`: both ends, evenly between.
 *
 * @throws InvalidArgumentError unless 1 ≤ steps ≤ N
 * @throws ConfigError if the spacing is unknown
 */
export function spacedTimesteps(
  steps: number,
  numTrainTimesteps: number,
  spacing: TimestepSpacing = 'leading',
  stepsOffset = 0,
): number[] {
  checkSteps(steps, numTrainTimesteps);
  const stride = numTrainTimesteps / steps;
  const last = numTrainTimesteps - 1;
  const at = (rule: (i: number) => number): number[] => Array.from({ length: steps }, (_, i) => rule(i));
  switch (spacing) {
    case 'leading':
      return at((i) => (steps - 1 - i) * Math.floor(stride) + stepsOffset);
    case 'trailing':
      // numpy's arange repeats the difference of its first two values, not the stride itself.
      return at((i) => roundHalfEven(numTrainTimesteps - i * (numTrainTimesteps - (numTrainTimesteps - stride))) - 1);
    case 'linspace':
      return at((i) => (i === 0 && steps > 1 ? last : roundHalfEven((steps - 1 - i) * (last / (steps - 1 || 1)))));
    default:
      throw new ConfigError(
        `timesteps: expected timestep_spacing to be one of ${TIMESTEP_SPACINGS.join(', ')}, got ${String(spacing)}`,
        'timestep_spacing',
      );
  }
}

/**
 * Steps left of a run of image to image: ⌊steps·strength⌋, as the reference library's pipelines count.
 * @throws InvalidArgumentError unless strength is in (0, 1] and leaves a step
 */
export function strengthSteps(steps: number, strength = 1): number {
  const left = Math.floor(steps * strength);
  if (!(strength > 0 && strength <= 1) || left < 1)
    throw new InvalidArgumentError(
      `sampler: expected strength in (0, 1] with steps·strength ≥ 1, got ${strength} of ${steps} steps; raise either`,
    );
  return left;
}

/** How many of `steps` a run leaves out at its start. @throws InvalidArgumentError as {@link strengthSteps} */
export function skippedSteps(steps: number, { start, strength }: Pick<StepChoice, 'start' | 'strength'>): number {
  return start ?? steps - strengthSteps(steps, strength);
}

/** Timesteps of the caller's own. @throws InvalidArgumentError unless integers, strictly falling, within 0 … N−1. */
export function customTimesteps(timesteps: readonly number[], numTrainTimesteps: number): number[] {
  const ok = timesteps.every(
    (t, i) => Number.isInteger(t) && t >= 0 && t < numTrainTimesteps && (i === 0 || t < timesteps[i - 1]),
  );
  if (!ok || timesteps.length === 0)
    throw new InvalidArgumentError(
      `sampler: expected timesteps to be integers in 0 … ${numTrainTimesteps - 1}, strictly falling, ` +
        `got [${timesteps.join(', ')}]; sort them and drop repeats`,
    );
  return [...timesteps];
}
