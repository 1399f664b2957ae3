/** A scheduler config made ready to run: schedule, timesteps, parameterisation, clipping and solver belong together. */
import { InvalidArgumentError } from '../engine/errors.ts';
import {
  parameterise,
  parameterisePair,
  type Denoiser,
  type Network,
  type PairDenoiser,
  type PairNetwork,
} from './denoiser.ts';
import { runSolver, type RunOptions } from './loop.ts';
import { NoiseSchedule } from './schedule.ts';
import { readSchedulerConfig, type SchedulerConfig } from './schedulerConfig.ts';
import { METHODS, solverOf, type Method, type SolverOptions } from './schedulerMethods.ts';
import type { Solver, Transition } from './solver.ts';
import type { StepChoice } from './timesteps.ts';
import { LinearForm, type Vec } from './vec.ts';

export type { SolverOptions } from './schedulerMethods.ts';
export type { StepChoice } from './timesteps.ts';

/** A run with the solver and the steps of a config. */
export type SampleOptions = Omit<RunOptions, 'solver' | 'transitions'> & StepChoice & SolverOptions;

/** What a `scheduler_config.json` describes. */
export class Sampler {
  readonly config: SchedulerConfig;
  readonly schedule: NoiseSchedule;
  private readonly method: Method;

  /** @throws ConfigError, InvalidArgumentError as {@link NoiseSchedule} for values that make no schedule */
  constructor(config: SchedulerConfig) {
    this.config = config;
    this.schedule = new NoiseSchedule(config);
    this.method = METHODS[config.className];
  }

  /**
   * The network's output read as the config says it was trained; guidance goes round it, clipping comes later.
   * @throws as the denoiser of {@link parameterise} does, on the call
   */
  denoiser(network: Network): Denoiser {
    return parameterise(network, this.method.reads(this.config));
  }

  /**
   * As {@link Sampler.denoiser}, for a network that answers without and with the condition in one call.
   * @throws as the denoiser of {@link parameterise} does, on the call
   */
  pairDenoiser(network: PairNetwork): PairDenoiser {
    return parameterisePair(network, this.method.reads(this.config));
  }

  /** Clips or thresholds x₀ where the config asks for it. */
  corrected(denoiser: Denoiser): Denoiser {
    return this.method.correct(this.config, denoiser);
  }

  /** The method of the config's class. @throws InvalidArgumentError for options of another class, or out of range */
  solver(options: SolverOptions = {}): Solver {
    return solverOf(this.config, options, this.schedule);
  }

  /** What the network is told at the start of each step, falling. @throws InvalidArgumentError if out of range */
  timesteps(choice: StepChoice): number[] {
    return this.transitions(choice).map(({ from }) => from.timestep);
  }

  /** The steps as pairs of noise levels. @throws InvalidArgumentError if steps or timesteps are out of range */
  transitions(choice: StepChoice): Transition[] {
    const { numInferenceSteps, timesteps } = choice;
    if (timesteps && numInferenceSteps !== undefined && numInferenceSteps !== timesteps.length)
      throw new InvalidArgumentError(
        `sampler: expected numInferenceSteps or timesteps, got ${numInferenceSteps} and ` +
          `${timesteps.length} timesteps; pass one of them`,
      );
    if ((choice.sigmas || choice.mu !== undefined) && !this.method.takesSigmas)
      throw new InvalidArgumentError(
        `${this.config.className}: expected no sigmas and no mu, got ${choice.sigmas ? 'sigmas' : 'mu'}; ` +
          'they belong to flow matching',
      );
    return this.method.transitions(this.config, this.schedule, choice);
  }

  /** Standard deviation of x at the first step. @throws InvalidArgumentError if steps or timesteps are out of range */
  initNoiseSigma(choice: StepChoice): number {
    return this.method.initNoiseSigma(this.config, this.transitions(choice));
  }

  /**
   * alpha·original + sigma·noise, the forward process in the space of the state, both [B, C, …].
   * Ho et al. 2020, equation 4.
   *
   * @param choice the steps of a run of which the timestep is one; where sigmas have a shape of their own, their level
   *   is not the schedule's
   * @throws InvalidArgumentError if the lengths differ or the timestep is out of range
   */
  addNoise(original: Vec | LinearForm, noise: Vec | LinearForm, timestep: number, choice?: StepChoice): LinearForm {
    const step = choice && this.transitions(choice).find(({ from }) => from.timestep === timestep);
    const { alpha, sigma } = step?.from ?? this.method.level(this.schedule, timestep);
    return LinearForm.of(original, alpha).plus(noise, sigma);
  }

  /**
   * From noise to a picture: {@link runSolver} with this config's timesteps, solver and clipping.
   * @param options `denoiser` from {@link Sampler.denoiser}, guided or not; `x` noise of unit variance, or with `start`
   *   the state at that step, as {@link Sampler.addNoise} makes it
   * @returns x₀, [B, C, …]; the caller releases it
   * @throws InvalidArgumentError, AbortedError as {@link runSolver}, and as {@link transitions} and {@link solver}
   */
  async sample(options: SampleOptions): Promise<Vec> {
    const { eta, useClippedModelOutput, sChurn, sTmin, sTmax, sNoise, originalImage, mask } = options;
    const transitions = this.transitions(options);
    const fresh = options.start === undefined && !options.resume;
    const scale = fresh ? this.method.initNoiseSigma(this.config, transitions) : 1;
    const solver = this.solver({ eta, useClippedModelOutput, sChurn, sTmin, sTmax, sNoise, originalImage, mask });
    const x = LinearForm.of(options.x, scale).materialise();
    try {
      return await runSolver({ ...options, x, transitions, solver, denoiser: this.corrected(options.denoiser) });
    } finally {
      if (x !== options.x) x.space.release(x);
    }
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
