/** Shorter chains from a trained one. Nichol & Dhariwal 2021, section 4, https://arxiv.org/abs/2102.09672 */
import { InvalidArgumentError } from '../../engine/errors.ts';
import { NoiseSchedule } from '../schedule/schedule.ts';
import { roundHalfEven } from '../schedule/timesteps.ts';

/**
 * Timesteps kept of 0 … n − 1, rising: so many from each of equal sections (`[10, 15]` or `"10,15"`), or `"ddim50"`:
 * every k-th from 0 with the k that gives exactly 50.
 * @throws InvalidArgumentError if a section is asked for more than it holds, or no stride fits
 */
export function respacedTimesteps(n: number, sections: string | readonly number[]): number[] {
  if (typeof sections === 'string' && sections.startsWith('ddim')) {
    const count = Number(sections.slice('ddim'.length));
    for (let k = 1; k < n; k++) if (Math.ceil(n / k) === count) return Array.from({ length: count }, (_, i) => i * k);
    throw new InvalidArgumentError(`respacedTimesteps: expected a count some stride gives, got ${sections} of ${n}`);
  }
  const counts = typeof sections === 'string' ? sections.split(',').map(Number) : sections;
  const [size, extra] = [Math.floor(n / counts.length), n % counts.length];
  let start = 0;
  return counts.flatMap((count, i) => {
    const length = size + (i < extra ? 1 : 0);
    if (!Number.isInteger(count) || count < 1 || count > length)
      throw new InvalidArgumentError(
        `respacedTimesteps: expected 1 … ${length} of a section, got ${count}; take fewer`,
      );
    const stride = count > 1 ? (length - 1) / (count - 1) : 1;
    const first = start;
    start += length;
    let at = 0; // summed, as the original sums: it decides how halves round
    return Array.from({ length: count }, () => {
      const step = first + roundHalfEven(at);
      at += stride;
      return step;
    });
  });
}

/** The chain over the kept timesteps: β = 1 − ᾱ/ᾱ_before, so that ᾱ stays. Section 4. */
export function respacedSchedule(schedule: NoiseSchedule, timesteps: readonly number[]): NoiseSchedule {
  const kept = timesteps.map((t) => schedule.at(t).alpha ** 2);
  const betas = kept.map((alphaBar, i) => 1 - alphaBar / (kept[i - 1] ?? 1));
  return new NoiseSchedule({ trainedBetas: betas, precision: 'f64' });
}

/** q(x_(t−1) | x_t, x₀) for each t. Ho et al. 2020, equations 6 and 7. */
export interface PosteriorTables {
  variance: Float64Array;
  /** The first entry, log 0, is replaced by the second. */
  logVarianceClipped: Float64Array;
  /** Factor of x₀ in the mean. */
  meanX0: Float64Array;
  /** Factor of x_t in the mean. */
  meanXt: Float64Array;
}

/** All of them. */
export function posteriorTables({ betas, alphasCumprod }: NoiseSchedule): PosteriorTables {
  const before = alphasCumprod.map((_, t) => alphasCumprod[t - 1] ?? 1);
  const variance = betas.map((beta, t) => (beta * (1 - before[t])) / (1 - alphasCumprod[t]));
  return {
    variance,
    logVarianceClipped: variance.map((v, t) => Math.log(t === 0 ? (variance[1] ?? v) : v)),
    meanX0: betas.map((beta, t) => (beta * Math.sqrt(before[t])) / (1 - alphasCumprod[t])),
    meanXt: betas.map((beta, t) => ((1 - before[t]) * Math.sqrt(1 - beta)) / (1 - alphasCumprod[t])),
  };
}
