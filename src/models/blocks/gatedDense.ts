/** A linear layer whose first half of channels is gated by its second, without the two ever standing side by side. */
import { formatShape, ShapeError, weightRows, type Tensor } from '../../engine/index.ts';
import { linearOp, mul, packMatrix, packVector, type Activation } from '../../kernels/index.ts';
import type { WeightScope } from '../weightScope.ts';

/**
 * x [B,T,D] → a·act(b), [B,T,inner], where [a, b] = x·Wᵀ + bias with W [2·inner,D].
 * @throws ShapeError when x is dense.
 */
export function gatedDense(w: WeightScope, x: Tensor, inner: number, act: Activation): Tensor {
  if (x.layout !== 'rows') throw new ShapeError(`${w.path}: expected x in rows, got dense ${formatShape(x.shape)}`);
  const g = x.graph;
  const weight = w.param('weight', [2 * inner, x.shape.at(-1)!]);
  const bias = w.param('bias', [2 * inner]);
  const half = (from: number, activation: Activation) => {
    const inputs = {
      x,
      weight: g.constant(weightRows(weight, from, from + inner), packMatrix, g.dtype),
      bias: g.constant(weightRows(bias, from, from + inner), packVector, 'f32'),
    };
    return g.record(linearOp, inputs, { act: activation, scale: 1 }, [...x.shape.slice(0, -1), inner]);
  };
  return g.scope(w.path, () => mul(half(0, 'none'), half(inner, act))); // [B,T,inner]
}
