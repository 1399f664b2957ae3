/** Ancestral sampling with Euler steps: down further than asked, and back up with noise. Crowson, k-diffusion. */
import type { Solver } from './solver.ts';
import { LinearForm } from './vec.ts';

/**
 * How an ancestral step from `from` to `to` (sigmas) divides: to `down` without noise, and `up` of noise on top, with
 * down² + up² = to² and the variance of DDPM's posterior. Song et al. 2021 (DDIM), equation 16 with η = 1.
 */
export function ancestralStep(from: number, to: number): { down: number; up: number } {
  const up = Math.sqrt((to ** 2 * (from ** 2 - to ** 2)) / from ** 2);
  return { down: Math.sqrt(to ** 2 - up ** 2), up };
}

/** One step in the state x = x₀ + sigma·ε; noise is drawn at every step, though the last one has none to add. */
export function eulerAncestral(): Solver {
  return async ({ x, from, to, denoise, noise, signal }) => {
    const { x0, eps } = await denoise(x, from, signal);
    const { down, up } = ancestralStep(from.sigma, to.sigma);
    const next = LinearForm.of(x)
      .plus(eps, down - from.sigma)
      .plus(noise(x), up);
    return { x: next.materialise(), x0 };
  };
}
