/** A distribution whose exact noise prediction is known, for measuring solvers without a network. */
import { parameterise, type Denoiser, type HostVec, type NoiseLevel } from '../../src/sampler/index.ts';

interface Component {
  weight: number;
  mean: number;
  std: number;
}

/** Log-SNR λ = log(alpha / sigma) to a variance-preserving level; the timestep is λ itself. */
export function levelAt(lambda: number): NoiseLevel {
  const alphaBar = 1 / (1 + Math.exp(-2 * lambda));
  return { timestep: lambda, alpha: Math.sqrt(alphaBar), sigma: Math.sqrt(1 / (1 + Math.exp(2 * lambda))) };
}

/** E[ε | x] for x = alpha·x₀ + sigma·ε, x₀ from a mixture of Gaussians on the line. */
export function mixtureEps(components: readonly Component[], x: number, { alpha, sigma }: NoiseLevel): number {
  let [total, sum] = [0, 0];
  for (const { weight, mean, std } of components) {
    const variance = (alpha * std) ** 2 + sigma ** 2;
    const d = x - alpha * mean;
    const p = (weight / Math.sqrt(variance)) * Math.exp(-(d * d) / (2 * variance));
    total += p;
    sum += (p * sigma * d) / variance;
  }
  return sum / total;
}

/** The exact denoiser of a mixture; every element of x is its own point. */
export function mixtureDenoiser(components: readonly Component[]): Denoiser {
  return async (x, level, signal) => {
    const { data, space } = x as HostVec;
    const out = space.vec(
      Array.from(data, (v) => mixtureEps(components, v, level)),
      x.batch,
    );
    return parameterise(() => out, 'epsilon')(x, level, signal);
  };
}

/**
 * The probability-flow ODE solved far below the errors measured: y = x/alpha over λ, dy/dλ = −(sigma/alpha)·ε,
 * classical Runge–Kutta in `steps` equal steps.
 */
export function exactFlow(
  components: readonly Component[],
  x: number,
  from: number,
  to: number,
  steps: number,
): number {
  const slope = (y: number, lambda: number): number => {
    const level = levelAt(lambda);
    return (-level.sigma / level.alpha) * mixtureEps(components, level.alpha * y, level);
  };
  const h = (to - from) / steps;
  let y = x / levelAt(from).alpha;
  for (let i = 0; i < steps; i++) {
    const t = from + i * h;
    const k1 = slope(y, t);
    const k2 = slope(y + (h / 2) * k1, t + h / 2);
    const k3 = slope(y + (h / 2) * k2, t + h / 2);
    const k4 = slope(y + h * k3, t + h);
    y += (h / 6) * (k1 + 2 * k2 + 2 * k3 + k4);
  }
  return levelAt(to).alpha * y;
}

/** Least-squares slope of log error against log step size. */
export function fittedOrder(counts: readonly number[], errors: readonly number[]): number {
  const [u, v] = [counts.map((n) => -Math.log(n)), errors.map(Math.log)];
  const mean = (a: number[]): number => a.reduce((s, x) => s + x, 0) / a.length;
  const [mu, mv] = [mean(u), mean(v)];
  return u.reduce((s, x, i) => s + (x - mu) * (v[i] - mv), 0) / u.reduce((s, x) => s + (x - mu) ** 2, 0);
}

/** An affine step x → a·x + b·z of one element, read off by probing it. */
export async function probe(step: (x: number, z: number) => Promise<number>): Promise<[a: number, b: number]> {
  return [await step(1, 0), await step(0, 1)];
}
