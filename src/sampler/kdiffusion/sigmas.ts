/**
 * Grids of noise levels for variance-exploding solvers: sigma from large to small with a final 0. The named ones are
 * those of Karras et al. 2022 (https://arxiv.org/abs/2206.00364) and of the k-diffusion code base.
 */
import { InvalidArgumentError } from '../../engine/errors.ts';
import type { NoiseLevel } from '../schedule/schedule.ts';
import { karrasSigmas as shaped, veLevel as levelOf } from '../schedule/sigmas.ts';
import { pairs, type Transition } from '../solver.ts';

/** What the geometric grids span. */
export interface SigmaRange {
  /** Smallest sigma before the final 0, > 0. */
  sigmaMin: number;
  /** Largest sigma, > sigmaMin. */
  sigmaMax: number;
  /** Exponent, > 0; default 7 for {@link karrasSigmas}, 1 for {@link polyexponentialSigmas}. */
  rho?: number;
}

/** The level x = x₀ + sigma·ε; the timestep is sigma itself. */
export function veLevel(sigma: number): NoiseLevel {
  return levelOf(sigma, sigma);
}

/** One transition between each two neighbours. @throws InvalidArgumentError unless sigmas fall strictly and end ≥ 0. */
export function veTransitions(sigmas: ArrayLike<number>): Transition[] {
  checkSigmas(sigmas, 'veTransitions');
  return pairs(Array.from(sigmas, veLevel));
}

/** @throws InvalidArgumentError unless there are two or more sigmas, finite, strictly falling, none below 0. */
export function checkSigmas(sigmas: ArrayLike<number>, who: string): void {
  const bad = Array.from(sigmas).findIndex((s, i) => !(s >= 0 && s < Infinity) || (i > 0 && !(s < sigmas[i - 1])));
  if (sigmas.length < 2 || bad >= 0)
    throw new InvalidArgumentError(
      `${who}: expected two or more finite sigmas ≥ 0, each smaller than the one before, ` +
        (bad < 0 ? `got ${sigmas.length}` : `got ${sigmas[bad]} at index ${bad}`) +
        '; sort them from noise to picture',
    );
}

/** (σmax^(1/ρ) + u·(σmin^(1/ρ) − σmax^(1/ρ)))^ρ for n values of u in [0, 1], then 0. Karras et al. 2022, equation 5. */
export function karrasSigmas(n: number, { sigmaMin, sigmaMax, rho = 7 }: SigmaRange): Float64Array {
  checkRange('karrasSigmas', n, { sigmaMin, sigmaMax, rho });
  return Float64Array.from([...shaped(n, sigmaMin, sigmaMax, rho), 0]);
}

/** n sigmas uniform in log σ, then 0. */
export function exponentialSigmas(n: number, range: Omit<SigmaRange, 'rho'>): Float64Array {
  return polyexponentialSigmas(n, { ...range, rho: 1 });
}

/** exp(log σmin + (1 − u)^ρ·(log σmax − log σmin)) for n values of u in [0, 1], then 0. */
export function polyexponentialSigmas(n: number, { sigmaMin, sigmaMax, rho = 1 }: SigmaRange): Float64Array {
  checkRange('polyexponentialSigmas', n, { sigmaMin, sigmaMax, rho });
  const [lo, hi] = [Math.log(sigmaMin), Math.log(sigmaMax)];
  return withZero(n, (u) => Math.exp(lo + (1 - u) ** rho * (hi - lo)));
}

/** The continuous variance-preserving schedule, seen from x₀ + sigma·ε. */
export interface VpRange {
  /** Rise of β over t in [0, 1], > 0; default 19.9. */
  betaD?: number;
  /** β at t = 0, > 0; default 0.1. */
  betaMin?: number;
  /** Smallest t, in (0, 1); default 0.001. */
  epsS?: number;
}

/** √(exp(β_d·t²/2 + β_min·t) − 1) for n values of t in 1 … ε, then 0. Karras et al. 2022, table 1, column VP. */
export function vpSigmas(n: number, { betaD = 19.9, betaMin = 0.1, epsS = 1e-3 }: VpRange = {}): Float64Array {
  checkRange('vpSigmas', n, { sigmaMin: epsS, sigmaMax: 1, rho: betaD * betaMin });
  return withZero(n, (u) => {
    const t = 1 + u * (epsS - 1);
    return Math.sqrt(Math.expm1((betaD * t ** 2) / 2 + betaMin * t));
  });
}

function withZero(n: number, at: (u: number) => number): Float64Array {
  const sigmas = new Float64Array(n + 1);
  for (let i = 0; i < n; i++) sigmas[i] = at(n > 1 ? i / (n - 1) : 0);
  return sigmas;
}

function checkRange(who: string, n: number, { sigmaMin, sigmaMax, rho = 1 }: SigmaRange): void {
  if (Number.isInteger(n) && n >= 1 && sigmaMin > 0 && sigmaMax > sigmaMin && sigmaMax < Infinity && rho > 0) return;
  throw new InvalidArgumentError(
    `${who}: expected n ≥ 1, 0 < smallest < largest < ∞ and positive exponents, ` +
      `got n ${n}, range ${sigmaMin} … ${sigmaMax}; check the options`,
  );
}
