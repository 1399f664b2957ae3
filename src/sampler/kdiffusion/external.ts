/** Variance-preserving denoisers for solvers whose states are x₀ + sigma·ε, and the times they were trained at. */
import { InvalidArgumentError } from '../../engine/errors.ts';
import type { Denoiser } from '../parameterisation/denoiser.ts';
import type { NoiseSchedule } from '../schedule/schedule.ts';
import { LinearForm } from '../vec.ts';

/**
 * A denoiser of alpha·x₀ + sigma'·ε, alpha² + sigma'² = 1, asked at x₀ + sigma·ε: it is given x/√(1 + sigma²), and the
 * time that `timeOf` knows for sigma; what it says of x₀ and ε holds as it stands.
 */
export function fromVariancePreserving(denoiser: Denoiser, timeOf: (sigma: number) => number): Denoiser {
  return (x, { sigma }, signal) => {
    const alpha = 1 / Math.sqrt(1 + sigma ** 2);
    const scaled = LinearForm.of(x, alpha).materialise();
    return denoiser(scaled, { timestep: timeOf(sigma), alpha, sigma: sigma * alpha }, signal);
  };
}

/** t in [0, 1) of sigma = tan(π·t/2), by which v-diffusion models are conditioned. Salimans & Ho 2022, appendix D. */
export function cosineTime(sigma: number): number {
  return (2 / Math.PI) * Math.atan(sigma);
}

/** Training timesteps and sigma = √((1 − ᾱ)/ᾱ) of a discrete schedule, joined by straight lines in log sigma. */
export class DiscreteSigmas {
  private readonly logs: Float64Array;

  /** @param schedule with ᾱ in (0, 1), falling @throws InvalidArgumentError if a sigma is 0 or infinite */
  constructor(schedule: NoiseSchedule) {
    this.logs = schedule.alphasCumprod.map((alphaBar) => Math.log((1 - alphaBar) / alphaBar) / 2);
    if (!this.logs.every(Number.isFinite) || this.logs.length < 2)
      throw new InvalidArgumentError(
        'DiscreteSigmas: expected two or more ᾱ in (0, 1), got a schedule that ends in pure noise or has none; ' +
          'leave out rescale_betas_zero_snr',
      );
  }

  /** The timestep of a sigma, kept within the schedule; to the nearest integer in log sigma with `quantize`. */
  timeOf(sigma: number, quantize = false): number {
    const { logs } = this;
    const log = Math.log(sigma);
    if (quantize) return logs.reduce((best, l, i) => (Math.abs(log - l) < Math.abs(log - logs[best]) ? i : best), 0);
    let low = 0;
    while (low < logs.length - 2 && logs[low + 1] <= log) low++;
    const w = (log - logs[low]) / (logs[low + 1] - logs[low]);
    return low + Math.min(Math.max(w, 0), 1);
  }

  /** The sigma of a timestep, fractions allowed. @throws InvalidArgumentError outside the schedule */
  sigmaOf(t: number): number {
    const { logs } = this;
    if (!(t >= 0 && t <= logs.length - 1))
      throw new InvalidArgumentError(`DiscreteSigmas: expected a timestep in 0 … ${logs.length - 1}, got ${t}`);
    const [low, high] = [Math.floor(t), Math.ceil(t)];
    return Math.exp(logs[low] + (t - low) * (logs[high] - logs[low]));
  }

  /** n sigmas of timesteps evenly from the last to 0, then 0. @throws InvalidArgumentError if n < 2 */
  sigmas(n: number): Float64Array {
    if (!Number.isInteger(n) || n < 2)
      throw new InvalidArgumentError(`DiscreteSigmas: expected 2 or more sigmas, got ${n}`);
    const last = this.logs.length - 1;
    return Float64Array.from({ length: n + 1 }, (_, i) => (i < n ? this.sigmaOf(last * (1 - i / (n - 1))) : 0));
  }
}
