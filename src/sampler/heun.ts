/** Heun's method for the probability-flow ODE. Karras et al. 2022, https://arxiv.org/abs/2206.00364 */
import type { Prediction } from './denoiser.ts';
import type { Solver } from './solver.ts';
import { LinearForm } from './vec.ts';

/**
 * One step along a path straight in (alpha, sigma): Euler's, then again with the mean of the slopes at both ends
 * (algorithm 1, lines 4 to 8). Two evaluations, order 2; the step that ends without noise is Euler's.
 */
export function heun(): Solver {
  return async ({ x, from, to, denoise, signal }) => {
    const change = ({ x0, eps }: Prediction): LinearForm =>
      x0.scale(to.alpha - from.alpha).plus(eps, to.sigma - from.sigma);
    const first = await denoise(x, from, signal);
    const { x0 } = first;
    const euler = LinearForm.of(x).plus(change(first)).materialise(); // line 5
    if (to.sigma === 0) return { x: euler, x0 };
    const second = await denoise(euler, to, signal);
    const next = LinearForm.of(x)
      .plus(change(first), 1 / 2)
      .plus(change(second), 1 / 2); // line 8
    return { x: next.materialise(), x0: second.x0 };
  };
}
