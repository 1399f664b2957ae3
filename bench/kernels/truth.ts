/** Single outputs of a problem in f64 on the host, each with what rounding may move it by. */
import { activation } from '../../test/reference/activation.ts';
import { convAt, convHeight, convWidth } from '../../test/reference/conv.ts';
import { attentionTolerance, dotTolerance, normTolerance, type Storage } from '../../test/support/close.ts';
import { uniform } from '../../test/support/random.ts';
import type {
  AttentionProblem,
  ConvProblem,
  ElementwiseProblem,
  MatmulProblem,
  Problem,
  ProblemData,
} from './problem.ts';

export interface Truth {
  want: number;
  tolerance: number;
}

/** The output at a row-major index. */
export type TruthAt = (index: number) => Truth;

/** Standard normals stay below this, but for one in two million. */
const LARGEST = 5;

export function truthOf(p: Problem, data: ProblemData, dtype: Storage): TruthAt {
  switch (p.op) {
    case 'matmul':
      return matmulTruth(p, data, dtype);
    case 'conv2d':
      return convTruth(p, data, dtype);
    case 'groupNorm': {
      const size = p.C / p.groups;
      const P = p.H * p.W;
      // Elements of a group, as [start, run, stride, runs].
      return normTruth(data, dtype, p.eps, p.C, 'silu', (i) => {
        const b = Math.floor(i / (P * p.C));
        const g = Math.floor((i % p.C) / size);
        return [b * P * p.C + g * size, size, p.C, P];
      });
    }
    case 'layerNorm':
      return normTruth(data, dtype, p.eps, p.D, 'none', (i) => [Math.floor(i / p.D) * p.D, p.D, 0, 1]);
    case 'attention':
      return attentionTruth(p, data, dtype);
    case 'elementwise':
      return elementwiseTruth(p, data, dtype);
  }
}

function matmulTruth({ N, K }: MatmulProblem, { x, w, b }: ProblemData, dtype: Storage): TruthAt {
  const tolerance = dotTolerance(dtype, K, LARGEST);
  return (index) => {
    const n = index % N;
    const m = (index - n) / N;
    let want = b[n];
    for (let k = 0; k < K; k++) want += x[m * K + k] * w[n * K + k];
    return { want, tolerance };
  };
}

function convTruth(p: ConvProblem, { x, w, b }: ProblemData, dtype: Storage): TruthAt {
  const tolerance = dotTolerance(dtype, p.I * p.R * p.S, LARGEST);
  const [OH, OW] = [convHeight(p), convWidth(p)];
  return (index) => {
    const o = index % p.O;
    const pixel = (index - o) / p.O;
    const at = [Math.floor(pixel / (OW * OH)), Math.floor(pixel / OW) % OH, pixel % OW, o] as const;
    return { want: convAt(x, w, p, { bias: b }, at), tolerance };
  };
}

function normTruth(
  { x, w, b }: ProblemData,
  dtype: Storage,
  eps: number,
  C: number,
  act: 'none' | 'silu',
  setOf: (index: number) => [start: number, run: number, stride: number, runs: number],
): TruthAt {
  const known = new Map<number, { mean: number; std: number; largest: number }>();
  const moments = ([start, run, stride, runs]: readonly [number, number, number, number]) => {
    let m = known.get(start);
    if (m) return m;
    let sum = 0;
    let largest = 0;
    const each = (visit: (v: number) => void) => {
      for (let r = 0; r < runs; r++) for (let i = 0; i < run; i++) visit(x[start + r * stride + i]);
    };
    each((v) => {
      sum += v;
      largest = Math.max(largest, Math.abs(v));
    });
    const mean = sum / (run * runs);
    let squares = 0;
    each((v) => (squares += (v - mean) ** 2));
    m = { mean, std: Math.sqrt(squares / (run * runs) + eps), largest };
    known.set(start, m);
    return m;
  };
  return (index) => {
    const { mean, std, largest } = moments(setOf(index));
    const c = index % C;
    const want = activation(((x[index] - mean) / std) * w[c] + b[c], act);
    return { want, tolerance: normTolerance(dtype, (Math.abs(w[c]) * largest) / std, want) };
  };
}

function attentionTruth({ T, S, heads, d }: AttentionProblem, { q, k, v }: ProblemData, dtype: Storage): TruthAt {
  const width = heads * d;
  const scale = 1 / Math.sqrt(d);
  return (index) => {
    const c = index % width;
    const row = (index - c) / width;
    const from = c - (c % d);
    const b = Math.floor(row / T);
    let size = 0;
    const scores = Array.from({ length: S }, (_, s) => {
      let sum = 0;
      let magnitude = 0;
      for (let i = from; i < from + d; i++) {
        const product = q[row * width + i] * k[(b * S + s) * width + i];
        sum += product;
        magnitude += Math.abs(product);
      }
      size = Math.max(size, magnitude * scale);
      return sum * scale;
    });
    const top = scores.reduce((a, s) => Math.max(a, s), -Infinity);
    let total = 0;
    let want = 0;
    scores.forEach((score, s) => {
      const weight = Math.exp(score - top);
      total += weight;
      want += weight * v[(b * S + s) * width + c];
    });
    return { want: want / total, tolerance: attentionTolerance(dtype, d, S, size, LARGEST) };
  };
}

function elementwiseTruth({ kind, B, C }: ElementwiseProblem, data: ProblemData, dtype: Storage): TruthAt {
  const { x, y, scale, shift } = data;
  const perItem = x.length / B;
  return (index) => {
    const row = Math.floor(index / perItem) * C + (index % C);
    if (kind === 'silu') return { want: activation(x[index], 'silu'), tolerance: dotTolerance(dtype, 1, LARGEST) };
    if (kind === 'add') return { want: x[index] + y[index], tolerance: dotTolerance(dtype, 2, 2 * LARGEST) };
    const want = x[index] * (1 + scale[row]) + shift[row];
    return { want, tolerance: dotTolerance(dtype, 2, LARGEST ** 2) };
  };
}

/** The first, the last and `more` seeded indices of `n`. */
export function sampleIndices(n: number, more = 190): number[] {
  const u = uniform(n);
  return [0, n - 1, ...Array.from({ length: more }, () => Math.floor(u() * n))];
}
