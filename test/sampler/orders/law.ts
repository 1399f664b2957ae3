/** What stochastic methods do to the law of a mixture, by samples on shared Brownian paths. */
import { runSolver, type HostVec, type NoiseLevel, type NoiseSource } from '../../../src/sampler/index.ts';
import { exactDenoiser, space, type Problem } from './problem.ts';
import type { Stochastic } from './stochastic.ts';

/** Brownian motion of many items on [0, 1] as increments over `cells` equal parts, item after item in each. */
export class BrownianPaths {
  private readonly increments: Float64Array[];
  private readonly cells: number;

  constructor(normal: () => number, cells: number, size: number) {
    this.cells = cells;
    this.increments = Array.from({ length: cells }, () => Float64Array.from({ length: size }, normal));
  }

  /** The standardised increment from u to v, both on the grid of cells. */
  between(u: number, v: number): Float64Array {
    const [from, to] = [Math.round(u * this.cells), Math.round(v * this.cells)];
    const sum = this.increments[from].slice();
    for (let c = from + 1; c < to; c++) {
      const more = this.increments[c];
      for (let i = 0; i < sum.length; i++) sum[i] += more[i];
    }
    return sum.map((w) => w / Math.sqrt(to - from));
  }
}

/** Samples of x/alpha after n steps, from given samples at the first level and given Brownian paths. */
export async function samplePaths(
  problem: Problem,
  method: Stochastic,
  n: number,
  paths: BrownianPaths,
  start: (level: NoiseLevel) => Float64Array,
): Promise<Float64Array> {
  const { solver, transitions } = method.plan(n);
  const { draws = [[0, 1]] } = method;
  let drawn = 0;
  const noise: NoiseSource = (like) => {
    const [step, part] = [Math.floor(drawn / draws.length), drawn++ % draws.length];
    const [a, b] = draws[part];
    return space.vec(paths.between((step + a) / n, (step + b) / n), like.batch);
  };
  const data = start(transitions[0].from);
  const x = space.vec(data, data.length / problem.dims);
  const out = (await runSolver({ x, denoiser: exactDenoiser(problem), solver, transitions, noise })) as HostVec;
  const { alpha } = transitions[transitions.length - 1].to;
  return Float64Array.from(out.data, (v) => v / alpha);
}

/** Samples of the law at a level, x = alpha·x₀ + sigma·ε, the same x₀ and ε at every level. */
export function lawSamples({ mixture, dims }: Problem, normal: () => number, items: number) {
  const pictures = new Float64Array(items * dims);
  const noises = Float64Array.from(pictures, normal);
  const total = mixture.weights.reduce((a, b) => a + b);
  for (let b = 0; b < items; b++) {
    let [k, left] = [0, ((b + 0.5) / items) * total]; // as many of each component as its weight says
    while (k < mixture.weights.length - 1 && left > mixture.weights[k]) left -= mixture.weights[k++];
    for (let i = 0; i < dims; i++)
      pictures[b * dims + i] = mixture.means[k][i] + Math.sqrt(mixture.variances[k][i]) * normal();
  }
  return ({ alpha, sigma }: NoiseLevel): Float64Array => pictures.map((p, i) => alpha * p + sigma * noises[i]);
}

/** First and second powers of the first two coordinates: what weak errors are read from. */
const powers = (a: number, b: number): number[] => [a, b, a * a, b * b, a * b];

/** Means of the powers over items. */
export function moments(data: Float64Array, dims: number): number[] {
  const sums = [0, 0, 0, 0, 0];
  for (let at = 0; at < data.length; at += dims)
    powers(data[at], data[at + 1]).forEach((f, i) => (sums[i] += (f * dims) / data.length));
  return sums;
}

/** Length of the difference between two runs' moments, and its standard error, items being paired. */
export function momentChange(a: Float64Array, b: Float64Array, dims: number): { change: number; error: number } {
  const items = a.length / dims;
  const [sums, squares] = [
    [0, 0, 0, 0, 0],
    [0, 0, 0, 0, 0],
  ];
  for (let at = 0; at < a.length; at += dims) {
    const other = powers(b[at], b[at + 1]);
    powers(a[at], a[at + 1]).forEach((f, i) => {
      sums[i] += (f - other[i]) / items;
      squares[i] += (f - other[i]) ** 2 / items;
    });
  }
  const variance = squares.reduce((total, q, i) => total + q - sums[i] ** 2, 0);
  return { change: Math.hypot(...sums), error: Math.sqrt(variance / items) };
}

/** The same of the exact law at half log-SNR λ, and the standard error of each with so many items. */
export function exactMoments(
  { mixture }: Problem,
  lambda: number,
  items: number,
): { values: number[]; errors: number[] } {
  const noise = Math.exp(-2 * lambda);
  const over = (f: (m: readonly number[], v: readonly number[]) => number): number =>
    mixture.weights.reduce(
      (sum, w, k) =>
        sum +
        w *
          f(
            mixture.means[k],
            mixture.variances[k].map((u) => u + noise),
          ),
      0,
    );
  const square = (i: number): number => over((m, v) => m[i] ** 2 + v[i]);
  const fourth = (i: number): number => over((m, v) => m[i] ** 4 + 6 * m[i] ** 2 * v[i] + 3 * v[i] ** 2);
  const cross = over((m) => m[0] * m[1]);
  const values = [over((m) => m[0]), over((m) => m[1]), square(0), square(1), cross];
  const seconds = [square(0), square(1), fourth(0), fourth(1), over((m, v) => (m[0] ** 2 + v[0]) * (m[1] ** 2 + v[1]))];
  return { values, errors: values.map((value, i) => Math.sqrt((seconds[i] - value ** 2) / items)) };
}

/** Mean distance of items. */
export function meanDistance(a: Float64Array, b: Float64Array, dims: number): number {
  let total = 0;
  for (let at = 0; at < a.length; at += dims) {
    let sum = 0;
    for (let i = at; i < at + dims; i++) sum += (a[i] - b[i]) ** 2;
    total += Math.sqrt(sum);
  }
  return (total * dims) / a.length;
}
