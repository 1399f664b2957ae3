/** The sampling loop: transitions through a solver, with events, abort, and a state from which to go on. */
import { InvalidArgumentError, throwIfAborted } from '../engine/errors.ts';
import type { Denoiser } from './parameterisation/denoiser.ts';
import type { NormalGenerator } from './noise/generator.ts';
import type { NoiseLevel } from './schedule/schedule.ts';
import type { NoiseSource, Solver, Transition } from './solver.ts';
import { torchNoise } from './noise/torchGenerator.ts';
import type { LinearForm, Vec } from './vec.ts';

/** A run between two steps; plain JSON. A run resumed from it ends in the same bits. */
export interface SamplerState {
  /** Steps done. */
  step: number;
  /** The state, [B, C, …]. */
  x: number[];
  /** What a multistep solver keeps of earlier steps. */
  history: number[][];
  /** What a method that chooses its own steps keeps on the host; absent elsewhere. */
  numbers?: number[];
  /** Where each generator that the run was given stands. */
  generators: unknown[];
}

/** A source of noise that can be stopped and set going again, such as one on the GPU; `state` is plain JSON. */
export interface ResumableNoise {
  readonly source: NoiseSource;
  state: unknown;
}

/** What is told after each step. */
export interface StepEvent {
  /** Steps done, 1 … steps. */
  step: number;
  /** Steps of the whole run; Infinity where the method chooses them. */
  steps: number;
  /** What the network was told in this step. */
  timestep: number;
  /** Standard deviation of the noise in x before this step, x = alpha·x₀ + sigma·ε. */
  sigma: number;
  /** x₀ as believed in this step; valid until the next step begins. */
  preview(): Vec;
  /** Reads the state back; await it within the event. @throws DeviceLostError */
  state(): Promise<SamplerState>;
}

/** One run of a solver. */
export interface RunOptions {
  /** The start: noise (or a noised picture), [B, C, …]. Not written to, and still valid afterwards. */
  x: Vec;
  /** What is asked in every step. */
  denoiser: Denoiser;
  /** The method, one call per transition. */
  solver: Solver;
  /** Pairs of noise levels, from noise to picture. */
  transitions: readonly Transition[];
  /** Where noise comes from when the solver draws: one generator for the batch, or one per item. */
  generator?: NormalGenerator | ResumableNoise | readonly NormalGenerator[];
  /** A source of your own, in place of the generators; where it stands is not part of the state. */
  noise?: NoiseSource;
  /** Steps to leave out at the start, 0 … steps − 1; default 0. */
  start?: number;
  /** Step after which to stop, with what is noisy still, 1 … steps; default all. */
  end?: number;
  /** Go on from here; `x` then only gives shape and space, and `generator`s are set to where they stood. */
  resume?: SamplerState;
  /** Called after each step and awaited. */
  onStep?: (event: StepEvent) => void | Promise<void>;
  /** Checked between steps, and handed to the network. */
  signal?: AbortSignal;
}

/** Time on the thread after which the loop lets timers and events run, ms. */
const YIELD_AFTER = 30;

/** Gives the event loop a turn if the last one is long ago: a host network never leaves the microtask queue. */
async function breathe(last: number): Promise<number> {
  if (performance.now() - last < YIELD_AFTER) return last;
  await new Promise((resolve) => setTimeout(resolve));
  return performance.now();
}

const noNoise: NoiseSource = () => {
  throw new InvalidArgumentError('sample: expected a generator, got none, and this solver draws noise; pass generator');
};

/** A run between two steps, as the loop holds it. */
export interface RunState {
  readonly x: Vec;
  /** Vectors kept of earlier steps. */
  readonly history: readonly Vec[];
  /** What else is kept, on the host. */
  readonly numbers: readonly number[];
}

/** What a step of a run ends with. */
export interface RunStep extends RunState {
  /** The picture as believed in it. */
  readonly x0: LinearForm;
  /** The level at which it began. */
  readonly at: NoiseLevel;
}

/** One run of {@link runSteps}: what callers may choose, and where it begins. */
export interface StepsOptions extends Pick<RunOptions, 'generator' | 'noise' | 'resume' | 'onStep' | 'signal'> {
  /** Where it begins; with `resume`, of that shape. */
  readonly begin: RunState;
  /** Steps done before; default 0. */
  readonly step?: number;
  /** Steps of the whole run; default Infinity. */
  readonly steps?: number;
}

