/** Heun's method for the probability-flow ODE. Karras et al. 2022, https://arxiv.org/abs/2206.00364 */
import type { Prediction } from '../parameterisation/denoiser.ts';
import { churned, type RaiseOptions } from './noiseSplit.ts';
import type { Solver } from '../solver.ts';
import { LinearForm } from '../vec.ts';

/**
 * One step along a path straight in (alpha, sigma), after churn: Euler's, then again with the mean of the slopes at
 * both ends (algorithm 1, lines 4 to 8; algorithm 2). Two evaluations, order 2; the step that ends without noise is
 * Euler's.
 *
 * @throws InvalidArgumentError if sChurn < 0
 */
export function heun(options: RaiseOptions = {}): Solver {
  const churn = churned(options);
  return async (step) => {
    const { to, denoise, signal } = step;
    const { x, at } = churn(step);
    const change = ({ x0, eps }: Prediction): LinearForm =>
      x0.scale(to.alpha - at.alpha).plus(eps, to.sigma - at.sigma);
    const first = await denoise(x, at, signal);
    const euler = LinearForm.of(x).plus(change(first)).materialise(); // line 5; 8 of algorithm 2
    if (to.sigma === 0) return { x: euler, x0: first.x0 };
    const second = await denoise(euler, to, signal);
    const next = LinearForm.of(x)
      .plus(change(first), 1 / 2)
      .plus(change(second), 1 / 2); // line 8; 11 of algorithm 2
    return { x: next.materialise(), x0: second.x0 };
  };
}
