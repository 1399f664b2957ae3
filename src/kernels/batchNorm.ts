/** batchNorm as it runs after training: an affine map per channel, whose statistics are weights. */
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
import { ACTIVATIONS, activationCode, ceilDiv, rowsOf, width4, type Activation } from './common.ts';
import shader from './batchNorm.wgsl';
import { packVector } from './packing.ts';

/** One vec4 per invocation. */
export const batchNormKernel = defineKernel({
  shader,
  tunables: { WG: [64, 128, 256], ACT: Object.values(ACTIVATIONS) },
  grid: ({ count }, t) => linearGrid(ceilDiv(count, t.WG)),
});

interface BatchNormAttrs {
  eps: number;
  act: Activation;
}

const batchNormOp: Op<BatchNormAttrs> = {
  name: 'batchNorm',
  lower({ inputs: { x, gamma, beta, mean, variance }, attrs: { eps, act }, output }, to) {
    const C4 = width4(x!);
    to.dispatch({
      kernel: batchNormKernel,
      tunables: { ACT: activationCode(act) },
      params: { count: rowsOf(x!) * C4, C4, eps },
      bindings: { input: x, gamma, beta, mean, variance, out: output },
    });
  },
};

/**
 * x [...,C] → act((x − mean) / √(variance + eps) · weight + bias), the same shape. Ioffe & Szegedy 2015, algorithm 2.
 * @throws ShapeError unless x is in rows and every weight is [C]; InvalidArgumentError for an eps that is not positive,
 * or a sigmoid.
 */
export function batchNorm(
  x: Tensor,
  weights: { weight: Weight; bias: Weight; mean: Weight; variance: Weight },
  { eps = 1e-5, act = 'none' }: { eps?: number; act?: Activation } = {},
): Tensor {
  if (x.layout !== 'rows')
    throw new ShapeError(`batchNorm: expected x [...,C] in rows, got dense ${formatShape(x.shape)}`);
  if (!(eps > 0 && eps < Infinity) || act === 'sigmoid') {
    throw new InvalidArgumentError(`batchNorm: expected eps above 0 and no sigmoid, got ${eps} and ${act}`);
  }
  const C = x.shape.at(-1)!;
  for (const [name, w] of Object.entries(weights)) {
    if (w.shape.length !== 1 || w.shape[0] !== C) {
      throw new ShapeError(`batchNorm: expected ${name} [${C}], got ${w.key} ${formatShape(w.shape)}`);
    }
  }
  const vector = (w: Weight) => x.graph.constant(w, packVector, 'f32');
  const { weight, bias, mean, variance } = weights;
  const inputs = { x, gamma: vector(weight), beta: vector(bias), mean: vector(mean), variance: vector(variance) };
  return x.graph.record(batchNormOp, inputs, { eps, act }, x.shape);
}
