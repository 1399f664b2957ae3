/**
 * Noise schedules of discrete-time diffusion: β_t per training timestep and ᾱ_t = Π (1 − β_s), with
 * x_t = √ᾱ_t·x₀ + √(1 − ᾱ_t)·ε (Ho et al. 2020, equation 4).
 *
 * Published checkpoints were trained on tables held in f32, and 1 − 0.999 in f32 is off by 5·10⁻⁵: near pure noise that
 * is visible in x₀. So the tables are rounded where PyTorch rounds them (`precision: 'f32'`); coefficients derived
 * from them are f64. `precision: 'f64'` gives the exact tables of the numpy code bases and of theory.
 */
import { ConfigError, InvalidArgumentError } from '../../engine/errors.ts';

/** Named schedules, by the names of diffusers. */
export const BETA_SCHEDULES = ['linear', 'scaled_linear', 'squaredcos_cap_v2', 'sigmoid', 'exp', 'laplace'] as const;
/** One of {@link BETA_SCHEDULES}. */
export type BetaSchedule = (typeof BETA_SCHEDULES)[number];

/** What a schedule is made of; the defaults are those of Ho et al. 2020. */
export interface ScheduleOptions {
  /** Training timesteps N, ≥ 1; default 1000. */
  numTrainTimesteps?: number;
  /** Default 0.0001. */
  betaStart?: number;
  /** Default 0.02. */
  betaEnd?: number;
  /** Default `linear`. */
  betaSchedule?: BetaSchedule;
  /** β_t itself, in place of a named schedule; its length replaces N. */
  trainedBetas?: ArrayLike<number> | null;
  /** Shift and scale √ᾱ so that the last timestep is pure noise (Lin et al. 2023, algorithm 1). */
  rescaleBetasZeroSnr?: boolean;
  /** Rounding of the tables, see the head of this file; default `f32`. */
  precision?: 'f32' | 'f64';
}

type Round = (x: number) => number;

/** Values that PyTorch's CPU linspace computes side by side, and how many of its tail go one by one (AVX2 build). */
const LANES = 8;
const BLOCK = 16;

/**
 * PyTorch's linspace to the last bit: counted from the nearer end; within a group of {@link LANES} the first value is
 * one fused multiply-add and the others add multiples of the step to it. A bit of β is 4·10⁻⁵ of ᾱ after a zero-SNR
 * rescale, so it counts.
 */
function linspace(start: number, end: number, count: number, round: Round): Float64Array {
  const [a, b] = [round(start), round(end)];
  const step = count > 1 ? round(round(b - a) / (count - 1)) : 0;
  const tail = count - (count % BLOCK);
  return Float64Array.from({ length: count }, (_, i) => {
    const lane = i < tail ? i % LANES : 0;
    const first = i - lane;
    const base = round(first < Math.floor(count / 2) ? a + step * first : b - step * (count - first - 1));
    return round(base + round(step * lane));
  });
}

/** ᾱ(t) of the cosine schedule, unnormalised. Nichol & Dhariwal 2021, equation 17, s = 0.008. */
function cosineAlphaBar(t: number): number {
  return Math.cos((((t + 0.008) / 1.008) * Math.PI) / 2) ** 2;
}

/**
 * ᾱ(t) of the Laplace schedule, log SNR = μ − b·sgn(½ − t)·log(1 − 2·|½ − t|) with μ = 0, b = ½: Hang & Gu 2024,
 * https://arxiv.org/abs/2407.03297, table 1. As in the reference library, which keeps the logarithm finite by 1e-6 and
 * takes the root of SNR/(1 + SNR) where the paper's ᾱ is without it.
 */
function laplaceAlphaBar(t: number): number {
  const logSnr = -0.5 * (t > 0.5 ? -1 : 1) * Math.log(1 - 2 * Math.abs(0.5 - t) + 1e-6);
  const snr = Math.exp(logSnr);
  return Math.sqrt(snr / (1 + snr));
}

/** β between neighbours of N + 1 values of ᾱ, capped at 0.999 against the singularity at t = 1. */
function betasOf(alphaBar: (t: number) => number, n: number, round: Round): Float64Array {
  return Float64Array.from({ length: n }, (_, i) =>
    round(Math.min(1 - alphaBar((i + 1) / n) / alphaBar(i / n), 0.999)),
  );
}

