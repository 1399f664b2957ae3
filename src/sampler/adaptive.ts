/** Methods that choose their steps by the difference of two orders. Lu et al. 2022 (DPM-Solver), appendix C. */
import type { NoiseLevel } from './schedule/schedule.ts';
import { runSteps, type RunOptions } from './loop.ts';
import type { NoiseSource } from './solver.ts';
import { LinearForm, type Vec } from './vec.ts';

/** What every such run takes beside its method. */
export interface AdaptiveOptions extends Pick<
  RunOptions,
  'x' | 'denoiser' | 'generator' | 'noise' | 'resume' | 'signal'
> {
  /** Called after each trial and awaited; the state in it goes on in the same bits. */
  onStep?: RunOptions['onStep'];
  /** Relative tolerance, > 0; default 0.05. */
  rtol?: number;
  /** Absolute tolerance, > 0; default 0.0078, two 8-bit steps of a picture in −1 … 1. */
  atol?: number;
  /** First step in λ, > 0; default 0.05. */
  hInit?: number;
  /** Told after each trial; `x` is unchanged where it was refused, `x0` valid until the next. */
  onTrial?: (event: TrialEvent) => void | Promise<void>;
}

/** What is told after each trial step. */
export interface TrialEvent {
  /** The state. */
  x: Vec;
  /** The picture as believed in the trial. */
  x0: LinearForm;
  accepted: boolean;
}

/** One step tried in two orders. */
export interface Trial {
  readonly low: LinearForm;
  readonly high: LinearForm;
  /** Added to `high` once it is accepted. */
  noise?(): LinearForm;
  readonly x0: LinearForm;
  readonly at: NoiseLevel;
}

/** A method by its parts. `numbers` are its position, its step, and what its control remembers. */
export interface AdaptiveMethod {
  readonly numbers: readonly number[];
  done(numbers: readonly number[]): boolean;
  trial(x: Vec, numbers: readonly number[], noise: NoiseSource): Promise<Trial>;
  /** One error from those of the items, RMS over their elements in units of the tolerances. */
  error(items: readonly number[]): number;
  /** Whether an error is small enough, and where that leaves the method. */
  control(error: number, numbers: readonly number[]): { accepted: boolean; numbers: readonly number[] };
}

/**
 * Tries steps until the method is done. The error is (low − high) ⊘ max(atol, rtol·max(|low|, |low of the last
 * accepted|)); its norms are all that is read back.
 * @returns the state; the caller releases it
 */
export async function runAdaptive(options: AdaptiveOptions, method: AdaptiveMethod): Promise<Vec> {
  const { x: start, rtol = 0.05, atol = 0.0078, onTrial } = options;
  const { space } = start;
  const begin = { x: start, history: [start], numbers: method.numbers };
  const end = await runSteps({ ...options, begin }, async ({ x, history: [last], numbers: before }, _step, noise) => {
    if (method.done(before)) return undefined;
    const { x0, at, ...trial } = await method.trial(x, before, noise);
    const [low, high] = [trial.low, trial.high].map((form) => form.materialise());
    const off = space.relativeError(LinearForm.of(low).minus(high), low, last, atol, rtol, 'max');
    const norms = await space.norm(off);
    const error = method.error(norms.map((n) => n / Math.sqrt(off.length / off.batch)));
    const { accepted, numbers } = method.control(error, before);
    const next = accepted && trial.noise ? LinearForm.of(high).plus(trial.noise()).materialise() : high;
    const state = accepted ? { x: next, history: [low] } : { x, history: [last] };
    await onTrial?.({ x: state.x, x0, accepted });
    return { ...state, numbers, x0, at };
  });
  return end.x;
}
