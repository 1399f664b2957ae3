/**
 * The exponential integrators that DPM-Solver, DPM-Solver++, DEIS and UniPC share: x over λ = log(alpha/sigma),
 * with the network's output (ε or x₀) as a polynomial through the levels looked at. Lu et al. 2022, section 3.2;
 * below, 2022a is DPM-Solver and 2022b DPM-Solver++.
 */
import { ConfigError } from '../../engine/errors.ts';
import type { NoiseLevel } from '../schedule/schedule.ts';
import { logSnr } from '../schedule/sigmas.ts';
import { LinearForm, type Vec } from '../vec.ts';

/** Which quantity is integrated (ε, or with ++ x₀), and whether noise is added. */
export const DPM_ALGORITHMS = ['dpmsolver', 'dpmsolver++', 'sde-dpmsolver', 'sde-dpmsolver++'] as const;
/** One of {@link DPM_ALGORITHMS}. */
export type DpmAlgorithm = (typeof DPM_ALGORITHMS)[number];

/** Coefficients that all orders of an algorithm share: x′ = carry·x − weight·(φ-terms at `step`) + spread·z. */
export interface DpmCoefficients {
  /** Of x. */
  carry: number;
  /** s, the argument of the φ functions: h, −h, or −2h. */
  step: number;
  /** Of the φ-terms. */
  weight: number;
  /** Of the noise, 0 where there is none. */
  spread: number;
  /** λ′ − λ > 0. */
  h: number;
}

/**
 * {@link DpmCoefficients} from one level to another. With ++, `eta` adds noise: the flow runs (1 + η)·h and noise
 * refills 1 − e^(−2ηh), of which SDE-DPM-Solver++ is η = 1. @throws ConfigError if the algorithm is unknown
 */
export function dpmCoefficients(
  algorithm: DpmAlgorithm,
  from: NoiseLevel,
  to: NoiseLevel,
  eta = algorithm === 'sde-dpmsolver++' ? 1 : 0,
): DpmCoefficients {
  const h = logSnr(to) - logSnr(from);
  const [signal, noise] = [to.alpha / from.alpha, to.sigma / from.sigma];
  switch (algorithm) {
    case 'dpmsolver': // 2022a, eq. 3.7
      return { carry: signal, step: h, weight: to.sigma, spread: 0, h };
    case 'sde-dpmsolver': // 2022b, SDE-DPM-Solver-1
      return { carry: signal, step: h, weight: 2 * to.sigma, spread: to.sigma * Math.sqrt(Math.expm1(2 * h)), h };
    case 'dpmsolver++': // 2022b, the same with x₀
    case 'sde-dpmsolver++': {
      if (eta === 0) return { carry: noise, step: -h, weight: to.alpha, spread: 0, h };
      const spread = to.sigma * Math.sqrt(-Math.expm1(-2 * eta * h));
      return { carry: noise * Math.exp(-eta * h), step: -(1 + eta) * h, weight: to.alpha, spread, h };
    }
    default:
      throw new ConfigError(
        `dpmSolver: expected algorithm_type to be one of ${DPM_ALGORITHMS.join(', ')}, got ${String(algorithm)}`,
        'algorithm_type',
      );
  }
}

/** An output at another level, at r = (λ − λ of the first) / h. */
export interface Node {
  r: number;
  m: Vec;
}

/**
 * The φ-terms of the first output m and of up to two others: φ₁·m + φ₂·D₁ + φ₃·D₂, where D₁ and 2·D₂ are slope and
 * curvature at m, in units of h; φ₁ = e^s − 1, φ₂ = φ₁/s − 1, φ₃ = 2·((φ₁ − s)/s² − ½).
 *
 * @param phi2 in place of φ₂; the midpoint rule has φ₁/2
 * @param phi3 in place of φ₃
 */
export function phiTerms(s: number, m: Vec, [a, b]: readonly Node[], phi2?: number, phi3?: number): LinearForm {
  const phi1 = Math.expm1(s);
  const term = LinearForm.of(m, phi1);
  if (!a) return term;
  const slope = ({ r, m: other }: Node): LinearForm => LinearForm.of(other, 1 / r).minus(m, 1 / r);
  const second = phi2 ?? phi1 / s - 1;
  if (!b) return term.plus(slope(a), second);
  const bend = slope(a)
    .minus(slope(b))
    .scale(1 / (a.r - b.r)); // D₂
  const third = phi3 ?? 2 * ((phi1 - s) / s ** 2 - 1 / 2);
  return term.plus(slope(a).minus(bend, a.r), second).plus(bend, third);
}
