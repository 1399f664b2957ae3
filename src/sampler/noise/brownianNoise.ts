/** Noise of a stochastic solver from one Brownian path, so that the number of steps does not change it. */
import { BrownianTree } from './brownianTree.ts';
import type { NoiseLevel } from '../schedule/schedule.ts';
import type { Solver } from '../solver.ts';
import type { Vec } from '../vec.ts';

/** The path's time at a level of noise, ≥ 0; it may run either way. */
export type BrownianClock = (level: NoiseLevel) => number;

/**
 * alpha²/sigma², the signal-to-noise ratio: the clock of the reverse diffusion. As long as the network sees the same
 * picture, ancestral steps, DPM-Solver++'s SDE steps with η = 1 and DDPM's from the same path meet exactly, however
 * many.
 */
export const snrClock: BrownianClock = ({ alpha, sigma }) => (sigma === 0 ? Infinity : (alpha / sigma) ** 2);

/** sigma/alpha, the clock of k-diffusion's BrownianTreeNoiseSampler. */
export const sigmaClock: BrownianClock = ({ alpha, sigma }) => (alpha === 0 ? Infinity : sigma / alpha);

/** Whose path. */
export interface BrownianOptions {
  /** Of the whole batch, or one per item. */
  seed: number | bigint | readonly (number | bigint)[];
  /** Default {@link snrClock}. */
  clock?: BrownianClock;
}

/**
 * `solver` with its draws taken from one path: in a step between two levels the path's increment between them,
 * normalised, or, where the solver names the level that a draw leads to, between the step's start and that. A method
 * that draws again without naming one gets the increment of a second path, and so on. No generator is needed, and
 * nothing goes into the state of a run: the same seed resumes in the same bits.
 * @throws InvalidArgumentError (on the step) unless the seeds divide x and are as {@link TorchGenerator}'s
 */
export function brownianNoise(solver: Solver, { seed, clock = snrClock }: BrownianOptions): Solver {
  let trees: BrownianTree[] = [];
  return (step) => {
    let draws = 0;
    const noise = (like: Vec, to?: NoiseLevel): Vec => {
      const path = to ? 0 : draws++;
      if (trees.length > 0 && trees[0].length !== like.length) trees = [];
      for (let i = trees.length; i <= path; i++) trees.push(new BrownianTree(like.length, seed, i));
      return like.space.upload(trees[path].normal(clock(step.from), clock(to ?? step.to)), like);
    };
    return solver({ ...step, noise });
  };
}