function namedBetas(name: BetaSchedule, n: number, lo: number, hi: number, round: Round): Float64Array {
  switch (name) {
    case 'linear': // Ho et al. 2020, section 4
      return linspace(lo, hi, n, round);
    case 'scaled_linear': // linear in √β: Rombach et al. 2022, appendix E
      return linspace(Math.sqrt(lo), Math.sqrt(hi), n, round).map((b) => round(b * b));
    case 'squaredcos_cap_v2':
      return betasOf(cosineAlphaBar, n, round);
    case 'exp': // the reference library's, ᾱ = e^(−12t)
      return betasOf((t) => Math.exp(-12 * t), n, round);
    case 'laplace':
      return betasOf(laplaceAlphaBar, n, round);
    case 'sigmoid': // Xu et al. 2022 (GeoDiff)
      return linspace(-6, 6, n, round).map((u) =>
        round(round(round(1 / (1 + Math.exp(-u))) * round(hi - lo)) + round(lo)),
      );
    default:
      throw new ConfigError(
        `schedule: expected beta_schedule to be one of ${BETA_SCHEDULES.join(', ')}, got ${String(name)}`,
        'beta_schedule',
      );
  }
}

/** Running product; the accumulator stays f64, as PyTorch's does, and each entry is rounded. */
function cumprod(alphas: Float64Array, round: Round): Float64Array {
  let product = 1;
  return alphas.map((a) => round((product *= a)));
}

/** β with √ᾱ moved to 0 at the last timestep and kept at the first. Lin et al. 2023, algorithm 1. */
function rescaleZeroTerminalSnr(betas: Float64Array, round: Round): Float64Array {
  const root = cumprod(oneMinus(betas, round), round).map((a) => round(Math.sqrt(a)));
  const [first, last] = [root[0], root[root.length - 1]];
  const scale = round(first / round(first - last));
  const alphaBar = root.map((r) => round(round(round(r - last) * scale) ** 2));
  return alphaBar.map((a, i) => round(1 - (i === 0 ? a : round(a / alphaBar[i - 1]))));
}

function oneMinus(values: Float64Array, round: Round): Float64Array {
  return values.map((v) => round(1 - v));
}

/** β_t and ᾱ_t for t = 0 … N−1. */
export class NoiseSchedule {
  /** β_t, after rescaling. */
  readonly betas: Float64Array;
  /** ᾱ_t. */
  readonly alphasCumprod: Float64Array;

  /**
   * @throws InvalidArgumentError if N < 1 or a β is not in [0, 1]
   * @throws ConfigError if the schedule's name is unknown
   */
  constructor(options: ScheduleOptions = {}) {
    const { betaStart = 0.0001, betaEnd = 0.02, betaSchedule = 'linear', trainedBetas, precision = 'f32' } = options;
    const round: Round = precision === 'f32' ? Math.fround : (x) => x;
    const n = trainedBetas?.length ?? options.numTrainTimesteps ?? 1000;
    if (!Number.isInteger(n) || n < 1)
      throw new InvalidArgumentError(`schedule: expected num_train_timesteps ≥ 1, an integer, got ${n}`);
    const betas = trainedBetas
      ? Float64Array.from(trainedBetas, round)
      : namedBetas(betaSchedule, n, betaStart, betaEnd, round);
    const bad = betas.findIndex((b) => !(b >= 0 && b <= 1));
    if (bad >= 0)
      throw new InvalidArgumentError(
        `schedule: expected every beta in [0, 1], got ${betas[bad]} at timestep ${bad}; ` +
          'check beta_start, beta_end or trained_betas',
      );
    this.betas = options.rescaleBetasZeroSnr ? rescaleZeroTerminalSnr(betas, round) : betas;
    this.alphasCumprod = cumprod(oneMinus(this.betas, round), round);
  }

  /** N. */
  get length(): number {
    return this.betas.length;
  }

  /** The level of noise at training timestep t in 0 … N−1. @throws InvalidArgumentError outside it. */
  at(timestep: number): NoiseLevel {
    const alphaBar = this.alphasCumprod[timestep];
    if (alphaBar === undefined)
      throw new InvalidArgumentError(
        `schedule: expected a timestep in 0 … ${this.length - 1}, got ${timestep}; check steps and steps_offset`,
      );
    return vpLevel(timestep, alphaBar);
  }
}

/** One level of noise: x = alpha·x₀ + sigma·ε. */
export interface NoiseLevel {
  /** What the network is told; −1 at the end of a discrete chain, where no network looks. */
  readonly timestep: number;
  /** Scale of the picture in x, ≥ 0. */
  readonly alpha: number;
  /** Standard deviation of the noise in x, ≥ 0; alpha and sigma are not both 0. */
  readonly sigma: number;
}

/** The level of a variance-preserving process: alpha = √ᾱ, sigma = √(1 − ᾱ). */
export function vpLevel(timestep: number, alphaBar: number): NoiseLevel {
  return { timestep, alpha: Math.sqrt(alphaBar), sigma: Math.sqrt(1 - alphaBar) };
}
