/** What every solver is: one function from a step to the next state. */
import type { Denoiser } from './parameterisation/denoiser.ts';
import type { NoiseLevel } from './schedule/schedule.ts';
import type { LinearForm, Vec } from './vec.ts';

/** From one level of noise to a lower one. `to` need not be the next step's `from`: see ddim's spacings. */
export interface Transition {
  readonly from: NoiseLevel;
  readonly to: NoiseLevel;
  /** Levels between the two, falling, at which methods of several stages look. */
  readonly stages?: readonly NoiseLevel[];
}

/** From each level to the next. */
export function pairs(levels: readonly NoiseLevel[]): Transition[] {
  return levels.slice(0, -1).map((from, i) => ({ from, to: levels[i + 1] }));
}

/**
 * Standard normal noise with the shape of `like`; each call draws anew. A method that draws several times in a step
 * names the level that a draw leads to where it is not the step's own: sources that know levels then stay on one path.
 */
export type NoiseSource = (like: Vec, to?: NoiseLevel) => Vec;

/** What a step starts from. */
export interface StepInput extends Transition {
  readonly x: Vec;
  readonly denoise: Denoiser;
  readonly noise: NoiseSource;
  /** What the solver returned as `history` a step ago; empty at the start. */
  readonly history: readonly Vec[];
  /** Which step of the run this is, from 0. */
  readonly index?: number;
  /** All steps of the run: multistep methods need the levels behind them, and lower their order at the end. */
  readonly transitions?: readonly Transition[];
  readonly signal?: AbortSignal;
}

/** What a step ends with. */
export interface StepOutput {
  /** The state at `to`. */
  readonly x: Vec;
  /** The picture as believed in this step, clipped if the denoiser clips. */
  readonly x0: LinearForm;
  /** Materialised vectors that the next step needs (multistep methods). */
  readonly history?: readonly Vec[];
}

/** One step of a method. Draws noise exactly when its reference does, so that generators stay in step. */
export type Solver = (step: StepInput) => Promise<StepOutput>;
