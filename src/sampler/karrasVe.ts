/** Stochastic sampling. Karras et al. 2022, https://arxiv.org/abs/2206.00364, algorithm 2. */
import { churn, type ChurnOptions } from './euler.ts';
import type { NoiseLevel } from './schedule.ts';
import { veLevel } from './sigmas.ts';
import type { Solver } from './solver.ts';
import { LinearForm } from './vec.ts';

/** Churn, and what the network is told of a sigma. */
export interface KarrasVeOptions extends ChurnOptions {
  /** Default: sigma itself. */
  level?: (sigma: number) => NoiseLevel;
}

/**
 * One step in the state x = x₀ + sigma·ε: up to σ̂ with noise, which is drawn at every step, and down to `to` by Heun's
 * method. Two evaluations, the last step one.
 *
 * @throws InvalidArgumentError (on the step) if sChurn < 0
 */
export function karrasVe({ level = (s) => veLevel(s, s), ...options }: KarrasVeOptions = {}): Solver {
  return async ({ x, from, to, denoise, noise, transitions = [], signal }) => {
    const sigma = from.sigma * (1 + churn(options, from.sigma, transitions.length || 1));
    const spread = (options.sNoise ?? 1) * Math.sqrt(sigma ** 2 - from.sigma ** 2);
    const hat = LinearForm.of(x).plus(noise(x), spread).materialise(); // line 6
    const { x0, eps } = await denoise(hat, level(sigma), signal);
    const euler = LinearForm.of(hat)
      .plus(eps, to.sigma - sigma)
      .materialise(); // line 8
    if (to.sigma === 0) return { x: euler, x0 };
    const second = await denoise(euler, to, signal);
    const half = (to.sigma - sigma) / 2;
    return { x: LinearForm.of(hat).plus(eps, half).plus(second.eps, half).materialise(), x0: second.x0 }; // line 11
  };
}
