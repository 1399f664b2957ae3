/**
 * What orders are measured on: the recorded mixtures of Gaussians in 2 and 12 dimensions, their exact denoiser, and the
 * probability flow between two levels solved far below any error measured.
 */
import { readFileSync } from 'node:fs';
import {
  HostSpace,
  LinearForm,
  type Denoiser,
  type HostVec,
  type NoiseLevel,
  type Prediction,
} from '../../../src/sampler/index.ts';
import type { Mixture } from '../../../src/node/parity/original/mixture.ts';

export const space = new HostSpace('f64');

/** Half log-SNR λ = log(alpha/sigma) at either end of a run: mostly noise, and noise of a twelfth of the picture. */
export const [NOISY, CLEAN] = [-3, 2.5];

/** Level of x₀ + sigma·ε at half log-SNR λ; the timestep is sigma. */
export function veAt(lambda: number): NoiseLevel {
  const sigma = Math.exp(-lambda);
  return { timestep: sigma, alpha: 1, sigma };
}

/** Level of flow matching, alpha = 1 − sigma, at half log-SNR λ. */
export function flowAt(lambda: number): NoiseLevel {
  return { timestep: timestepOf(lambda), alpha: 1 / (1 + Math.exp(-lambda)), sigma: 1 / (1 + Math.exp(lambda)) };
}

/** A mixture, and where its flows start at λ = {@link NOISY}. */
export interface Problem {
  readonly name: string;
  readonly dims: number;
  readonly mixture: Mixture;
  /** Items × dims values of the variance-preserving state. */
  readonly start: Float64Array;
}

/** Timesteps of levels: falling and above 0, since 0 and −1 are ends to some solvers. */
const timestepOf = (lambda: number): number => 10 - lambda;

/** Variance-preserving level at half log-SNR λ. */
export function vpAt(lambda: number): NoiseLevel {
  return {
    timestep: timestepOf(lambda),
    alpha: 1 / Math.sqrt(1 + Math.exp(-2 * lambda)),
    sigma: 1 / Math.sqrt(1 + Math.exp(2 * lambda)),
  };
}

/** The recorded mixture; starts are spread normals. Fixture `k-exact-2d` or `k-exact-12d`. */
export function problem(name: '2d' | '12d'): Problem {
  const file = new URL(`../../fixtures/original/k-exact-${name}/config.json`, import.meta.url);
  const { gmm } = JSON.parse(readFileSync(file, 'utf8')).config as { gmm: Mixture };
  const dims = gmm.means[0].length;
  const items = 4;
  const start = Float64Array.from({ length: items * dims }, (_, i) => 1.3 * Math.sin(1 + 2.7 * i + 0.3 * i * i));
  return { name, dims, mixture: gmm, start };
}

/** E[x₀ | x] of every item of `x` at a level, into a new array. */
export function posteriorMean({ mixture, dims }: Problem, x: ArrayLike<number>, level: NoiseLevel): Float64Array {
  const { weights, means, variances } = mixture;
  const { alpha, sigma } = level;
  const count = weights.length;
  const centres = means.map((mean) => mean.map((m) => alpha * m));
  const spreads = variances.map((own) => own.map((v) => alpha * alpha * v + sigma * sigma));
  const halves = spreads.map((all) => all.map((v) => 1 / (2 * v)));
  const gains = spreads.map((all, k) => all.map((v, i) => (alpha * variances[k][i]) / v));
  const bases = weights.map((w, k) => Math.log(w) - spreads[k].reduce((sum, v) => sum + Math.log(v) / 2, 0));
  const out = new Float64Array(x.length);
  const p = new Float64Array(count);
  for (let at = 0; at < x.length; at += dims) {
    let top = -Infinity;
    for (let k = 0; k < count; k++) {
      let log = bases[k];
      for (let i = 0; i < dims; i++) log -= (x[at + i] - centres[k][i]) ** 2 * halves[k][i];
      p[k] = log;
      top = Math.max(top, log);
    }
    let total = 0;
    for (let k = 0; k < count; k++) total += p[k] = Math.exp(p[k] - top);
    for (let k = 0; k < count; k++)
      for (let i = 0; i < dims; i++)
        out[at + i] += (p[k] / total) * (means[k][i] + gains[k][i] * (x[at + i] - centres[k][i]));
  }
  return out;
}

