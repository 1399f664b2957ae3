/** Denoising diffusion implicit models. Song, Meng & Ermon 2021, https://arxiv.org/abs/2010.02502 */
import { InvalidArgumentError } from '../../engine/errors.ts';
import { consistentEps } from '../parameterisation/clip.ts';
import { posteriorVariance } from './ddpm.ts';
import type { Solver } from '../solver.ts';
import { LinearForm } from '../vec.ts';

/** At eta = 1 from pure noise σ² = 1 − ᾱ exactly, and the difference is only rounding. */
const ROUNDING = 1e-12;

/** The choices that DDIM leaves. */
export interface DdimOptions {
  /** η ≥ 0: 0 is deterministic, 1 has DDPM's `fixed_small` variance; default 0. Noise is drawn when η > 0. */
  eta?: number;
  /** Derive ε again from the clipped x₀ (as Glide does); default false. */
  useClippedModelOutput?: boolean;
}

/**
 * One step x_s = √ᾱ_s·x₀ + √(1 − ᾱ_s − σ²)·ε + σ·z; order 1 where η = 0.
 *
 * @throws InvalidArgumentError if eta < 0, or (on the step) if it is so large that σ² > 1 − ᾱ_s
 */
export function ddim({ eta = 0, useClippedModelOutput = false }: DdimOptions = {}): Solver {
  if (!(eta >= 0 && eta < Infinity))
    throw new InvalidArgumentError(`ddim: expected eta ≥ 0, got ${eta}; 0 is deterministic, 1 is as noisy as DDPM`);
  return async ({ x, from, to, denoise, noise, signal }) => {
    const { x0, eps } = await (useClippedModelOutput ? consistentEps(denoise) : denoise)(x, from, signal);
    // Towards noise (inversion) eq. 16 has no meaning, and nothing is drawn.
    const sigma = eta && eta * Math.sqrt(posteriorVariance({ from, to })); // eq. 16
    const direction = to.sigma ** 2 - sigma ** 2;
    if (direction < -ROUNDING)
      throw new InvalidArgumentError(
        `ddim: expected eta with σ² ≤ 1 − ᾱ, got eta ${eta} at timestep ${from.timestep}; lower eta to 1 or below`,
      );
    const mean = LinearForm.of(x0, to.alpha).plus(eps, Math.sqrt(Math.max(direction, 0))); // eq. 12, first two terms
    return { x: (eta > 0 ? mean.plus(noise(x), sigma) : mean).materialise(), x0 }; // eq. 12, last term
  };
}
