/** Adaptive layer norm: a condition scales and shifts what was normalised, and gates what is added. */
import type { Tensor } from '../../engine/index.ts';
import { add, layerNorm, mul, scaleShift, slice, unary } from '../../kernels/index.ts';
import { dense } from '../layers.ts';
import type { WeightScope } from '../weightScope.ts';

/** Of all norms without weights in these architectures. */
export const EPS = 1e-6;

/** A condition, activated and projected to `count` vectors: [B,D] → `count` times [B,width]. */
export function modulation(w: WeightScope, condition: Tensor, width: number, count: number): Tensor[] {
  const all = dense(w, condition, count * width); // [B,count·width]
  return all.graph.scope(w.path, () => cut(all, width, count));
}

const cut = (all: Tensor, width: number, count: number) =>
  Array.from({ length: count }, (_, i) => slice(all, i * width, (i + 1) * width));

/** silu of a condition [B,D], which every projection of it starts with. */
export const activated = (condition: Tensor): Tensor => unary(condition, { act: 'silu' });

/** norm(x)·(1 + scale) + shift: x [B,T,D], scale and shift [B,D] → [B,T,D]. Peebles & Xie 2023, section 3.2. */
export function adaptiveNorm(x: Tensor, scale: Tensor, shift: Tensor, eps = EPS): Tensor {
  return scaleShift(layerNorm(x, undefined, undefined, { eps }), scale, shift); // [B,T,D]
}

/** x + gate·y: x, y [B,T,D], gate [B,D] → [B,T,D]. */
export function gatedAdd(x: Tensor, y: Tensor, gate: Tensor): Tensor {
  return add(mul(y, gate), x); // [B,T,D]
}

/** The norm before the last projection, whose scale comes before its shift (`AdaLayerNormContinuous`). */
export function continuousNorm(w: WeightScope, x: Tensor, condition: Tensor): Tensor {
  const [scale, shift] = modulation(w.at('linear'), condition, x.shape[2], 2); // [B,D]
  return adaptiveNorm(x, scale, shift); // [B,T,D]
}
