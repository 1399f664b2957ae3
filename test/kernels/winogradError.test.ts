/**
 * The errors that src/kernels/winograd.ts quotes, of transforms made from their points, and of the kernels themselves.
 */
import { describe, test } from 'vitest';
import { Graph } from '../../src/engine/index.ts';
import { conv2d } from '../../src/kernels/conv2d.ts';
import { convReference } from '../reference/conv.ts';
import { expectClose, TWO_DIGITS } from '../support/close.ts';
import { adapters } from '../support/gpu.ts';
import { normals } from '../support/random.ts';
import { openDevice, runGraph } from '../support/runGraph.ts';

/** Root mean square error over the result's deviation, 128 channels, normal inputs and weights, f32. */
const QUOTED = { ours: 1.2e-6, usual: 2.2e-6, two: 3.7e-7, direct: 6e-7 };
const CHANNELS = 128;

type Matrix = readonly (readonly number[])[];
const f32 = Math.fround;
const exact = (value: number) => value;
const transpose = (a: Matrix): Matrix => a[0].map((_, j) => a.map((row) => row[j]));

/** Every product and every sum rounded; zeros cost nothing. */
const product = (a: Matrix, b: Matrix, round: (value: number) => number): Matrix =>
  a.map((row) => b[0].map((_, j) => row.reduce((sum, v, k) => (v === 0 ? sum : round(sum + round(v * b[k][j]))), 0)));

const sandwich = (a: Matrix, x: Matrix, round: (value: number) => number) =>
  product(product(a, x, round), transpose(a), round);

/** Coefficients of ∏ (x − root), the constant first. */
const polynomial = (roots: readonly number[]): number[] =>
  roots.reduce((c, root) => [...c, 0].map((_, i) => (c[i - 1] ?? 0) - root * (c[i] ?? 0)), [1]);

/** Aᵀ, G and Bᵀ of F(m, 3) by Toom and Cook: polynomials multiplied at the points, and at ∞. */
function transforms(points: readonly number[], m: number) {
  const others = (j: number) => points.filter((_, l) => l !== j);
  const G = points.map((p, j) => {
    const n = others(j).reduce((all, q) => all * (p - q), 1);
    return [1 / n, p / n, (p * p) / n];
  });
  const BT = points.map((_, j) => [...polynomial(others(j)), 0]);
  return {
    G: [...G, [0, 0, 1]],
    BT: [...BT, polynomial(points)],
    AT: Array.from({ length: m }, (_, k) => [...points.map((p) => p ** k), k === m - 1 ? 1 : 0]),
  };
}

function relativeError(got: ArrayLike<number>, want: ArrayLike<number>): number {
  let [errors, values] = [0, 0];
  for (let i = 0; i < want.length; i++) {
    errors += (got[i] - want[i]) ** 2;
    values += want[i] ** 2;
  }
  return Math.sqrt(errors / values);
}

const rowsOf = (values: Float32Array, width: number): Matrix =>
  Array.from({ length: values.length / width }, (_, r) => Array.from(values.subarray(r * width, r * width + width)));

/** Of F(m×m, 3×3) with these points, over so many tiles. */
function filteringError(points: readonly number[], m: number, tiles: number): number {
  const { G, BT, AT } = transforms(points, m);
  const edge = m + 2;
  const [got, want]: number[][] = [[], []];
  for (let tile = 0; tile < tiles; tile++) {
    const x = normals(2 * tile + 1, CHANNELS * edge ** 2);
    const w = normals(2 * tile + 2, CHANNELS * 9, { std: 1 / Math.sqrt(9 * CHANNELS) });
    const sums = Array.from({ length: edge }, () => new Float32Array(edge));
    const truth = new Float64Array(m * m);
    for (let c = 0; c < CHANNELS; c++) {
      const d = rowsOf(x.subarray(c * edge ** 2, (c + 1) * edge ** 2), edge);
      const g = rowsOf(w.subarray(9 * c, 9 * c + 9), 3);
      const [U, V] = [sandwich(G, g, exact), sandwich(BT, d, f32)];
      sums.forEach((row, a) => row.forEach((s, b) => (row[b] = s + f32(f32(U[a][b]) * V[a][b]))));
      for (let i = 0; i < 9 * m * m; i++) {
        const [at, tap] = [Math.floor(i / 9), i % 9];
        const [r, s] = [Math.floor(tap / 3), tap % 3];
        truth[at] += d[Math.floor(at / m) + r][(at % m) + s] * g[r][s];
      }
    }
    got.push(
      ...sandwich(
        AT,
        sums.map((row) => [...row]),
        f32,
      ).flat(),
    );
    want.push(...truth);
  }
  return relativeError(got, want);
}

/** Of sums of 9·128 products, one after the other. */
function directError(sums: number): number {
  const [got, want]: number[][] = [[], []];
  for (let at = 0; at < sums; at++) {
    const x = normals(2 * at + 1, 9 * CHANNELS);
    const w = normals(2 * at + 2, 9 * CHANNELS);
    got.push(x.reduce((sum, v, i) => f32(sum + f32(v * w[i])), 0));
    want.push(x.reduce((sum, v, i) => sum + v * w[i], 0));
  }
  return relativeError(got, want);
}

describe('the error of minimal filtering', () => {
  test.each([
    ['F(4×4) with 0, ±3/4, ±3/2', QUOTED.ours, () => filteringError([0, 0.75, -0.75, 1.5, -1.5], 4, 100)],
    ['F(4×4) with 0, ±1, ±2', QUOTED.usual, () => filteringError([0, 1, -1, 2, -2], 4, 100)],
    ['F(2×2)', QUOTED.two, () => filteringError([0, 1, -1], 2, 400)],
    ['products one after the other', QUOTED.direct, () => directError(1000)],
  ])('is as quoted: %s, %f', (what, quoted, measured) => {
    expectClose([measured()], [quoted], TWO_DIGITS * quoted, what);
  });

  test.each(adapters())('is that of the kernels on %s', async (adapter) => {
    const device = await openDevice(adapter);
    const taps = { R: 3, S: 3, stride: 1, top: 1, left: 1, bottom: 1, right: 1 };
    const c = { B: 1, H: 16, W: 16, I: CHANNELS, O: 32, ...taps };
    const x = normals(1, c.H * c.W * c.I);
    const w = normals(2, c.O * 9 * c.I, { std: 1 / Math.sqrt(9 * c.I) });
    const want = convReference(x, w, c);
    for (const [way, quoted] of [
      ['winograd4 0', QUOTED.ours],
      ['winograd2 0', QUOTED.two],
      ['plain', QUOTED.direct],
    ] as const) {
      const g = new Graph();
      const map = g.input('x', [c.B, c.H, c.W, c.I], { layout: 'rows', dtype: 'f32' });
      g.output('y', conv2d(map, { key: 'w', shape: [c.O, c.I, 3, 3] }, undefined, { padding: c }));
      const { outputs } = await runGraph(device, g, { inputs: { x }, weights: { w }, choices: { get: () => way } });
      expectClose([relativeError(outputs.y, want)], [quoted], TWO_DIGITS * quoted, way);
    }
  });
});
