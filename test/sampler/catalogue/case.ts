/** What the catalogue of samplers is made of: a short run that a host and a GPU space can make. */
import * as s from '../../../src/sampler/index.ts';
import type { Denoiser, HostValues, Network, RunOptions, Vec, VecSpace } from '../../../src/sampler/index.ts';

/** A space that vectors can be made in. */
export interface MakingSpace extends VecSpace {
  vec(values: ArrayLike<number>, batch?: number): Vec;
}

/** What a run is given beside its space. */
export type RunExtras = Pick<RunOptions, 'generator' | 'resume' | 'onStep' | 'signal'>;

/** One way of sampling. */
export interface SolverCase {
  name: string;
  /** @returns the last state */
  run(space: MakingSpace, network: Network, extras: RunExtras): Promise<Vec>;
  /** Runs until its own error is small: the number of steps may differ between roundings. */
  adaptive?: boolean;
}

/** Items, and steps of most runs. */
export const [BATCH, STEPS] = [2, 6];
/** Elements of all items. */
export const SIZE = 12 * BATCH;

/** Bounded, uneven in x, the place within the item and t, with `halves` times the channels; computed on the host. */
export function toyNetwork(space: MakingSpace, read: (v: Vec) => Promise<HostValues>): (halves?: number) => Network {
  return (halves = 1) =>
    async (x, t) => {
      const values = await read(x);
      const item = x.length / x.batch;
      const out = Float64Array.from({ length: halves * x.length }, (_, i) => {
        const from = values[Math.floor(i / (item * halves)) * item + (i % item)];
        return 0.9 * Math.tanh(0.7 * from + Math.sin(t / 100 + (i % (item * halves)) / item));
      });
      return space.vec(out, x.batch);
    };
}

/** The start of a run. */
export const noise = (space: MakingSpace, scale = 1): Vec =>
  space.vec(
    new s.TorchGenerator(5).randn(SIZE).map((z) => z * scale),
    BATCH,
  );

/** Runs of a solver over given levels. */
export function over(
  name: string,
  make: () => { solver: s.Solver; transitions: readonly s.Transition[] },
  denoise: (network: Network) => Denoiser,
  start = 1,
): SolverCase {
  return {
    name,
    run: (space, network, extras) =>
      s.runSolver({ ...make(), x: noise(space, start), denoiser: denoise(network), ...extras }),
  };
}
