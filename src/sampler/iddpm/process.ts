/**
 * The discrete process of improved-diffusion and guided-diffusion, from the arguments of their
 * `create_gaussian_diffusion`: levels of noise, what the network is told, and which variance it draws with.
 * Nichol & Dhariwal 2021, https://arxiv.org/abs/2102.09672
 */
import { InvalidArgumentError } from '../../engine/errors.ts';
import type { VarianceType } from '../solvers/ddpm.ts';
import type { PredictionType } from '../parameterisation/denoiser.ts';
import { NoiseSchedule, vpLevel, type NoiseLevel } from '../schedule/schedule.ts';
import type { Transition } from '../solver.ts';
import { respacedSchedule, respacedTimesteps } from './respacing.ts';

/** By the names of the arguments; those that only training reads are left out. */
export interface GaussianProcessConfig {
  /** Timesteps that the network was trained with. */
  steps: number;
  /** The network's second half of channels is its variance; default false. */
  learn_sigma?: boolean;
  /** Without a learned variance: β̃ where true, β where false; default false. */
  sigma_small?: boolean;
  noise_schedule: 'linear' | 'cosine';
  /** The network predicts the picture, not the noise; default false. */
  predict_xstart?: boolean;
  /** The network is told timesteps on a scale of 1000; default false. */
  rescale_timesteps?: boolean;
  /** See {@link respacedTimesteps}; default every timestep. */
  timestep_respacing?: string | readonly number[];
}

/** What samplers and bounds need to know of a process. */
export interface GaussianProcess {
  /** Of the kept timesteps. */
  schedule: NoiseSchedule;
  /** The kept timesteps of the trained process, rising. */
  timesteps: readonly number[];
  /** What the network is told at each of them. */
  modelTimesteps: readonly number[];
  /** From the last to the first, and from there to the picture. */
  transitions: readonly Transition[];
  varianceType: VarianceType;
  prediction: PredictionType;
}

/** The picture itself. */
const PICTURE: NoiseLevel = { timestep: -1, alpha: 1, sigma: 0 };

/** β by name, in f64: the linear schedule is stretched so that shorter chains end as noisy. */
export function namedSchedule(name: 'linear' | 'cosine', n: number): NoiseSchedule {
  const options = { numTrainTimesteps: n, precision: 'f64' } as const;
  if (name === 'cosine') return new NoiseSchedule({ ...options, betaSchedule: 'squaredcos_cap_v2' });
  const scale = 1000 / n;
  return new NoiseSchedule({ ...options, betaStart: scale * 1e-4, betaEnd: scale * 0.02 });
}

/**
 * The process that the arguments describe.
 * @param timesteps of the trained process to keep, rising from 0, in place of `timestep_respacing`
 * @throws InvalidArgumentError for a respacing that does not fit, or kept timesteps that are not of the process
 */
export function gaussianProcess(config: GaussianProcessConfig, kept?: readonly number[]): GaussianProcess {
  const { steps, noise_schedule, learn_sigma, sigma_small, predict_xstart, rescale_timesteps } = config;
  const { timestep_respacing: respacing = '' } = config;
  const timesteps = kept
    ? checked(kept, steps)
    : respacedTimesteps(steps, respacing.length === 0 ? [steps] : respacing);
  const schedule = respacedSchedule(namedSchedule(noise_schedule, steps), timesteps);
  const modelTimesteps = timesteps.map((t) => (rescale_timesteps ? Math.fround(t * Math.fround(1000 / steps)) : t));
  const levels = modelTimesteps.map((t, i) => vpLevel(t, schedule.alphasCumprod[i]));
  return {
    schedule,
    timesteps,
    modelTimesteps,
    transitions: levels.map((from, i) => ({ from, to: levels[i - 1] ?? PICTURE })).reverse(),
    varianceType: learn_sigma ? 'learned_range' : sigma_small ? 'fixed_small' : 'fixed_large',
    prediction: predict_xstart ? 'sample' : 'epsilon',
  };
}

function checked(kept: readonly number[], steps: number): readonly number[] {
  const bad = kept.find((t, i) => !Number.isInteger(t) || t >= steps || t <= (kept[i - 1] ?? -1));
  // A step that ends in the picture draws nothing, by which the timestep 0 is known.
  if (kept[0] === 0 && bad === undefined) return kept;
  throw new InvalidArgumentError(
    `gaussianProcess: expected timesteps from ${steps - 1} down to 0, none twice, got ${bad ?? `${kept[0]} as the last`}`,
  );
}
