/** Heun's method for flow matching with churn, as diffusers has it. */
import { InvalidArgumentError } from '../../engine/errors.ts';
import { heun } from './heun.ts';
import type { ChurnOptions } from './noiseSplit.ts';
import type { Solver } from '../solver.ts';
import { LinearForm } from '../vec.ts';

/**
 * Heun's step, of which the first half may be raised to σ̂ = σ·(1 + γ) by noise: the network is asked at sigma, before
 * the noise, and its velocity v counts as v·σ/σ̂. As in the reference library γ is divided among both halves of all
 * steps, and noise is drawn again for the second half, where it changes nothing.
 *
 * @throws InvalidArgumentError if sChurn < 0
 */
export function flowHeun({ sChurn = 0, sTmin = 0, sTmax = Infinity, sNoise = 1 }: ChurnOptions = {}): Solver {
  if (!(sChurn >= 0 && sChurn < Infinity && sTmin >= 0 && sTmax >= 0 && sNoise >= 0 && sNoise < Infinity))
    throw new InvalidArgumentError(
      `flowHeun: expected sChurn, sTmin, sTmax, sNoise ≥ 0, got ${sChurn}, ${sTmin}, ${sTmax} and ${sNoise}; ` +
        'sChurn 0 turns it off',
    );
  const plain = heun();
  return async (step) => {
    const { x, from, to, denoise, noise, transitions = [], signal } = step;
    const within = from.sigma >= sTmin && from.sigma <= sTmax;
    const gamma = within ? Math.min(sChurn / Math.max(1, 2 * transitions.length - 1), Math.SQRT2 - 1) : 0;
    if (gamma === 0) return plain(step);
    const hat = from.sigma * (1 + gamma);
    const { x0, eps } = await denoise(x, from, signal);
    const raised = LinearForm.of(x).plus(noise(x), Math.sqrt(hat ** 2 - from.sigma ** 2) * sNoise);
    const change = eps.minus(x0).scale((to.sigma - hat) / (1 + gamma)); // v = ε − x₀
    const euler = raised.plus(change).materialise();
    if (to.sigma === 0) return { x: euler, x0 };
    const second = await denoise(euler, to, signal);
    noise(x);
    const slope = second.eps.minus(second.x0).scale((to.sigma - hat) / 2);
    return {
      x: raised
        .plus(change, 1 / 2)
        .plus(slope)
        .materialise(),
      x0: second.x0,
    };
  };
}
