/** Euler's method for the probability-flow ODE. Karras et al. 2022, https://arxiv.org/abs/2206.00364 */
import { InvalidArgumentError } from '../engine/errors.ts';
import type { Solver } from './solver.ts';
import { LinearForm } from './vec.ts';

/** Noise put back before a step, as algorithm 2 of the paper names it. */
export interface ChurnOptions {
  /** S_churn ≥ 0: noise added over the whole run, in units of sigma; default 0. Noise is drawn where it is above 0. */
  sChurn?: number;
  /** No noise is added where sigma is below this; default 0. */
  sTmin?: number;
  /** No noise is added where sigma is above this; default ∞. */
  sTmax?: number;
  /** S_noise: standard deviation of the noise added; default 1. */
  sNoise?: number;
}

/** γ of a step: how much sigma grows before it. Karras et al. 2022, algorithm 2, line 5. */
export function churn({ sChurn = 0, sTmin = 0, sTmax = Infinity }: ChurnOptions, sigma: number, steps: number): number {
  if (!(sChurn >= 0 && sChurn < Infinity))
    throw new InvalidArgumentError(`sample: expected sChurn ≥ 0, got ${sChurn}; 0 adds no noise`);
  return sigma >= sTmin && sigma <= sTmax ? Math.min(sChurn / steps, Math.SQRT2 - 1) : 0;
}

/**
 * One step x + (alpha′ − alpha)·x₀ + (sigma′ − sigma)·ε along a path straight in (alpha, sigma): alpha = 1 as here, or
 * 1 − sigma as in flow matching. Order 1 where nothing is churned.
 *
 * With churn the network is asked before the noise is added, at sigma and not at σ̂ as in the paper: so does the
 * reference library, and it saves telling the network of a level it may not know.
 *
 * @throws InvalidArgumentError (on the step) if sChurn < 0, or noise is drawn and there is none
 */
export function euler(options: ChurnOptions = {}): Solver {
  return async ({ x, from, to, denoise, noise, transitions = [], signal }) => {
    const seen = await denoise(x, from, signal);
    const gamma = churn(options, from.sigma, transitions.length || 1);
    if (gamma === 0)
      return {
        x: LinearForm.of(x)
          .plus(seen.x0, to.alpha - from.alpha)
          .plus(seen.eps, to.sigma - from.sigma) // eq. 4, with dt = sigma′ − sigma
          .materialise(),
        x0: seen.x0,
      };
    const hat = { ...from, sigma: from.sigma * (1 + gamma) };
    const spread = (options.sNoise ?? 1) * Math.sqrt(hat.sigma ** 2 - from.sigma ** 2);
    const xHat = LinearForm.of(x).plus(noise(x), spread).materialise(); // algorithm 2, line 6
    const { x0, eps } = seen.reread(seen.out, xHat, hat);
    return {
      x: LinearForm.of(xHat)
        .plus(eps, to.sigma - hat.sigma)
        .materialise(),
      x0,
    }; // line 8
  };
}
