/** A scheduler config made ready to run: schedule, timesteps, parameterisation, clipping and solver belong together. */
import { InvalidArgumentError } from '../engine/errors.ts';
import { clipped, thresholded } from './clip.ts';
import { ddim, type DdimOptions } from './ddim.ts';
import { ddpm } from './ddpm.ts';
import {
  parameterise,
  parameterisePair,
  type Denoiser,
  type Network,
  type PairDenoiser,
  type PairNetwork,
} from './denoiser.ts';
import { runSolver, type RunOptions } from './loop.ts';
import { NoiseSchedule, vpLevel, type NoiseLevel } from './schedule.ts';
import { readSchedulerConfig, type SchedulerConfig } from './schedulerConfig.ts';
import type { Solver, Transition } from './solver.ts';
import { customTimesteps, spacedTimesteps } from './timesteps.ts';
import { LinearForm, type Vec } from './vec.ts';

/** How many steps, or which ones. */
export interface StepChoice {
  /** 1 … N; the config's spacing places them. */
  numInferenceSteps?: number;
  /** Training timesteps, strictly falling, in place of a number. */
  timesteps?: readonly number[];
}

/** What only some solvers take. */
export type SolverOptions = DdimOptions;

/** A run with the solver and the steps of a config. */
export type SampleOptions = Omit<RunOptions, 'solver' | 'transitions'> & StepChoice & SolverOptions;

/** DDPM or DDIM as a `scheduler_config.json` describes it. */
export class Sampler {
  readonly config: SchedulerConfig;
  readonly schedule: NoiseSchedule;
  /** Standard deviation that the initial noise must have. */
  readonly initNoiseSigma = 1;

  /** @throws ConfigError, InvalidArgumentError as {@link NoiseSchedule} for values that make no schedule */
  constructor(config: SchedulerConfig) {
    this.config = config;
    this.schedule = new NoiseSchedule(config);
  }

  /**
   * The network's output read as the config says it was trained; guidance goes round it, clipping comes later.
   * @throws as the denoiser of {@link parameterise} does, on the call
   */
  denoiser(network: Network): Denoiser {
    return parameterise(network, this.config.predictionType);
  }

  /**
   * As {@link Sampler.denoiser}, for a network that answers without and with the condition in one call.
   * @throws as the denoiser of {@link parameterise} does, on the call
   */
  pairDenoiser(network: PairNetwork): PairDenoiser {
    return parameterisePair(network, this.config.predictionType);
  }

  /** Clips or thresholds x₀ where the config asks for it; thresholding goes first, as in the reference library. */
  corrected(denoiser: Denoiser): Denoiser {
    const { thresholding, dynamicThresholdingRatio, sampleMaxValue, clipSample, clipSampleRange } = this.config;
    if (thresholding) return thresholded(denoiser, dynamicThresholdingRatio, sampleMaxValue);
    return clipSample ? clipped(denoiser, clipSampleRange) : denoiser;
  }

  /** The method of the config's class. @throws InvalidArgumentError if DDIM's options are given to DDPM, or eta < 0 */
  solver(options: SolverOptions = {}): Solver {
    if (this.config.className === 'DDIMScheduler') return ddim(options);
    if (options.eta || options.useClippedModelOutput)
      throw new InvalidArgumentError(
        `DDPMScheduler: expected no eta and no useClippedModelOutput, got ${options.eta ?? 'the latter'}; ` +
          'they belong to DDIMScheduler',
      );
    return ddpm(this.config);
  }

  /** The training timesteps visited, falling. @throws InvalidArgumentError if out of range */
  timesteps({ numInferenceSteps, timesteps }: StepChoice): number[] {
    const { numTrainTimesteps } = this.config;
    if (timesteps && numInferenceSteps !== undefined && numInferenceSteps !== timesteps.length)
      throw new InvalidArgumentError(
        `sampler: expected numInferenceSteps or timesteps, got ${numInferenceSteps} and ` +
          `${timesteps.length} timesteps; pass one of them`,
      );
    if (timesteps) return customTimesteps(timesteps, numTrainTimesteps);
    return spacedTimesteps(
      numInferenceSteps ?? NaN,
      numTrainTimesteps,
      this.config.timestepSpacing,
      this.config.stepsOffset,
    );
  }

  /**
   * The steps as pairs of noise levels. As in the reference library a spaced step goes down by ⌊N / steps⌋, which with
   * `linspace` and `trailing` need not be where the next one starts; custom timesteps lead to each other.
   * @throws InvalidArgumentError if steps or timesteps are out of range
   */
  transitions(choice: StepChoice): Transition[] {
    const timesteps = this.timesteps(choice);
    const stride = Math.floor(this.config.numTrainTimesteps / timesteps.length);
    return timesteps.map((t, i) => {
      const s = choice.timesteps ? (timesteps[i + 1] ?? -1) : t - stride;
      return { from: this.schedule.at(t), to: s >= 0 ? this.schedule.at(s) : this.end };
    });
  }

  /**
   * √ᾱ_t·original + √(1 − ᾱ_t)·noise: the forward process, both [B, C, …]. Ho et al. 2020, equation 4.
   * @throws InvalidArgumentError if the lengths differ or the timestep is out of range
   */
  addNoise(original: Vec | LinearForm, noise: Vec | LinearForm, timestep: number): LinearForm {
    const { alpha, sigma } = this.schedule.at(timestep);
    return LinearForm.of(original, alpha).plus(noise, sigma);
  }

  /**
   * From noise to a picture: {@link runSolver} with this config's timesteps, solver and clipping.
   * @param options `denoiser` from {@link Sampler.denoiser}, guided or not; `x` with unit variance
   * @returns x₀, [B, C, …]; the caller releases it
   * @throws InvalidArgumentError, AbortedError as {@link runSolver}, and as {@link timesteps} and {@link solver}
   */
  async sample(options: SampleOptions): Promise<Vec> {
    const transitions = this.transitions(options);
    return runSolver({
      ...options,
      transitions,
      solver: this.solver(options),
      denoiser: this.corrected(options.denoiser),
    });
  }

  /** What comes before timestep 0: no noise, or for DDIM with `set_alpha_to_one: false` the noise of timestep 0. */
  private get end(): NoiseLevel {
    const { className, setAlphaToOne } = this.config;
    return vpLevel(-1, className === 'DDIMScheduler' && !setAlphaToOne ? this.schedule.alphasCumprod[0] : 1);
  }
}

/**
 * The sampler that a diffusers `scheduler_config.json` describes.
 *
 * @param config the parsed JSON
 * @throws UnsupportedError if it is of another scheduler class
 * @throws ConfigError naming the field that is unknown or out of range
 */
export function samplerFrom(config: Readonly<Record<string, unknown>>): Sampler {
  return new Sampler(readSchedulerConfig(config));
}
