/** The sampling loop: transitions through a solver, with events, abort, and a state from which to go on. */
import { InvalidArgumentError, throwIfAborted } from '../engine/errors.ts';
import type { Denoiser } from './denoiser.ts';
import type { NoiseSource, Solver, Transition } from './solver.ts';
import { torchNoise, type GeneratorState, type TorchGenerator } from './torchGenerator.ts';
import type { Vec } from './vec.ts';

/** A run between two steps; plain JSON. A run resumed from it ends in the same bits. */
export interface SamplerState {
  /** Steps done. */
  step: number;
  /** The state, [B, C, …]. */
  x: number[];
  /** What a multistep solver keeps of earlier steps. */
  history: number[][];
  /** One per generator that the run was given. */
  generators: GeneratorState[];
}

/** What is told after each step. */
export interface StepEvent {
  /** Steps done, 1 … steps. */
  step: number;
  /** Steps of the whole run. */
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
  /** Where noise comes from when the solver draws: one generator, or one per item. */
  generator?: TorchGenerator | readonly TorchGenerator[];
  /** A source of your own, in place of the generators. */
  noise?: NoiseSource;
  /** Steps to leave out at the start, 0 … steps − 1; default 0. */
  start?: number;
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

async function snapshot(
  step: number,
  x: Vec,
  history: readonly Vec[],
  generators: readonly TorchGenerator[],
): Promise<SamplerState> {
  const read = async (v: Vec): Promise<number[]> => Array.from(await v.space.read(v));
  return {
    step,
    x: await read(x),
    history: await Promise.all(history.map(read)),
    generators: generators.map((g) => g.state),
  };
}

/**
 * Runs a solver over its transitions.
 *
 * @returns the state after the last transition, [B, C, …]; the caller releases it
 * @throws AbortedError once the signal fires, between steps at the latest
 * @throws InvalidArgumentError if `start` or `resume` do not fit, or the solver draws noise and there is no generator
 */
export async function runSolver(options: RunOptions): Promise<Vec> {
  const { transitions, denoiser, solver, resume, onStep, signal } = options;
  const steps = transitions.length;
  const generators = [options.generator ?? []].flat() as TorchGenerator[];
  const noise = options.noise ?? (options.generator ? torchNoise(options.generator) : noNoise);
  const first = resume?.step ?? options.start ?? 0;
  if (!Number.isInteger(first) || first < 0 || first > steps || (first === steps && !resume))
    throw new InvalidArgumentError(
      `sample: expected start in 0 … ${steps - 1}, got ${first}; there are ${steps} steps`,
    );
  if (resume && resume.generators.length !== generators.length)
    throw new InvalidArgumentError(
      `sample: expected ${resume.generators.length} generators as in the state, got ${generators.length}; pass as many`,
    );
  resume?.generators.forEach((state, i) => (generators[i].state = state));
  const { space } = options.x;
  space.beginRun();
  const upload = (values: number[]): Vec => space.upload(Float64Array.from(values), options.x);
  let x = resume ? upload(resume.x) : options.x;
  let history: readonly Vec[] = resume?.history.map(upload) ?? [];
  let turn = performance.now();
  try {
    for (let i = first; i < steps; i++) {
      throwIfAborted(signal, `sample, before step ${i + 1} of ${steps}`);
      const { from } = transitions[i];
      const step = { ...transitions[i], index: i, transitions };
      const done = await solver({ ...step, x, denoise: denoiser, noise, history, signal });
      x = done.x;
      history = done.history ?? [];
      await onStep?.({
        step: i + 1,
        steps,
        timestep: from.timestep,
        sigma: from.sigma,
        preview: () => done.x0.materialise(),
        state: () => snapshot(i + 1, x, history, generators),
      });
      space.endStep([x, ...history]);
      turn = await breathe(turn);
    }
    return x;
  } catch (error) {
    space.endStep([]);
    throw error;
  }
}
