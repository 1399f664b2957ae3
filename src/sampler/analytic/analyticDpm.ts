/** Optimal reverse variances in closed form. Bao et al. 2022 (Analytic-DPM), https://arxiv.org/abs/2201.06503 */
import { InvalidArgumentError } from '../../engine/errors.ts';
import { posteriorMean, posteriorVariance } from '../solvers/ddpm.ts';
import type { NoiseLevel } from '../schedule/schedule.ts';
import type { Solver, Transition } from '../solver.ts';
import { LinearForm } from '../vec.ts';

/** Γ at a level: E‖ε(x)‖²/D over data, where ε is what the network says; in [0, 1] but for estimation error. */
export type GammaAt = (level: NoiseLevel) => number;

/** The choices of {@link analyticDpm}. */
export interface AnalyticOptions {
  /** Mean of DDPM, or of DDIM with `eta`; default `ddpm`. */
  mean?: 'ddpm' | 'ddim';
  /** η ≥ 0 of DDIM's mean; default 0. */
  eta?: number;
  /** Below this timestep of `to` the deviation is kept small; default −∞, nowhere. */
  clipBelow?: number;
  /** Mean visible change that clipped noise may make, in 8-bit steps of a picture in −1 … 1, > 0; default 2. */
  clipPixels?: number;
}

/** β̃ = β·(1 − ᾱ_s)/(1 − ᾱ_r) of the step from r to s. Ho et al. 2020, equation 7. */
export function smallVariance(step: Transition): number {
  return posteriorVariance(step);
}

/** (1 − ᾱ)/ᾱ·(1 − Γ) within [0, 1]: the variance of x₀ given x, for data in −1 … 1. Theorems 1 and 2. */
export function pictureVariance({ alpha, sigma }: NoiseLevel, gamma: number): number {
  return Math.min(Math.max((sigma / alpha) ** 2 * (1 - gamma), 0), 1);
}

/** σ*² of a step: λ² and what x₀'s own variance adds. Theorem 1; DDPM's λ² is β̃. */
export function analyticVariance(step: Transition, gamma: number, { mean = 'ddpm', eta = 0 }: AnalyticOptions): number {
  const { from, to } = step;
  const lambda2 = (mean === 'ddpm' ? 1 : eta ** 2) * smallVariance(step);
  const share = to.alpha - Math.sqrt(Math.max(to.sigma ** 2 - lambda2, 0)) * (from.alpha / from.sigma);
  return lambda2 + share ** 2 * pictureVariance(from, gamma);
}

/** The variance at which noise changes a pixel by `pixels` 8-bit steps in the mean. Section 5, appendix F. */
export function pixelVariance(pixels: number): number {
  return (((2 * pixels) / 255) * Math.sqrt(Math.PI / 2)) ** 2;
}

/**
 * One step with the optimal variance. The denoiser has to clip x₀ to −1 … 1 (`clipped`). Draws unless `to` has no
 * noise.
 * @throws InvalidArgumentError if eta < 0 or clipPixels ≤ 0
 */
export function analyticDpm(gammaAt: GammaAt, options: AnalyticOptions = {}): Solver {
  const { mean = 'ddpm', eta = 0, clipBelow = -Infinity, clipPixels = 2 } = options;
  if (!(eta >= 0 && clipPixels > 0))
    throw new InvalidArgumentError(`analyticDpm: expected eta ≥ 0 and clipPixels > 0, got ${eta} and ${clipPixels}`);
  return async ({ x, from, to, denoise, noise, signal }) => {
    const { x0, eps } = await denoise(x, from, signal);
    const step = { from, to };
    const kept2 = Math.max(to.sigma ** 2 - eta ** 2 * smallVariance(step), 0);
    const ddim = LinearForm.of(x0, to.alpha).plus(eps, Math.sqrt(kept2)); // of any λ²
    const centre = mean === 'ddpm' ? posteriorMean(x, x0, step) : ddim;
    if (to.sigma === 0) return { x: centre.materialise(), x0 };
    const variance = analyticVariance(step, gammaAt(from), options);
    const kept = to.timestep < clipBelow ? Math.min(variance, pixelVariance(clipPixels)) : variance;
    return { x: centre.plus(noise(x), Math.sqrt(kept)).materialise(), x0 };
  };
}