function sourceOf(generator: RunOptions['generator']): NoiseSource {
  if (!generator) return noNoise;
  return 'source' in generator ? generator.source : torchNoise(generator);
}

async function snapshot(
  step: number,
  { x, history, numbers }: RunState,
  generators: readonly { state: unknown }[],
): Promise<SamplerState> {
  const read = async (v: Vec): Promise<number[]> => Array.from(await v.space.read(v));
  return {
    step,
    x: await read(x),
    history: await Promise.all(history.map(read)),
    ...(numbers.length > 0 && { numbers: [...numbers] }),
    generators: generators.map((g) => g.state),
  };
}

function checkResume(
  { generators, numbers = [] }: SamplerState,
  given: readonly { state: unknown }[],
  begin: RunState,
): void {
  if (generators.length !== given.length)
    throw new InvalidArgumentError(
      `sample: expected ${generators.length} generators as in the state, got ${given.length}; pass as many`,
    );
  if (numbers.length !== begin.numbers.length)
    throw new InvalidArgumentError(
      `sample: expected a state with ${begin.numbers.length} numbers, got ${numbers.length}; resume with the method it is of`,
    );
}

/**
 * Runs steps until there are no more, with events, abort, and a state from which to go on.
 *
 * @param next one step from a state, counted from 0; undefined when the run is over
 * @returns the last state; the caller releases its vectors
 * @throws AbortedError, what `next` throws, and InvalidArgumentError if `resume` does not fit
 */
export async function runSteps(
  { begin, resume, onStep, signal, steps = Infinity, ...options }: StepsOptions,
  next: (state: RunState, step: number, noise: NoiseSource) => Promise<RunStep | undefined>,
): Promise<RunState> {
  const { generator } = options;
  const generators = [generator ?? []].flat() as { state: unknown }[];
  const noise = options.noise ?? sourceOf(generator);
  if (resume) checkResume(resume, generators, begin);
  resume?.generators.forEach((state, i) => (generators[i].state = state));
  const { space } = begin.x;
  space.beginRun();
  const upload = (values: number[]): Vec => space.upload(Float64Array.from(values), begin.x);
  let state = begin;
  if (resume) state = { x: upload(resume.x), history: resume.history.map(upload), numbers: resume.numbers ?? [] };
  let turn = performance.now();
  try {
    for (let i = resume?.step ?? options.step ?? 0; ; i++) {
      throwIfAborted(signal, `sample, before step ${i + 1}${steps < Infinity ? ` of ${steps}` : ''}`);
      const done = await next(state, i, noise);
      if (!done) return state;
      state = { x: done.x, history: done.history, numbers: done.numbers };
      await onStep?.({
        step: i + 1,
        steps,
        timestep: done.at.timestep,
        sigma: done.at.sigma,
        preview: () => done.x0.materialise(),
        state: () => snapshot(i + 1, state, generators),
      });
      space.endStep([state.x, ...state.history]);
      turn = await breathe(turn);
    }
  } catch (error) {
    space.endStep([]);
    throw error;
  }
}

/**
 * Runs a solver over its transitions.
 *
 * @returns the state after the last transition, [B, C, …]; the caller releases it
 * @throws AbortedError once the signal fires, between steps at the latest
 * @throws InvalidArgumentError if `start`, `end` or `resume` do not fit, or the solver draws noise and there is no
 * generator
 */
export async function runSolver({ start, end: last, ...options }: RunOptions): Promise<Vec> {
  const { x: begin, transitions, denoiser, solver, resume, signal } = options;
  const steps = transitions.length;
  const step = resume?.step ?? start ?? 0;
  if (!Number.isInteger(step) || step < 0 || step > steps || (step === steps && !resume))
    throw new InvalidArgumentError(`sample: expected start in 0 … ${steps - 1}, got ${step}; there are ${steps} steps`);
  if (last !== undefined && !(Number.isInteger(last) && last <= steps && (last > step || resume)))
    throw new InvalidArgumentError(`sample: expected end in ${step + 1} … ${steps}, got ${last}`);
  const end = await runSteps(
    { ...options, begin: { x: begin, history: [], numbers: [] }, step, steps },
    async ({ x, history }, index, noise) => {
      if (index === steps || (last !== undefined && index >= last)) return undefined;
      const at = { ...transitions[index], index, transitions };
      const done = await solver({ ...at, x, denoise: denoiser, noise, history, signal });
      return { x: done.x, x0: done.x0, history: done.history ?? [], numbers: [], at: at.from };
    },
  );
  return end.x;
}
