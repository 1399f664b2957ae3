/** Euler's method for the probability-flow ODE. Karras et al. 2022, https://arxiv.org/abs/2206.00364 */
import { churned, type RaiseOptions } from './noiseSplit.ts';
import type { Solver } from '../solver.ts';
import { LinearForm } from '../vec.ts';

export type { ChurnOptions } from './noiseSplit.ts';

/** Churn, and where the network is asked. */
export interface EulerOptions extends RaiseOptions {
  /**
   * Ask the network before noise is added, at sigma and not at σ̂ as in the paper: so does diffusers, and it saves
   * telling the network of a level it may not know. Default true.
   */
  askFirst?: boolean;
}

/**
 * One step x + (alpha′ − alpha)·x₀ + (sigma′ − sigma)·ε along a path straight in (alpha, sigma): alpha = 1 as here, or
 * 1 − sigma as in flow matching. One evaluation; order 1 where nothing is churned.
 *
 * @throws InvalidArgumentError if sChurn < 0, or (on the step) noise is drawn and there is none
 */
export function euler({ askFirst = true, ...options }: EulerOptions = {}): Solver {
  const churn = churned(options);
  return async (step) => {
    const { to, denoise, signal } = step;
    const early = askFirst ? await denoise(step.x, step.from, signal) : undefined;
    const { x, at } = churn(step);
    const { x0, eps } = early ? early.reread(early.out, x, at) : await denoise(x, at, signal);
    const next = LinearForm.of(x)
      .plus(x0, to.alpha - at.alpha)
      .plus(eps, to.sigma - at.sigma); // eq. 4, with dt = sigma′ − sigma; algorithm 2, line 8
    return { x: next.materialise(), x0 };
  };
}
