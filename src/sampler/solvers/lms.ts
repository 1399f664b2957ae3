/** Linear multistep (Adams–Bashforth on uneven steps) for the probability-flow ODE. Crowson, k-diffusion. */
import { InvalidArgumentError } from '../../engine/errors.ts';
import type { Solver } from '../solver.ts';
import { LinearForm, type Vec } from '../vec.ts';

/** Nodes and weights of Gauss's rule on [−1, 1], exact to degree 7. */
const GAUSS: readonly (readonly [number, number])[] = [
  [-0.8611363115940526, 0.3478548451374538],
  [-0.33998104358485626, 0.6521451548625461],
  [0.33998104358485626, 0.6521451548625461],
  [0.8611363115940526, 0.3478548451374538],
];

/** ∫ from a to b of Lagrange's polynomial that is 1 at nodes[k] and 0 at the others; exact for up to 8 nodes. */
export function lagrangeIntegral(nodes: readonly number[], k: number, a: number, b: number): number {
  const basis = (tau: number): number =>
    nodes.reduce((p, node, j) => (j === k ? p : (p * (tau - node)) / (nodes[k] - node)), 1);
  return GAUSS.reduce((sum, [u, w]) => sum + w * basis((a + b + u * (b - a)) / 2), 0) * ((b - a) / 2);
}

/** The choice of {@link lms}. */
export interface LmsOptions {
  /** Slopes used, 1 … 6; default 4. The first steps use as many as there are. */
  order?: number;
  /**
   * What stands for the slopes before the start of a run that leaves steps out: a lower order, or slopes of 0, which is
   * what diffusers' image-to-image comes to; default `lower`.
   */
  early?: 'lower' | 'zero';
}

/**
 * One step in the state x = x₀ + sigma·ε: x + Σⱼ cⱼ·εⱼ over the slopes at the last `order` levels, cⱼ the integral over
 * the step of the Lagrange polynomial that is 1 at level j. One evaluation. Hairer, Nørsett & Wanner, Solving ODEs I,
 * section III.5.
 *
 * @throws InvalidArgumentError if the order is not in 1 … 6
 */
export function lms({ order = 4, early = 'lower' }: LmsOptions = {}): Solver {
  if (!Number.isInteger(order) || order < 1 || order > 6)
    throw new InvalidArgumentError(`lms: expected order in 1 … 6, got ${order}; 4 is the default`);
  return async ({ x, from, to, denoise, history, index = 0, transitions = [], signal }) => {
    const { x0, eps } = await denoise(x, from, signal);
    const slopes: Vec[] = [eps.materialise(), ...history].slice(0, order);
    const known = early === 'zero' ? Math.min(order, index + 1) : slopes.length;
    const nodes = Array.from({ length: known }, (_, k) => (k === 0 ? from : transitions[index - k].from).sigma);
    const next = slopes.reduce(
      (sum, d, k) => sum.plus(d, lagrangeIntegral(nodes, k, from.sigma, to.sigma)),
      LinearForm.of(x),
    );
    return { x: next.materialise(), x0, history: slopes.slice(0, order - 1) };
  };
}
