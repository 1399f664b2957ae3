/**
 * `create_gaussian_diffusion` of improved-diffusion and guided-diffusion: its arguments as our levels, solvers and
 * tables.
 */
import type { PredictionType } from '../../../sampler/denoiser.ts';
import type { VarianceType } from '../../../sampler/ddpm.ts';
import { respacedSchedule, respacedTimesteps } from '../../../sampler/iddpm/respacing.ts';
import { vpLevel, type NoiseLevel, type NoiseSchedule } from '../../../sampler/schedule.ts';
import type { Transition } from '../../../sampler/solver.ts';
import { namedSchedule } from './tables.ts';

/** Its arguments. */
export interface DiffusionConfig {
  steps: number;
  learn_sigma?: boolean;
  sigma_small?: boolean;
  noise_schedule: 'linear' | 'cosine';
  use_kl?: boolean;
  predict_xstart?: boolean;
  rescale_timesteps?: boolean;
  rescale_learned_sigmas?: boolean;
  timestep_respacing?: string | readonly number[];
}

/** What samplers and bounds need to know of a process. */
export interface Diffusion {
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

/** The process that the arguments describe. */
export function diffusionOf(config: DiffusionConfig): Diffusion {
  const { steps, noise_schedule, learn_sigma, sigma_small, predict_xstart, rescale_timesteps } = config;
  const respacing = config.timestep_respacing;
  const timesteps = respacedTimesteps(steps, respacing === undefined || respacing.length === 0 ? [steps] : respacing);
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
