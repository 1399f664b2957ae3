/**
 * The recordings' data distribution: a mixture of Gaussians with diagonal covariance, whose every quantity is exact.
 */
import type { Denoiser } from '../../../sampler/parameterisation/denoiser.ts';
import { parameterise, samplePrediction } from '../../../sampler/parameterisation/denoiser.ts';
import type { HostVec } from '../../../sampler/hostVec.ts';
import type { NoiseLevel } from '../../../sampler/schedule/schedule.ts';

/** Σ w_k·N(μ_k, diag(v_k)). */
export interface Mixture {
  weights: readonly number[];
  means: readonly (readonly number[])[];
  variances: readonly (readonly number[])[];
}

/** Component k alone. */
export function componentOf(mixture: Mixture, k: number): Mixture {
  return { weights: [1], means: [mixture.means[k]], variances: [mixture.variances[k]] };
}

type Scales = Pick<NoiseLevel, 'alpha' | 'sigma'>;

/** log N(x; a·μ_k, a²·v_k + s²) + log w_k for each component. */
export function logTerms(mixture: Mixture, x: ArrayLike<number>, { alpha, sigma }: Scales): number[] {
  return mixture.weights.map((weight, k) => {
    let sum = Math.log(weight);
    for (let i = 0; i < x.length; i++) {
      const variance = alpha ** 2 * mixture.variances[k][i] + sigma ** 2;
      sum -= ((x[i] - alpha * mixture.means[k][i]) ** 2 / variance + Math.log(2 * Math.PI * variance)) / 2;
    }
    return sum;
  });
}

/** log Σ exp. */
export function logSumExp(terms: readonly number[]): number {
  const top = Math.max(...terms);
  return top + Math.log(terms.reduce((sum, t) => sum + Math.exp(t - top), 0));
}

/** p(component | x). */
export function responsibilities(mixture: Mixture, x: ArrayLike<number>, at: Scales): number[] {
  const terms = logTerms(mixture, x, at);
  const total = logSumExp(terms);
  return terms.map((t) => Math.exp(t - total));
}

/** ∇ log p(x) of one item. */
export function score(mixture: Mixture, x: ArrayLike<number>, at: Scales): Float64Array {
  const p = responsibilities(mixture, x, at);
  return Float64Array.from(x, (value, i) =>
    p.reduce((sum, weight, k) => {
      const variance = at.alpha ** 2 * mixture.variances[k][i] + at.sigma ** 2;
      return sum - (weight * (value - at.alpha * mixture.means[k][i])) / variance;
    }, 0),
  );
}

/** (∇² log p(x))·v of one item: what a vector–Jacobian product of the score gives. */
export function scoreJacobian(mixture: Mixture, x: ArrayLike<number>, v: ArrayLike<number>, at: Scales): Float64Array {
  const p = responsibilities(mixture, x, at);
  const gradients = p.map((_, k) =>
    Float64Array.from(
      x,
      (value, i) =>
        -(value - at.alpha * mixture.means[k][i]) / (at.alpha ** 2 * mixture.variances[k][i] + at.sigma ** 2),
    ),
  );
  const along = gradients.map((g) => g.reduce((sum, gi, i) => sum + gi * v[i], 0));
  const mean = p.reduce((sum, pk, k) => sum + pk * along[k], 0);
  return Float64Array.from(x, (_, i) =>
    p.reduce((sum, pk, k) => {
      const variance = at.alpha ** 2 * mixture.variances[k][i] + at.sigma ** 2;
      return sum + pk * (-v[i] / variance + gradients[k][i] * (along[k] - mean));
    }, 0),
  );
}

/** Applies f to each of `batch` items. */
export function perItem(
  data: ArrayLike<number>,
  batch: number,
  f: (item: Float64Array, b: number) => Float64Array,
): Float64Array {
  const all = Float64Array.from(data);
  const size = all.length / batch;
  const out = new Float64Array(all.length);
  for (let b = 0; b < batch; b++) out.set(f(all.subarray(b * size, (b + 1) * size), b), b * size);
  return out;
}

/** The exact posterior mean as a denoiser: x₀ = (x + s²·score)/a. Host vectors only. */
export function mixtureDenoiser(mixture: Mixture): Denoiser {
  return async (x, level, signal) => {
    const { data, space, batch } = x as HostVec;
    const out = perItem(data, batch, (item) => {
      const s = score(mixture, item, level);
      return s.map((si, i) => (item[i] + level.sigma ** 2 * si) / level.alpha);
    });
    return parameterise(() => space.vec(out, batch), samplePrediction)(x, level, signal);
  };
}
