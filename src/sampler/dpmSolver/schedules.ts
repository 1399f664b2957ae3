/**
 * Variance-preserving schedules in continuous time: log α(t), with α² + σ² = 1, and its inverse through the half
 * log-SNR λ = log(α/σ). Lu et al. 2022 (DPM-Solver), appendix D, https://arxiv.org/abs/2206.00927
 */
import { InvalidArgumentError } from '../../engine/errors.ts';
import type { NoiseLevel, NoiseSchedule } from '../schedule/schedule.ts';
import { linearLogAlpha } from '../sde/sde.ts';

/** A schedule over t in (0, end]. */
export interface ContinuousSchedule {
  /** Largest time. */
  readonly end: number;
  /** Smallest time at which a network was trained, in use as the default end of sampling. */
  readonly first: number;
  /** log α(t). */
  logAlpha(t: number): number;
  /** The time at which log(α/σ) is λ. */
  timeOf(lambda: number): number;
  /** What the network is told at time t. */
  label(t: number): number;
}

/** The level of noise at time t. @throws InvalidArgumentError unless t is in (0, end] */
export function levelAt(schedule: ContinuousSchedule, t: number): NoiseLevel {
  const log = schedule.logAlpha(t);
  if (!(log < 0))
    throw new InvalidArgumentError(`levelAt: expected a time in (0, ${schedule.end}], got ${t}; there is no noise yet`);
  return { timestep: schedule.label(t), alpha: Math.exp(log), sigma: Math.sqrt(-Math.expm1(2 * log)) };
}

export { logSnr as halfLogSnr } from '../schedule/sigmas.ts';

/** log α where log(α/σ) is λ: −½·log(1 + e^(−2λ)), without overflow. */
function logAlphaOf(lambda: number): number {
  return -0.5 * (Math.max(-2 * lambda, 0) + Math.log1p(Math.exp(-Math.abs(2 * lambda))));
}

/** β(t) = β₀ + t·(β₁ − β₀) on (0, 1], equation D.4; defaults 0.1 and 20; the label is t. @throws unless 0 < β₀ < β₁ */
export function linearVp(beta0 = 0.1, beta1 = 20): ContinuousSchedule {
  if (!(beta0 > 0 && beta0 < beta1 && beta1 < Infinity))
    throw new InvalidArgumentError(`linearVp: expected 0 < beta0 < beta1, got ${beta0} and ${beta1}`);
  const rise = beta1 - beta0;
  return {
    end: 1,
    first: 1e-3,
    label: (t) => t,
    logAlpha: (t) => linearLogAlpha(t, beta0, beta1),
    timeOf(lambda) {
      const rest = -4 * rise * logAlphaOf(lambda); // equation D.6
      return rest / (Math.sqrt(beta0 ** 2 + rest) + beta0) / rise;
    },
  };
}

/** Offset of the cosine schedule, and the time before which its network was trained (Nichol & Dhariwal 2021). */
const COSINE = { offset: 0.008, end: 0.9946 };

/** α(t) = cos(π/2·(t + s)/(1 + s)) over its value at 0, s = 0.008, on (0, 0.9946], appendix D; the label is t. */
export function cosineVp(): ContinuousSchedule {
  const { offset, end } = COSINE;
  const log = (t: number): number => Math.log(Math.cos((((t + offset) / (1 + offset)) * Math.PI) / 2));
  const atZero = log(0);
  return {
    end,
    first: 1e-3,
    label: (t) => t,
    logAlpha: (t) => log(t) - atZero,
    timeOf: (lambda) => ((2 * (1 + offset)) / Math.PI) * Math.acos(Math.exp(logAlphaOf(lambda) + atZero)) - offset,
  };
}

/** Half log-SNR below which a discrete schedule is cut off: there it is mostly rounding. */
const SMALLEST_LAMBDA = -5.1;

/**
 * A discrete schedule joined by straight lines in log α, time n/N for step n = 1 … N; the label is (t − 1/N)·1000.
 * Steps whose half log-SNR is below −5.1 are left out, and N counts the rest.
 */
export function discreteVp(schedule: NoiseSchedule): ContinuousSchedule {
  let sum = 0;
  const all = Array.from(schedule.betas, (beta) => (sum += Math.log1p(-beta) / 2));
  const logs = all.filter((log) => log - Math.log(-Math.expm1(2 * log)) / 2 >= SMALLEST_LAMBDA);
  const n = logs.length;
  const times = logs.map((_, i) => (i + 1) / n);
  const [fallingLogs, fallingTimes] = [logs.toReversed(), times.toReversed()];
  return {
    end: 1,
    first: 1 / n,
    label: (t) => (t - 1 / n) * 1000,
    logAlpha: (t) => interpolate(t, times, logs),
    timeOf: (lambda) => interpolate(logAlphaOf(lambda), fallingLogs, fallingTimes),
  };
}

/** Straight lines through (xs, ys), xs rising; the outermost lines go on beyond. */
function interpolate(x: number, xs: readonly number[], ys: readonly number[]): number {
  let [lo, hi] = [0, xs.length - 1];
  while (hi - lo > 1) {
    const middle = (lo + hi) >> 1;
    if (xs[middle] <= x) lo = middle;
    else hi = middle;
  }
  return ys[lo] + ((x - xs[lo]) * (ys[hi] - ys[lo])) / (xs[hi] - xs[lo]);
}
