/** Linear multistep (Adams–Bashforth) on a grid of any spacing. */
import { InvalidArgumentError } from '../../engine/errors.ts';
import type { Solver } from '../solver.ts';
import { LinearForm, type Vec } from '../vec.ts';
import { gridOf } from './grid.ts';

/** Nodes and weights of Gauss–Legendre's rule with three points on [−1, 1]: exact up to degree 5. */
const GAUSS = [
  [-Math.sqrt(3 / 5), 5 / 9],
  [0, 8 / 9],
  [Math.sqrt(3 / 5), 5 / 9],
] as const;

/** The choice of {@link lms}. */
export interface LmsOptions {
  /** Slopes used, 1 … 6; default 4. The first steps use as many as there are. */
  order?: number;
}

/**
 * x + Σⱼ cⱼ·ε of the last `order` steps, where cⱼ is the integral over the step of the Lagrange polynomial that is 1 at
 * step i − j; one evaluation per step. Hairer, Nørsett & Wanner, Solving ODEs I, section III.5.
 * @throws InvalidArgumentError if the order is not in 1 … 6, or the sigmas do not fall
 */
export function lms(sigmas: ArrayLike<number>, { order = 4 }: LmsOptions = {}): Solver {
  const grid = gridOf(sigmas, 'lms');
  if (!Number.isInteger(order) || order < 1 || order > 6)
    throw new InvalidArgumentError(`lms: expected order in 1 … 6, got ${order}; 4 is the default`);
  return async ({ x, from, to, denoise, history, signal }) => {
    const i = grid({ from, to });
    const { x0, eps } = await denoise(x, from, signal);
    const slopes: Vec[] = [eps.materialise(), ...history].slice(0, order);
    const nodes = slopes.map((_, j) => sigmas[i - j]);
    const next = slopes.reduce((sum, slope, j) => sum.plus(slope, weight(nodes, j, to.sigma)), LinearForm.of(x));
    return { x: next.materialise(), x0, history: slopes.slice(0, order - 1) };
  };
}

/** ∫ from nodes[0] to `end` of Π over k ≠ j of (τ − nodeₖ)/(nodeⱼ − nodeₖ). */
function weight(nodes: readonly number[], j: number, end: number): number {
  const [middle, half] = [(nodes[0] + end) / 2, (end - nodes[0]) / 2];
  const lagrange = (tau: number): number =>
    nodes.reduce((product, node, k) => (k === j ? product : (product * (tau - node)) / (nodes[j] - node)), 1);
  return GAUSS.reduce((sum, [node, w]) => sum + half * w * lagrange(middle + half * node), 0);
}
