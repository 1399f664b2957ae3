/** What multistep solvers need to know of the steps before: where on the grid a transition stands. */
import { InvalidArgumentError } from '../../engine/errors.ts';
import type { Solver, Transition } from '../solver.ts';
import { checkSigmas, veTransitions } from './sigmas.ts';

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

/** A solver whose run is that grid, wherever it is called from. @throws as {@link gridOf} */
export function onGrid(sigmas: ArrayLike<number>, who: string, solver: Solver): Solver {
  const grid = gridOf(sigmas, who);
  const transitions = veTransitions(sigmas);
  return (step) => solver({ ...step, index: grid(step), transitions });
}

/** λ = −log σ. */
export function lambdaOf(sigma: number): number {
  return -Math.log(sigma);
}
