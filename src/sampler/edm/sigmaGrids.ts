/**
 * The noise levels of earlier methods, as Karras et al. 2022 restate them, https://arxiv.org/abs/2206.00364, table 1.
 */
import { InvalidArgumentError } from '../../engine/errors.ts';
import { karrasSigmas } from '../kdiffusion/sigmas.ts';
import { roundHalfEven } from '../schedule/timesteps.ts';

/** Whose levels. */
export const DISCRETIZATIONS = ['edm', 'vp', 've', 'iddpm'] as const;
/** One of {@link DISCRETIZATIONS}. */
export type Discretization = (typeof DISCRETIZATIONS)[number];

/** What may be chosen. */
export interface SigmaGridOptions {
  /** Steps, ≥ 2. */
  numInferenceSteps: number;
  /** Default `edm`. */
  discretization?: Discretization;
  /** Smallest level that the network knows, ≥ 0; default 0. */
  sigmaMin?: number;
  /** Largest level that the network knows; default ∞. */
  sigmaMax?: number;
  /** Largest and smallest level in place of the discretization's own, still within what the network knows. */
  from?: number;
  to?: number;
  /** ρ of `edm`; default 7. */
  rho?: number;
  /** Smallest time of `vp`; default 0.001. */
  epsilonS?: number;
  /** Smallest α of a step of `iddpm`; default 0.001. */
  c1?: number;
  /** Offset of `iddpm`'s cosine; default 0.008. */
  c2?: number;
  /** Steps `iddpm` was trained on; default 1000. */
  m?: number;
}

/** σ(t) of the linear variance-preserving process: √(e^(½·β_d·t² + β_min·t) − 1). Table 1, schedule VP. */
export function vpSigma(t: number, betaD: number, betaMin: number): number {
  return Math.sqrt(Math.expm1((betaD * t ** 2) / 2 + betaMin * t));
}

/** β_d and β_min of the process whose σ is sigmaMin at epsilonS and sigmaMax at 1. Appendix C.1. */
export function vpBetas(sigmaMin: number, sigmaMax: number, epsilonS = 1e-3): { betaD: number; betaMin: number } {
  const [lo, hi] = [Math.log1p(sigmaMin ** 2), Math.log1p(sigmaMax ** 2)];
  const betaD = (2 * (lo / epsilonS - hi)) / (epsilonS - 1);
  return { betaD, betaMin: hi - betaD / 2 };
}

/** Range of each discretization where the network sets none. Table 1 and appendix C. */
function rangeOf(kind: Discretization, epsilonS: number): [number, number] {
  if (kind === 'vp') return [vpSigma(epsilonS, 19.9, 0.1), vpSigma(1, 19.9, 0.1)];
  if (kind === 've') return [0.02, 100];
  return [0.002, kind === 'edm' ? 80 : 81];
}

/** Smallest and largest level of the grid. */
export function sigmaRange(options: Omit<SigmaGridOptions, 'numInferenceSteps'>): [number, number] {
  const { discretization = 'edm', epsilonS = 1e-3, sigmaMin = 0, sigmaMax = Infinity } = options;
  const [least, most] = rangeOf(discretization, epsilonS);
  return [Math.max(options.to ?? least, sigmaMin), Math.min(options.from ?? most, sigmaMax)];
}

/** The levels of all steps, falling, without the final 0. @throws InvalidArgumentError on fewer than 2 steps */
export function sigmaGrid(options: SigmaGridOptions): Float64Array {
  const { numInferenceSteps: n, discretization = 'edm', rho = 7, epsilonS = 1e-3 } = options;
  if (!Number.isInteger(n) || n < 2 || !DISCRETIZATIONS.includes(discretization))
    throw new InvalidArgumentError(
      `sigmaGrid: expected 2 or more steps of ${DISCRETIZATIONS.join(', ')}, got ${n} of ${discretization}`,
    );
  const [sigmaMin, sigmaMax] = sigmaRange(options);
  if (discretization === 'edm') return karrasSigmas(n, { sigmaMin, sigmaMax, rho }).slice(0, n); // equation 5
  const along = (at: (u: number) => number): Float64Array =>
    Float64Array.from({ length: n }, (_, i) => at(i / (n - 1)));
  if (discretization === 've') return along((u) => sigmaMax * (sigmaMin / sigmaMax) ** u);
  if (discretization === 'vp') {
    const { betaD, betaMin } = vpBetas(sigmaMin, sigmaMax, epsilonS);
    return along((u) => vpSigma(1 + u * (epsilonS - 1), betaD, betaMin));
  }
  const trained = iddpmSigmas(options).filter((u) => u >= sigmaMin && u <= sigmaMax);
  return along((u) => trained[roundHalfEven(u * (trained.length - 1))]);
}

/** u_(j−1) = √((u_j² + 1)/max(ᾱ_(j−1)/ᾱ_j, C₁) − 1) from u_M = 0, falling with j. Appendix C.3.2, equation 265. */
export function iddpmSigmas({ c1 = 0.001, c2 = 0.008, m = 1000 }: Partial<SigmaGridOptions> = {}): number[] {
  const alphaBar = (j: number): number => Math.sin((Math.PI / 2) * (j / m / (c2 + 1))) ** 2;
  const u = Array<number>(m + 1).fill(0);
  for (let j = m; j > 0; j--) u[j - 1] = Math.sqrt((u[j] ** 2 + 1) / Math.max(alphaBar(j - 1) / alphaBar(j), c1) - 1);
  return u;
}
