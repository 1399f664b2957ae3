/**
 * Work of one operation, told so that any runtime can do it: shapes and data, no kernels. Activations channels last.
 */
import type { ConvCase } from '../../test/reference/conv.ts';
import { convHeight, convWidth } from '../../test/reference/conv.ts';
import { normals, roundTo } from '../../test/support/random.ts';

/** x [M,K] · w [N,K]ᵀ + b [N] */
export interface MatmulProblem {
  op: 'matmul';
  M: number;
  N: number;
  K: number;
}

/** x [B,H,W,I] with w [O,I,R,S], plus b [O] → [B,OH,OW,O] */
export interface ConvProblem extends ConvCase {
  op: 'conv2d';
}

/** x [B,H,W,C], w and b [C], then SiLU */
export interface GroupNormProblem {
  op: 'groupNorm';
  B: number;
  H: number;
  W: number;
  C: number;
  groups: number;
  eps: number;
}

/** x [M,D], w and b [D] */
export interface LayerNormProblem {
  op: 'layerNorm';
  M: number;
  D: number;
  eps: number;
}

/** softmax(q kᵀ/√d)·v; q [B,T,heads·d], k and v [B,S,heads·d] */
export interface AttentionProblem {
  op: 'attention';
  B: number;
  T: number;
  S: number;
  heads: number;
  /** Channels per head. */
  d: number;
}

/** SiLU of x, x + y, or x·(1 + scale) + shift with scale and shift [B,C]; x, y [B,H,W,C] */
export interface ElementwiseProblem {
  op: 'elementwise';
  kind: 'silu' | 'add' | 'scaleShift';
  B: number;
  H: number;
  W: number;
  C: number;
}

export type Problem =
  MatmulProblem | ConvProblem | GroupNormProblem | LayerNormProblem | AttentionProblem | ElementwiseProblem;

export interface Operand {
  shape: readonly number[];
  /** Vectors of norms and biases are f32 in either dtype. */
  vector?: boolean;
  std?: number;
  mean?: number;
}

/** Inputs and weights by name, and the shape of the result. */
export interface Operands {
  inputs: Record<string, Operand>;
  weights: Record<string, Operand>;
  out: readonly number[];
}

export type ProblemData = Readonly<Record<string, Float32Array>>;

/** What a problem reads and writes. */
export function operands(p: Problem): Operands {
  switch (p.op) {
    case 'matmul':
      return {
        inputs: { x: { shape: [p.M, p.K] } },
        weights: { w: { shape: [p.N, p.K], std: 1 / Math.sqrt(p.K) }, b: { shape: [p.N], vector: true } },
        out: [p.M, p.N],
      };
    case 'conv2d':
      return {
        inputs: { x: { shape: [p.B, p.H, p.W, p.I] } },
        weights: {
          w: { shape: [p.O, p.I, p.R, p.S], std: 1 / Math.sqrt(p.I * p.R * p.S) },
          b: { shape: [p.O], vector: true },
        },
        out: [p.B, convHeight(p), convWidth(p), p.O],
      };
    case 'groupNorm':
      return {
        inputs: { x: { shape: [p.B, p.H, p.W, p.C], mean: 0.5 } },
        weights: affine(p.C),
        out: [p.B, p.H, p.W, p.C],
      };
    case 'layerNorm':
      return { inputs: { x: { shape: [p.M, p.D], mean: 0.5 } }, weights: affine(p.D), out: [p.M, p.D] };
    case 'attention': {
      const keys = { shape: [p.B, p.S, p.heads * p.d] };
      const out = [p.B, p.T, p.heads * p.d];
      return { inputs: { q: { shape: out }, k: keys, v: keys }, weights: {}, out };
    }
    case 'elementwise': {
      const x = { shape: [p.B, p.H, p.W, p.C] };
      const row = { shape: [p.B, p.C] };
      const more: Record<typeof p.kind, Record<string, Operand>> = {
        silu: {},
        add: { y: x },
        scaleShift: { scale: row, shift: row },
      };
      return { inputs: { x, ...more[p.kind] }, weights: {}, out: x.shape };
    }
  }
}

function affine(width: number): Record<string, Operand> {
  return { w: { shape: [width], vector: true, mean: 1, std: 0.2 }, b: { shape: [width], vector: true } };
}

export const count = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);

/** Arithmetic of the formula, multiply and add as two; 0 for work that memory bounds. */
export function flopsOf(p: Problem): number {
  if (p.op === 'matmul') return 2 * p.M * p.N * p.K;
  if (p.op === 'conv2d') return 2 * count(operands(p).out) * p.I * p.R * p.S;
  if (p.op === 'attention') return 4 * p.B * p.heads * p.T * p.S * p.d;
  return 0;
}

/** Bytes of all operands, each once: the least that has to move. */
export function bytesOf(p: Problem, dtype: 'f32' | 'f16'): number {
  const { inputs, weights, out } = operands(p);
  const size = dtype === 'f32' ? 4 : 2;
  const all = [...Object.values(inputs), ...Object.values(weights), { shape: out }];
  return all.reduce((sum, { shape, vector }: Operand) => sum + count(shape) * (vector ? 4 : size), 0);
}

/** Normals are made once and repeated: the period is prime, so no row or channel sees the same values as the next. */
const PERIOD = 65537;

/** Seeded data of a problem, as the storage type holds it. */
export function problemData(p: Problem, dtype: 'f32' | 'f16'): ProblemData {
  const { inputs, weights } = operands(p);
  const data: Record<string, Float32Array> = {};
  Object.entries({ ...inputs, ...weights }).forEach(([name, { shape, vector, mean = 0, std = 1 }], i) => {
    const round = (values: Float32Array) => roundTo(vector ? 'f32' : dtype, values);
    data[name] = seeded(i + 1, count(shape), { mean, std }, round);
  });
  return data;
}

/** `n` seeded normals, rounded. */
export function seeded(
  seed: number,
  n: number,
  form: { mean?: number; std?: number },
  round: (values: Float32Array) => Float32Array,
): Float32Array {
  const few = round(normals(seed, Math.min(PERIOD, n), form));
  const all = new Float32Array(n);
  for (let at = 0; at < n; at += few.length) all.set(few.subarray(0, n - at), at);
  return all;
}
