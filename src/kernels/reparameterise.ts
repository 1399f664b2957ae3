/** A draw from a Gaussian whose mean and spread a network gives. */
import { defineKernel, linearGrid, ShapeError, formatShape, type Op, type Tensor } from '../engine/index.ts';
import { ceilDiv, expectSame, rowsOf, width4 } from './common.ts';
import shader from './reparameterise.wgsl';

/** One vec4 per invocation. */
export const reparameteriseKernel = defineKernel({
  shader,
  tunables: { WG: [64, 128, 256] },
  grid: ({ count }, t) => linearGrid(ceilDiv(count, t.WG)),
});

const reparameteriseOp: Op<{ factor: number }> = {
  name: 'reparameterise',
  lower({ inputs: { mean, logScale, noise }, attrs: { factor }, output }, to) {
    to.dispatch({
      kernel: reparameteriseKernel,
      params: { count: rowsOf(mean!) * width4(mean!), factor },
      bindings: { mean, logScale, noise, out: output },
    });
  },
};

/**
 * mean + σ·noise, all of one shape, in rows. Kingma & Welling 2014, section 2.4.
 * @param spread `{ logSigma }` or `{ logVariance }`.
 * @throws ShapeError for other shapes.
 */
export function reparameterise(
  mean: Tensor,
  spread: { logSigma: Tensor } | { logVariance: Tensor },
  noise: Tensor,
): Tensor {
  const [logScale, factor] = 'logSigma' in spread ? [spread.logSigma, 1] : [spread.logVariance, 0.5];
  for (const [name, t] of Object.entries({ mean, logScale, noise })) {
    expectSame('reparameterise', name, t, mean.shape);
    if (t.layout !== 'rows')
      throw new ShapeError(`reparameterise: expected ${name} in rows, got dense ${formatShape(t.shape)}`);
  }
  return mean.graph.record(reparameteriseOp, { mean, logScale, noise }, { factor }, mean.shape);
}
