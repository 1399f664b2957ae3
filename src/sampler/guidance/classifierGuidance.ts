/**
 * Classifier guidance: towards what a classifier of noisy pictures wants to see. Dhariwal & Nichol 2021,
 * https://arxiv.org/abs/2105.05233. Two forms: of the score, for every solver; and of the mean, for ancestral sampling.
 */
import { InvalidArgumentError } from '../../engine/errors.ts';
import type { VarianceType } from '../solvers/ddpm.ts';
import { epsilonPrediction, predictionOf, type Denoiser, type Prediction } from '../parameterisation/denoiser.ts';
import type { NoiseLevel } from '../schedule/schedule.ts';
import type { Solver, Transition } from '../solver.ts';
import { LinearForm, type Vec } from '../vec.ts';

/** ∇ log p(class | x) at a level of noise, of x's shape; its result stays valid until the step ends. */
export type LogProbGradient = (x: Vec, level: NoiseLevel, signal?: AbortSignal) => Vec | Promise<Vec>;

function checkScale(who: string, scale: number): void {
  if (Number.isFinite(scale)) return;
  throw new InvalidArgumentError(`${who}: expected a finite scale, got ${scale}; 0 turns it off`);
}

/**
 * The score form: ε − scale·sigma·∇ log p(class | x), and x₀ follows; only coefficients change, and a learned variance
 * stays. Algorithm 2 (there with DDIM). x₀ is not clipped again: clip before ({@link clipped}, {@link consistentEps}).
 * @throws InvalidArgumentError on a scale not finite
 */
export function classifierGuided(denoiser: Denoiser, gradient: LogProbGradient, scale: number): Denoiser {
  checkScale('classifierGuided', scale);
  return async (x, level, signal) => {
    const { eps, variance } = await denoiser(x, level, signal);
    const guided = eps.minus(await gradient(x, level, signal), scale * level.sigma);
    return predictionOf(epsilonPrediction, x, level, guided, variance);
  };
}

/** How the mean is moved. */
export interface MeanShiftOptions {
  gradient: LogProbGradient;
  /** Factor of the gradient, finite. */
  scale: number;
  /** The variance that the solver draws with; default `fixed_small`. */
  varianceType?: VarianceType;
}

/**
 * The mean-shift form: x_s ~ N(μ + scale·Σ·∇ log p(class | x_t), Σ) for {@link ddpm}, with the Σ it draws with, the
 * network's own where that is learned. Algorithm 1. In the last step, which draws nothing, Σ is 0 if it is fixed_small,
 * and interpolates from the step before's if it is a learned range, as in the authors' code.
 * @throws InvalidArgumentError on a scale not finite; on the step, if a learned variance is wanted and none given
 */
export function classifierMeanShift(solver: Solver, options: MeanShiftOptions): Solver {
  const { gradient, scale, varianceType = 'fixed_small' } = options;
  checkScale('classifierMeanShift', scale);
  return async (step) => {
    let seen: Prediction | undefined;
    const denoise: Denoiser = async (...at) => (seen = await step.denoise(...at));
    const done = await solver({ ...step, denoise });
    const towards = await gradient(step.x, step.from, step.signal);
    const shift = timesVariance(towards, varianceType, step, seen?.variance);
    return { ...done, x: LinearForm.of(done.x).plus(shift, scale).materialise() };
  };
}

/** Σ of a step, small and large. Ho et al. 2020, equation 7 and section 3.2. */
function variances({ from, to }: Transition): { small: number; large: number } {
  const large = 1 - (from.alpha / to.alpha) ** 2;
  return { small: (to.sigma / from.sigma) ** 2 * large, large };
}

/** Σ·v for each kind of variance. */
function timesVariance(
  v: Vec,
  type: VarianceType,
  step: Transition & { index?: number; transitions?: readonly Transition[] },
  variance: Vec | undefined,
): LinearForm {
  const { small, large } = variances(step);
  if (type === 'fixed_small' || type === 'fixed_small_log') return LinearForm.of(v, small);
  if (type === 'fixed_large' || type === 'fixed_large_log') return LinearForm.of(v, large);
  if (!variance)
    throw new InvalidArgumentError(
      `classifierMeanShift: expected a network with twice the channels for variance_type ${type}, got no variance at ` +
        `timestep ${step.from.timestep}; use fixed_small, or a network that learned its variance`,
    );
  // Σ·v = (v·√Σ)·√Σ, by what vectors can do.
  if (type === 'learned') {
    const root = v.space.mulSqrt(v, LinearForm.of(variance));
    return LinearForm.of(v.space.mulSqrt(root, LinearForm.of(variance)));
  }
  const before = step.transitions?.[(step.index ?? 0) - 1];
  const least = small > 0 || !before ? small : variances(before).small;
  const [lo, hi] = [Math.log(Math.max(least, 1e-20)), Math.log(large)];
  const log = LinearForm.of(variance, (hi - lo) / 2).plusConstant((hi + lo) / 2); // Nichol & Dhariwal 2021, eq. 15
  return LinearForm.of(v.space.mulExp(v, log));
}
