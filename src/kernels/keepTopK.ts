/** keepTopK: the K largest elements of every row, zeros elsewhere. */
import {
  defineKernel,
  formatShape,
  InvalidArgumentError,
  linearGrid,
  ShapeError,
  type Op,
  type Tensor,
} from '../engine/index.ts';
import { ACTIVATIONS, activationCode, ceilDiv, rowsOf, width4, type Activation } from './common.ts';
import shader from './keepTopK.wgsl';

/** One vec4 per invocation, which ranks it in its row. */
export const keepTopKKernel = defineKernel({
  shader,
  tunables: { WG: [64, 128, 256], BY_MAGNITUDE: [false, true], ACT: Object.values(ACTIVATIONS) },
  grid: ({ M, D4 }, t) => linearGrid(ceilDiv(M * D4, t.WG)),
});

interface TopKAttrs {
  k: number;
  by: 'value' | 'magnitude';
  act: Activation;
}

const keepTopKOp: Op<TopKAttrs> = {
  name: 'keepTopK',
  lower({ inputs: { x }, attrs: { k, by, act }, output }, to) {
    const M = rowsOf(x!);
    const D = x!.shape.at(-1)!;
    to.dispatch({
      kernel: keepTopKKernel,
      tunables: { BY_MAGNITUDE: by === 'magnitude', ACT: activationCode(act) },
      params: { M, D, D4: width4(x!), K: k },
      bindings: { input: x, out: output },
      flops: M * D * D,
    });
  },
};

/**
 * x [...,D] → the same shape: act(x) at the k largest elements of each row (of equal ones the first), 0 elsewhere.
 * @throws ShapeError unless x is in rows; InvalidArgumentError unless k is an integer of 1 … D.
 */
export function keepTopK(x: Tensor, options: { k: number; by?: 'value' | 'magnitude'; act?: Activation }): Tensor {
  const { k, by = 'value', act = 'none' } = options;
  const D = x.shape.at(-1)!;
  if (x.layout !== 'rows')
    throw new ShapeError(`keepTopK: expected x [...,D] in rows, got dense ${formatShape(x.shape)}`);
  if (!Number.isInteger(k) || k < 1 || k > D)
    throw new InvalidArgumentError(`keepTopK: expected k of 1 … ${D}, got ${k}`);
  return x.graph.record(keepTopKOp, { x }, { k, by, act }, x.shape);
}
