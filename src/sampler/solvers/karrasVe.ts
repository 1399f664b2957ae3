/** Stochastic sampling. Karras et al. 2022, https://arxiv.org/abs/2206.00364, algorithm 2. */
import { heun } from './heun.ts';
import type { RaiseOptions } from './noiseSplit.ts';
import { veLevel } from '../schedule/sigmas.ts';
import type { Solver } from '../solver.ts';

/** Churn, and what the network is told of a sigma: default itself. */
export type KarrasVeOptions = Omit<RaiseOptions, 'drawsAlways'>;

/**
 * One step in the state x = x₀ + sigma·ε: up to σ̂ with noise, which is drawn at every step, and down to `to` by Heun's
 * method. Two evaluations, the last step one.
 *
 * @throws InvalidArgumentError if sChurn < 0
 */
export function karrasVe(options: KarrasVeOptions = {}): Solver {
  return heun({ level: (sigma) => veLevel(sigma, sigma), ...options, drawsAlways: true });
}
