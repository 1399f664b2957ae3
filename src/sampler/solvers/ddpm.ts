/** Ancestral sampling of DDPM. Ho, Jain & Abbeel 2020, https://arxiv.org/abs/2006.11239 */
import { ConfigError, InvalidArgumentError } from '../../engine/errors.ts';
import type { Prediction } from '../parameterisation/denoiser.ts';
import type { NoiseLevel } from '../schedule/schedule.ts';
import type { Solver, Transition } from '../solver.ts';
import { LinearForm, type Vec } from '../vec.ts';

/** Kinds of variance, by the names of diffusers. */
export const VARIANCE_TYPES = [
  'fixed_small',
  'fixed_small_log',
  'fixed_large',
  'fixed_large_log',
  'learned',
  'learned_range',
] as const;
/** One of {@link VARIANCE_TYPES}. */
export type VarianceType = (typeof VARIANCE_TYPES)[number];

/** Smallest variance whose logarithm is taken. */
const FLOOR = 1e-20;

/** The choice that DDPM leaves. */
export interface DdpmOptions {
  /** Default `fixed_small`. */
  varianceType?: VarianceType;
  /**
   * β_t in f32, to reckon with as the scheduler of unCLIP does: in single steps β is the table's, in longer ones it is
   * rounded to f32, and α = 1 − β. At either end of the schedule that moves x by up to 5·10⁻⁴. Default: ᾱ alone.
   */
  betas?: ArrayLike<number>;
}

/**
 * One step of x_s ~ N(μ(x_t, x₀), σ²) for any two levels s < t of a variance-preserving process (respaced steps are
 * steps of the coarser chain). Noise is drawn at every step from a timestep above 0.
 *
 * σ² is `fixed_small` β̃ or `fixed_large` β (their `_log` forms are the same numbers), the network's second half
 * itself (`learned`), or exp of it interpolating log β̃ … log β (`learned_range`, Nichol & Dhariwal 2021, equation 15).
 *
 * @throws ConfigError if the variance type is unknown
 * @throws InvalidArgumentError (on the step) if a learned variance is wanted and the network gives none
 */
export function ddpm({ varianceType = 'fixed_small', betas }: DdpmOptions = {}): Solver {
  if (!VARIANCE_TYPES.includes(varianceType))
    throw new ConfigError(
      `ddpm: expected variance_type to be one of ${VARIANCE_TYPES.join(', ')}, got ${String(varianceType)}`,
      'variance_type',
    );
  return async ({ x, from, to, denoise, noise, signal }) => {
    const prediction = await denoise(x, from, signal);
    const { x0 } = prediction;
    const exact = 1 - (from.alpha / to.alpha) ** 2;
    const beta = betas ? betaInF32(betas, from, to, exact) : exact;
    const mean = posteriorMean(x, x0, { from, to }, beta);
    if (from.timestep <= 0) return { x: mean.materialise(), x0 };
    const small = Math.max(posteriorVariance({ from, to }, beta), FLOOR);
    const next = mean.plus(scaledNoise(varianceType, noise(x), small, beta, prediction, from)); // algorithm 2, line 4
    return { x: next.materialise(), x0 };
  };
}

/** β̃, the posterior's variance between any two levels: (1 − α)·(1 − ᾱ_s)/(1 − ᾱ_t), α = ᾱ_t/ᾱ_s. Equation 7. */
export function posteriorVariance({ from, to }: Transition, beta = 1 - (from.alpha / to.alpha) ** 2): number {
  return (to.sigma / from.sigma) ** 2 * beta;
}

/** μ̃(x_t, x₀), its mean. Equation 7. */
export function posteriorMean(
  x: Vec,
  x0: LinearForm,
  { from, to }: Transition,
  beta = 1 - (from.alpha / to.alpha) ** 2,
): LinearForm {
  const variance = from.sigma ** 2;
  return LinearForm.of(x0, (to.alpha * beta) / variance).plus(x, (Math.sqrt(1 - beta) * to.sigma ** 2) / variance);
}

function betaInF32(betas: ArrayLike<number>, from: NoiseLevel, to: NoiseLevel, exact: number): number {
  return to.timestep === from.timestep - 1 ? betas[from.timestep] : Math.fround(exact);
}

/** σ·z for each kind of variance. */
function scaledNoise(
  type: VarianceType,
  z: Vec,
  small: number,
  large: number,
  { variance }: Prediction,
  level: NoiseLevel,
): LinearForm {
  if (type === 'fixed_small' || type === 'fixed_small_log') return LinearForm.of(z, Math.sqrt(small));
  if (type === 'fixed_large' || type === 'fixed_large_log') return LinearForm.of(z, Math.sqrt(large));
  if (!variance)
    throw new InvalidArgumentError(
      `ddpm: expected a network with twice the channels for variance_type ${type}, got no variance at timestep ` +
        `${level.timestep}; use fixed_small, or a network that learned its variance`,
    );
  if (type === 'learned') return LinearForm.of(z.space.mulSqrt(z, LinearForm.of(variance)));
  const [lo, hi] = [Math.log(small), Math.log(large)];
  // ½ log σ² = ½ (f·log β + (1 − f)·log β̃) with f = (u + 1)/2: Nichol & Dhariwal 2021, eq. 15
  const logSigma = LinearForm.of(variance, (hi - lo) / 4).plusConstant((hi + lo) / 4);
  return LinearForm.of(z.space.mulExp(z, logSigma));
}
