/** What multistep solvers need to know of the steps before: where on the grid a transition stands. */
import { InvalidArgumentError } from '../../engine/errors.ts';
import type { Transition } from '../solver.ts';
import { checkSigmas } from './sigmas.ts';

/** Index of the transition's start on the grid. @throws InvalidArgumentError if the transition is not one of it. */
export type Grid = ({ from, to }: Transition) => number;

/** A grid of sigmas. @throws InvalidArgumentError unless they fall strictly to ≥ 0 */
export function gridOf(sigmas: ArrayLike<number>, who: string): Grid {
  checkSigmas(sigmas, who);
  const index = new Map(Array.from(sigmas, (sigma, i) => [sigma, i]));
  return ({ from, to }) => {
    const i = index.get(from.sigma);
    if (i !== undefined && sigmas[i + 1] === to.sigma) return i;
    throw new InvalidArgumentError(
      `${who}: expected a step of the grid it was made for, got ${from.sigma} → ${to.sigma}; pass the run's sigmas`,
    );
  };
}

/** λ = −log σ. */
export function lambdaOf(sigma: number): number {
  return -Math.log(sigma);
}
