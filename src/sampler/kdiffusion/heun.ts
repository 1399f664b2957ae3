/** Heun's method. Karras et al. 2022, algorithm 2, https://arxiv.org/abs/2206.00364 */
import type { Solver } from '../solver.ts';
import { LinearForm } from '../vec.ts';
import { churned, type ChurnOptions } from './noiseSplit.ts';

/** Euler, corrected by the mean of both slopes; two evaluations, one in a step to sigma 0; order 2. @throws as churned */
export function heun(options: ChurnOptions = {}): Solver {
  const churn = churned(options);
  return async (step) => {
    const { x, at } = churn(step);
    const { to, denoise, signal } = step;
    const { x0, eps } = await denoise(x, at, signal);
    const h = to.sigma - at.sigma;
    const trial = LinearForm.of(x).plus(eps, h).materialise(); // line 8
    if (to.sigma === 0) return { x: trial, x0 };
    const { eps: second } = await denoise(trial, to, signal); // line 10
    const next = LinearForm.of(x)
      .plus(eps, h / 2)
      .plus(second, h / 2); // line 11
    return { x: next.materialise(), x0 };
  };
}
