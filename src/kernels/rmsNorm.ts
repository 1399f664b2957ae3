/** rmsNorm over the last dimension, with or without a weight. */
import {
  defineKernel,
  formatShape,
  InvalidArgumentError,
  linearGrid,
  ShapeError,
  type Op,
  type Tensor,
  type Weight,
} from '../engine/index.ts';
import { ceilDiv, rowsOf, width4 } from './common.ts';
import { packVector } from './packing.ts';
import shader from './rmsNorm.wgsl';

/** One team of LANES invocations per row. */
export const rmsNormKernel = defineKernel({
  shader,
  tunables: { WG: [64, 128, 256], LANES: [64, 1, 8, 32], HAS_GAMMA: [true, false], IN_PLACE: [false, true] },
  grid: ({ M }, t) => linearGrid(ceilDiv(M, t.WG / t.LANES)),
});

const rmsNormOp: Op<{ eps: number }> = {
  name: 'rmsNorm',
  lower({ inputs: { x, gamma }, attrs: { eps }, output }, to) {
    const M = rowsOf(x!);
    const D = x!.shape.at(-1)!;
    const D4 = width4(x!);
    // The heads of an attention are short rows: a team no wider than they are.
    const LANES = to.caps.software ? 1 : ([8, 32].find((lanes) => lanes >= D4) ?? 64);
    to.dispatch({
      kernel: rmsNormKernel,
      tunables: { LANES, HAS_GAMMA: gamma !== undefined },
      params: { M, D, D4, eps },
      bindings: { input: x, gamma, out: output },
      inPlace: 'input',
      flops: 4 * M * D,
    });
  },
};

/**
 * x [..., D] → the same shape: each row divided by the root of its mean square, times weight [D].
 * Zhang & Sennrich 2019.
 * @throws ShapeError when x is not in rows, or weight is not [D]; InvalidArgumentError for a negative eps.
 */
export function rmsNorm(x: Tensor, weight: Weight | undefined, { eps }: { eps: number }): Tensor {
  if (x.layout !== 'rows') {
    throw new ShapeError(`rmsNorm: expected x [...,D] in rows, got dense ${formatShape(x.shape)}`);
  }
  if (!(eps >= 0 && eps < Infinity)) throw new InvalidArgumentError(`rmsNorm: expected eps of 0 or more, got ${eps}`);
  const D = x.shape.at(-1)!;
  if (weight && (weight.shape.length !== 1 || weight.shape[0] !== D)) {
    throw new ShapeError(`rmsNorm: expected weight [${D}], got ${weight.key} ${formatShape(weight.shape)}`);
  }
  const g = x.graph;
  return g.record(rmsNormOp, { x, gamma: weight && g.constant(weight, packVector, 'f32') }, { eps }, x.shape);
}
