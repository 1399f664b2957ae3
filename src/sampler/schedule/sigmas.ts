/**
 * Noise levels as sigma, the standard deviation of the noise where the picture is not scaled: sigma = √((1 − ᾱ)/ᾱ).
 * Where a few steps should lie on that axis, and which training timestep a sigma belongs to.
 */
import { InvalidArgumentError } from '../../engine/errors.ts';
import { betaQuantile } from './betaQuantile.ts';
import type { NoiseLevel, NoiseSchedule } from './schedule.ts';

/** ᾱ in place of 0, at pure noise, so that its sigma is a number: 4096. Its neighbours may well be larger. */
const ALMOST_NO_SIGNAL = 2 ** -24;

/** sigma of every training timestep, rising. */
export function trainingSigmas({ alphasCumprod }: NoiseSchedule): Float64Array {
  return alphasCumprod.map((a) => {
    const alphaBar = a || ALMOST_NO_SIGNAL;
    return Math.sqrt((1 - alphaBar) / alphaBar);
  });
}

/** sigma at a training timestep, which may lie between two: linear, as numpy.interp. */
export function sigmaAt(sigmas: Float64Array, timestep: number): number {
  const t = Math.min(Math.max(timestep, 0), sigmas.length - 1);
  const low = Math.min(Math.floor(t), sigmas.length - 2);
  return low < 0 ? sigmas[0] : sigmas[low] + (t - low) * (sigmas[low + 1] - sigmas[low]);
}

/**
 * The training timestep of a sigma, linear in its logarithm and within 0 … N−1. Of several, the last: with
 * zero-terminal SNR the last sigma is a number chosen, and those before it may be larger.
 */
export function timestepOf(sigmas: Float64Array, sigma: number): number {
  let low = sigmas.length - 1;
  while (low > 0 && sigmas[low] > sigma) low--;
  low = Math.max(0, Math.min(low, sigmas.length - 2));
  const [a, b] = [Math.log(sigmas[low]), Math.log(sigmas[low + 1] ?? sigmas[low])];
  const w = a === b ? 0 : (a - Math.log(Math.max(sigma, 1e-10))) / (a - b);
  return low + Math.min(Math.max(w, 0), 1);
}

/** Evenly from 0 to 1; one value is 0. */
function ramp(count: number): number[] {
  return Array.from({ length: count }, (_, i) => (count > 1 ? i / (count - 1) : 0));
}

/** @throws InvalidArgumentError unless count ≥ 1, an integer, 0 < sigmaMin ≤ sigmaMax < ∞, and `shape` > 0 */
function checkGrid(who: string, count: number, sigmaMin: number, sigmaMax: number, shape = 1): void {
  const range = sigmaMin > 0 && sigmaMin <= sigmaMax && sigmaMax < Infinity;
  if (Number.isInteger(count) && count >= 1 && range && shape > 0 && shape < Infinity) return;
  throw new InvalidArgumentError(
    `${who}: expected count ≥ 1, 0 < sigmaMin ≤ sigmaMax < ∞ and a shape above 0, got count ${count}, sigmaMin ` +
      `${sigmaMin}, sigmaMax ${sigmaMax}, shape ${shape}; check the options`,
  );
}

/**
 * Karras et al. 2022, equation 5; dense where there is little noise. Falling; rho > 0, default 7.
 * @throws InvalidArgumentError unless 0 < sigmaMin ≤ sigmaMax, count ≥ 1 and rho > 0
 */
export function karrasSigmas(count: number, sigmaMin: number, sigmaMax: number, rho = 7): number[] {
  checkGrid('karrasSigmas', count, sigmaMin, sigmaMax, rho);
  const [hi, lo] = [sigmaMax ** (1 / rho), sigmaMin ** (1 / rho)];
  return ramp(count).map((u) => (hi + u * (lo - hi)) ** rho);
}

/** Even in log sigma, falling. @throws InvalidArgumentError unless 0 < sigmaMin ≤ sigmaMax and count ≥ 1 */
export function exponentialSigmas(count: number, sigmaMin: number, sigmaMax: number): number[] {
  checkGrid('exponentialSigmas', count, sigmaMin, sigmaMax);
  const [hi, lo] = [Math.log(sigmaMax), Math.log(sigmaMin)];
  return ramp(count).map((u) => Math.exp(hi + u * (lo - hi)));
}

/**
 * Quantiles of a Laplace distribution of log sigma, dense where it is near mu; from sigmaMax down to sigmaMin.
 * Quantiles beyond the range are moved to its ends, so these may repeat. Hang & Gu 2024,
 * https://arxiv.org/abs/2407.03297, table 1, where log SNR = −2·log sigma.
 * @param b scale of the distribution, > 0
 * @throws InvalidArgumentError unless 0 < sigmaMin ≤ sigmaMax, count ≥ 1, b > 0 and mu is finite
 */
export function laplaceSigmas(count: number, sigmaMin: number, sigmaMax: number, mu = 0, b = 0.5): number[] {
  checkGrid('laplaceSigmas', count, sigmaMin, sigmaMax, Number.isFinite(mu) ? b : NaN);
  return ramp(count).map((u) => {
    const tail = Math.log(1 - 2 * Math.abs(0.5 - u) + 1e-5); // 1e-5: the ends of the distribution are infinite
    return Math.min(Math.max(Math.exp(mu - b * Math.sign(0.5 - u) * tail), sigmaMin), sigmaMax);
  });
}

/**
 * Quantiles of a beta distribution, dense at both ends. Lee et al. 2024 (Beta Sampling is All You Need). Falling.
 * @throws InvalidArgumentError unless 0 ≤ sigmaMin ≤ sigmaMax, count ≥ 1, and a, b > 0
 */
export function betaSigmas(count: number, sigmaMin: number, sigmaMax: number, a = 0.6, b = 0.6): number[] {
  checkGrid('betaSigmas', count, sigmaMin === 0 ? sigmaMax : sigmaMin, sigmaMax, Math.min(a, b));
  return ramp(count).map((u) => sigmaMin + betaQuantile(1 - u, a, b) * (sigmaMax - sigmaMin));
}

/** A level of a variance-preserving process by its sigma: alpha = 1/√(1 + sigma²). */
export function vpOfSigma(timestep: number, sigma: number): NoiseLevel {
  const alpha = 1 / Math.sqrt(1 + sigma * sigma);
  return { timestep, alpha, sigma: sigma * alpha };
}

/** A level whose picture is not scaled: x = x₀ + sigma·ε. */
export function veLevel(timestep: number, sigma: number): NoiseLevel {
  return { timestep, alpha: 1, sigma };
}

/** λ = log(alpha/sigma), half the log signal-to-noise ratio; ∞ without noise. Lu et al. 2022, section 3. */
export function logSnr({ alpha, sigma }: NoiseLevel): number {
  return Math.log(alpha / sigma);
}
