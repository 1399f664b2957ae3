/** Naive f64 truth of normalisation; channels last. */
import { activation, type ActivationName } from './activation.ts';

export interface NormExtras {
  gamma?: ArrayLike<number>;
  beta?: ArrayLike<number>;
  act?: ActivationName;
  eps: number;
}

/** Mean and standard deviation (eps included) of the given elements. */
function moments(x: ArrayLike<number>, indices: readonly number[], eps: number): { mean: number; std: number } {
  let mean = 0;
  for (const i of indices) mean += x[i] / indices.length;
  let variance = 0;
  for (const i of indices) variance += (x[i] - mean) ** 2 / indices.length;
  return { mean, std: Math.sqrt(variance + eps) };
}

export interface NormResult {
  out: Float64Array;
  /**
   * Per output: the largest |x| of its set over the set's deviation, which is how much a rounding of x or mean grows.
   */
  gain: Float64Array;
}

function normalise(x: ArrayLike<number>, sets: readonly number[][], C: number, e: NormExtras): NormResult {
  const out = new Float64Array(x.length);
  const gain = new Float64Array(x.length);
  for (const set of sets) {
    const { mean, std } = moments(x, set, e.eps);
    const largest = set.reduce((a, i) => Math.max(a, Math.abs(x[i])), 0);
    for (const i of set) {
      const gamma = e.gamma?.[i % C] ?? 1;
      out[i] = activation(((x[i] - mean) / std) * gamma + (e.beta?.[i % C] ?? 0), e.act ?? 'none');
      gain[i] = (Math.abs(gamma) * largest) / std;
    }
  }
  return { out, gain };
}

/** x [B,P,C]; each batch item's `groups` runs of channels. */
export function groupNormReference(
  x: ArrayLike<number>,
  { B, P, C, groups }: { B: number; P: number; C: number; groups: number },
  e: NormExtras,
): NormResult {
  const size = C / groups;
  const sets: number[][] = [];
  for (let b = 0; b < B; b++) {
    for (let g = 0; g < groups; g++) {
      const set: number[] = [];
      for (let p = 0; p < P; p++) for (let i = 0; i < size; i++) set.push((b * P + p) * C + g * size + i);
      sets.push(set);
    }
  }
  return normalise(x, sets, C, e);
}

/** x [M,D]; each row. */
export function layerNormReference(
  x: ArrayLike<number>,
  { M, D }: { M: number; D: number },
  e: NormExtras,
): NormResult {
  const sets = Array.from({ length: M }, (_, m) => Array.from({ length: D }, (_, d) => m * D + d));
  return normalise(x, sets, D, e);
}

/** x [M,D]; each row over the root of its mean square. */
export function rmsNormReference(
  x: ArrayLike<number>,
  { M, D }: { M: number; D: number },
  { gamma, eps }: Pick<NormExtras, 'gamma' | 'eps'>,
): Float64Array {
  const out = new Float64Array(M * D);
  for (let m = 0; m < M; m++) {
    let squares = 0;
    for (let d = 0; d < D; d++) squares += x[m * D + d] ** 2 / D;
    for (let d = 0; d < D; d++) out[m * D + d] = (x[m * D + d] / Math.sqrt(squares + eps)) * (gamma?.[d] ?? 1);
  }
  return out;
}
