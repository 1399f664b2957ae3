/** Ancestral sampling with Euler steps: down further than asked, and back up with noise. Crowson, k-diffusion. */
import { euler } from './euler.ts';
import { ancestral, checkAncestral, type AncestralOptions } from './noiseSplit.ts';
import type { Solver } from '../solver.ts';

/** Noise, and when it is drawn. */
export interface EulerAncestralOptions extends AncestralOptions {
  /** Draw at the step to sigma 0 too, which has none to add; default true, as in diffusers. */
  drawsAtEnd?: boolean;
}

/** One step in the state x = x₀ + sigma·ε; one evaluation. @throws InvalidArgumentError on eta < 0 */
export function eulerAncestral({ drawsAtEnd = true, ...options }: EulerAncestralOptions = {}): Solver {
  const chosen = checkAncestral('eulerAncestral', options);
  return ancestral(euler(), { ...chosen, draws: drawsAtEnd ? 'always' : 'noisy' });
}