/** The exact denoiser of a problem, for a state x = alpha·x₀ + sigma·ε at any level; counts its calls. */
export function exactDenoiser(problem: Problem): Denoiser & { calls: number } {
  const denoiser = async (x: HostVec, level: NoiseLevel): Promise<Prediction> => {
    counted.calls++;
    const data = posteriorMean(problem, x.data, level);
    const x0 = LinearForm.of(space.vec(data, x.batch));
    const predict = (picture: LinearForm, at: HostVec, { alpha, sigma }: NoiseLevel): Prediction => ({
      out: picture,
      x0: picture,
      eps: LinearForm.of(at)
        .minus(picture, alpha)
        .scale(1 / sigma),
      reread: (other, nextX = at, nextLevel = level) => predict(other, nextX as HostVec, nextLevel),
    });
    return predict(x0, x, level);
  };
  const counted = Object.assign(denoiser as unknown as Denoiser, { calls: 0 });
  return counted;
}

/** dy/dλ of y = x/alpha = x₀ + e^(−λ)·ε along the probability flow: x₀(y, λ) − y. */
function slope(problem: Problem, lambda: number, y: Float64Array): Float64Array {
  const out = posteriorMean(problem, y, { timestep: lambda, alpha: 1, sigma: Math.exp(-lambda) });
  for (let i = 0; i < y.length; i++) out[i] = y[i] - out[i];
  return out.map((v) => -v);
}

/** Substeps of the extrapolated midpoint rule: five of them, which has order 10. */
const SUBSTEPS = [2, 4, 6, 8, 10];

/** One step of the extrapolated modified midpoint rule. Hairer, Nørsett & Wanner, Solving ODEs I, section II.9. */
function extrapolated(problem: Problem, lambda: number, y: Float64Array, h: number): Float64Array {
  const table: Float64Array[] = [];
  SUBSTEPS.forEach((n, j) => {
    const d = h / n;
    let before = y;
    const first = slope(problem, lambda, y);
    let now: Float64Array = y.map((v, i) => v + d * first[i]);
    for (let k = 1; k < n; k++) {
      const s = slope(problem, lambda + k * d, now);
      [before, now] = [now, before.map((v, i) => v + 2 * d * s[i])];
    }
    table.push(now);
    for (let k = j - 1; k >= 0; k--) {
      const ratio = (n / SUBSTEPS[k]) ** 2;
      table[k] = table[k + 1].map((v, i) => v + (v - table[k][i]) / (ratio - 1));
    }
  });
  return table[0];
}

/** Length of a step of the reference in λ: below it nothing but rounding changes. */
const STEP = 0.04;

/** x/alpha at `to` from x/alpha at `from`, along the flow. */
export function exactFlow(problem: Problem, y: ArrayLike<number>, from: number, to: number): Float64Array {
  const steps = Math.max(1, Math.ceil(Math.abs(to - from) / STEP));
  const h = (to - from) / steps;
  let state: Float64Array = Float64Array.from(y);
  for (let i = 0; i < steps; i++) state = extrapolated(problem, from + i * h, state, h);
  return state;
}

/** Half log-SNR where a run begins and ends. */
export type Span = readonly [number, number];

const solved = new WeakMap<Problem, Map<string, { first: Float64Array; last: Float64Array }>>();

/** x/alpha at the start and at the end of every run over a span; solved once. */
export function endsOf(
  problem: Problem,
  [from, to]: Span = [NOISY, CLEAN],
): {
  first: Float64Array;
  last: Float64Array;
} {
  const known = solved.get(problem) ?? new Map<string, { first: Float64Array; last: Float64Array }>();
  solved.set(problem, known);
  const key = `${from} ${to}`;
  const found = known.get(key);
  if (found) return found;
  const first = problem.start.map((v) => v / vpAt(from).alpha);
  const ends = { first, last: exactFlow(problem, first, from, to) };
  known.set(key, ends);
  return ends;
}

/** Root of the mean over items of squared distances. */
export function distance(a: ArrayLike<number>, b: ArrayLike<number>, dims: number): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i] - b[i]) ** 2;
  return Math.sqrt((sum * dims) / a.length);
}

/** Least-squares slope of log error against log step size, steps being 1/counts. */
export function fittedOrder(counts: readonly number[], errors: readonly number[]): number {
  const [u, v] = [counts.map((n) => -Math.log(n)), errors.map((e) => Math.log(e))];
  const mean = (a: readonly number[]): number => a.reduce((s, x) => s + x, 0) / a.length;
  const [mu, mv] = [mean(u), mean(v)];
  return u.reduce((s, x, i) => s + (x - mu) * (v[i] - mv), 0) / u.reduce((s, x) => s + (x - mu) ** 2, 0);
}
