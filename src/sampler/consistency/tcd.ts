/** Trajectory consistency sampling. Zheng et al. 2024, https://arxiv.org/abs/2402.19159, algorithm 4. */
import { InvalidArgumentError } from '../../engine/errors.ts';
import type { NoiseLevel } from '../schedule/schedule.ts';
import type { Solver } from '../solver.ts';
import { LinearForm } from '../vec.ts';

const { fround } = Math;

/** The choice that the method leaves, and where levels come from. */
export interface TcdOptions {
  /** γ in [0, 1]: 0 is deterministic, 1 goes to x₀ and back up each time; default 0.3. */
  eta?: number;
  /** The level of a training timestep. */
  level: (timestep: number) => NoiseLevel;
}

/**
 * One step down to s = ⌊(1 − γ)·t′⌋ along the trajectory and back up to t′ with noise. Noise is drawn
 * unless γ is 0 or the step is the last.
 *
 * @throws InvalidArgumentError if eta is not in [0, 1]
 */
export function tcd({ eta = 0.3, level }: TcdOptions): Solver {
  if (!(eta >= 0 && eta <= 1)) throw new InvalidArgumentError(`tcd: expected eta in [0, 1], got ${eta}`);
  return async ({ x, from, to, denoise, noise, index = 0, transitions = [], signal }) => {
    const { x0, eps } = await denoise(x, from, signal);
    const s = level(Math.floor(fround(fround(1 - eta) * to.timestep))); // in f32, as the reference library
    const down = LinearForm.of(x0, s.alpha).plus(eps, s.sigma);
    if (eta === 0 || index === transitions.length - 1) return { x: down.materialise(), x0 };
    const ratio = to.alpha / s.alpha;
    return {
      x: down
        .scale(ratio)
        .plus(noise(x), Math.sqrt(1 - ratio ** 2))
        .materialise(),
      x0,
    };
  };
}
