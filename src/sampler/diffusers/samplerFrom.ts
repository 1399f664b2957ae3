/** A scheduler config made ready to run: schedule, timesteps, parameterisation, clipping and solver belong together. */
import { InvalidArgumentError, ShapeError } from '../../engine/errors.ts';
import {
  parameterise,
  parameterisePair,
  type Denoiser,
  type Network,
  type PairDenoiser,
  type PairNetwork,
} from '../parameterisation/denoiser.ts';
import { brownianNoise, type BrownianOptions } from '../noise/brownianNoise.ts';
import { inpainted, type InpaintingOptions } from '../editing/inpainting.ts';
import { runSolver, type RunOptions } from '../loop.ts';
import { NoiseSchedule } from '../schedule/schedule.ts';
import { readSchedulerConfig, type SchedulerConfig } from './schedulerConfig.ts';
import { METHODS, solverOf, type Method, type SolverOptions } from './schedulerMethods.ts';
import { startOf, stepsOf } from './schedulerSteps.ts';
import type { Solver, Transition } from '../solver.ts';
import type { StepChoice } from '../schedule/timesteps.ts';
import { LinearForm, type Vec } from '../vec.ts';

export type { SolverOptions } from './schedulerMethods.ts';
export type { StepChoice } from '../schedule/timesteps.ts';

/** What a run may start from and keep. */
export interface ImageOptions {
  /**
   * Image to image: the picture or latent that `x` is the noise for, of x's shape. `strength` says how much of the run
   * is left.
   */
  image?: Vec;
  /**
   * Inpainting: 1 where something new is wanted, 0 where `image` stays, of x's shape. At strength 1 the run starts from
   * noise alone. See {@link inpainted}; `x` is also the noise of what is known, so a resumed run needs the same.
   */
  maskImage?: Vec;
  /**
   * Inpainting of a run that goes on from another's state, at `start`: what is known, where, and its noise, all of x's
   * shape, in place of `image` and `maskImage`.
   */
  known?: InpaintingOptions;
}

/** A run with the solver and the steps of a config. */
export interface SampleOptions
  extends Omit<RunOptions, 'solver' | 'transitions'>, StepChoice, SolverOptions, ImageOptions {
  /** The solver's noise from one Brownian path in place of a generator: see {@link brownianNoise}. */
  brownian?: BrownianOptions;
}

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

  /**
   * The steps as pairs of noise levels, those that `strength` leaves out included (see {@link Sampler.start}).
   * @throws InvalidArgumentError if steps, timesteps or sigmas are out of range, or not for this class
   */
  transitions(choice: StepChoice): Transition[] {
    return stepsOf(this.config, this.schedule, choice);
  }

  /**
   * How many of {@link Sampler.transitions} `start` or `strength` leaves out.
   * @throws InvalidArgumentError unless strength is in (0, 1] and leaves a step
   */
  start(choice: StepChoice): number {
    return startOf(this.config, this.transitions(choice), choice);
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
    const steps = choice ? this.transitions(choice) : [];
    const levels = steps.flatMap(({ from, stages = [] }) => [from, ...(this.method.sizeOf ? stages : [])]);
    const level = levels.find((own) => own.timestep === timestep);
    const { alpha, sigma } = level ?? this.method.level(this.schedule, timestep);
    return LinearForm.of(original, alpha).plus(noise, sigma);
  }

  /**
   * From noise to a picture: {@link runSolver} with this config's timesteps, solver and clipping.
   * @param options `denoiser` from {@link Sampler.denoiser}, guided or not; `x` noise of unit variance, with `image`
   *   too, or with `start` the state at that step, as {@link Sampler.addNoise} makes it
   * @returns x₀, [B, C, …]; the caller releases it
   * @throws InvalidArgumentError, AbortedError as {@link runSolver}, and as {@link transitions} and {@link solver};
   *   ShapeError if `image` or `maskImage` has not x's shape
   */
  async sample(options: SampleOptions): Promise<Vec> {
    const { eta, useClippedModelOutput, sChurn, sTmin, sTmax, sNoise, originalImage, mask, image, maskImage } = options;
    checkImage(options);
    const transitions = this.transitions(options);
    const plain = this.solver({ eta, useClippedModelOutput, sChurn, sTmin, sTmax, sNoise, originalImage, mask });
    const own = options.brownian ? brownianNoise(plain, options.brownian) : plain;
    const known = image && maskImage ? { image, maskImage, noise: options.x } : options.known;
    const solver = known ? inpainted(own, { ...known, end: options.end }) : own;
    const skips = options.start !== undefined || image !== undefined;
    const start = skips ? startOf(this.config, transitions, options) : 0;
    const x = this.startingState(options, transitions, start).materialise();
    try {
      return await runSolver({ ...options, x, start, transitions, solver, denoiser: this.corrected(options.denoiser) });
    } finally {
      if (x !== options.x) x.space.release(x);
    }
  }

  private startingState(options: SampleOptions, transitions: readonly Transition[], start: number): LinearForm {
    const { x, image, maskImage, strength = 1 } = options;
    if (options.resume || options.start !== undefined) return LinearForm.of(x);
    if (!image || (maskImage && strength === 1))
      return LinearForm.of(x, this.method.initNoiseSigma(this.config, transitions));
    const { alpha, sigma } = transitions[start].from;
    return LinearForm.of(image, alpha).plus(x, sigma);
  }
}

function checkImage({ x, image, maskImage, strength = 1, start, known }: SampleOptions): void {
  if (known && start === undefined)
    throw new InvalidArgumentError(
      'sample: expected known with start, got it alone; pass image and maskImage for a run from its first step',
    );
  if (!image && (maskImage || (strength !== 1 && start === undefined)))
    throw new InvalidArgumentError(
      `sample: expected image with ${maskImage ? 'maskImage' : `strength ${strength}`}, got none; pass the picture`,
    );
  if (image && start !== undefined)
    throw new InvalidArgumentError(
      `sample: expected image or start, got both; with image, strength says where to start`,
    );
  for (const [name, vec] of Object.entries({ image, maskImage }))
    if (vec && (vec.length !== x.length || vec.batch !== x.batch))
      throw new ShapeError(
        `sample: expected ${name} of ${x.batch} items, ${x.length} elements, got ${vec.batch} and ${vec.length}; ` +
          "repeat it to x's shape",
      );
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
