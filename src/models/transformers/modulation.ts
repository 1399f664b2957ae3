/** Adaptive layer norm: a condition scales and shifts what was normalised, and gates what is added. */
import type { Tensor } from '../../engine/index.ts';
import { add, layerNorm, mul, scaleShift, slice, unary } from '../../kernels/index.ts';
import * as fused from '../../kernels/modulation.ts';
import { dense } from '../layers.ts';
import type { WeightScope } from '../weightScope.ts';

/** Of all norms without weights in these architectures. */
export const EPS = 1e-6;

/** Vectors that a condition was projected to, side by side in one tensor [B,count·width]. */
export interface Modulation {
  readonly all: Tensor;
  readonly width: number;
}

/** A condition, activated, and projected to `count` vectors: [B,D] → `count` times [B,width]. */
export function modulation(w: WeightScope, condition: Tensor, width: number, count: number): Modulation {
  return { all: dense(w, condition, count * width), width }; // [B,count·width]
}

/** One of them, [B,width]. */
export const vector = ({ all, width }: Modulation, i: number): Tensor => slice(all, i * width, (i + 1) * width);

/** silu of a condition [B,D], which every projection of it starts with. */
export const activated = (condition: Tensor): Tensor => unary(condition, { act: 'silu' });

/** norm(x)·(1 + scale) + shift: x [B,T,D] → [B,T,D], by two of the vectors. Peebles & Xie 2023, section 3.2. */
export function adaptiveNorm(
  x: Tensor,
  m: Modulation,
  { scale, shift }: { scale: number; shift: number },
  eps = EPS,
): Tensor {
  const { all, width } = m;
  if (width % 4 === 0) {
    return fused.adaptiveNorm(x, all, { scale: scale * width, shift: shift * width, eps }); // [B,T,D]
  }
  return scaleShift(layerNorm(x, undefined, undefined, { eps }), vector(m, scale), vector(m, shift)); // [B,T,D]
}

/** x + gate·y: x, y [B,T,D] → [B,T,D], the gate one of the vectors. */
export function gatedAdd(x: Tensor, y: Tensor, m: Modulation, gate: number): Tensor {
  if (m.width % 4 === 0) return fused.gatedAdd(x, y, m.all, gate * m.width); // [B,T,D]
  return add(mul(y, vector(m, gate)), x); // [B,T,D]
}

/** The norm before the last projection, whose scale comes before its shift (`AdaLayerNormContinuous`). */
export function continuousNorm(w: WeightScope, x: Tensor, condition: Tensor): Tensor {
  return adaptiveNorm(x, modulation(w.at('linear'), condition, x.shape[2], 2), { scale: 0, shift: 1 }); // [B,T,D]
}
