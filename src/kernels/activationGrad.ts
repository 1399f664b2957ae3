/** The gradient of an activation, and of the affine in front of it. */
import { defineKernel, linearGrid, numel, type Op, type Tensor } from '../engine/index.ts';
import shader from './activationGrad.wgsl';
import { ACTIVATIONS, ceilDiv, expectSame, width4 } from './common.ts';

/** Elementwise, one vec4 per invocation. */
export const activationGradKernel = defineKernel({
  shader,
  tunables: {
    WG: [64, 128, 256],
    ACT: [ACTIVATIONS.silu, ACTIVATIONS.none, ACTIVATIONS.relu],
    HAS_SCALE: [false, true],
  },
  grid: ({ B, P, C4 }, t) => linearGrid(ceilDiv(B * P * C4, t.WG)),
});

/** Activations whose derivative is built. */
export type GradActivation = 'none' | 'silu' | 'relu';

const activationGradOp: Op<{ act: GradActivation }> = {
  name: 'activationGrad',
  lower({ inputs: { g, a, scale }, attrs: { act }, output }, to) {
    to.dispatch({
      kernel: activationGradKernel,
      tunables: { ACT: ACTIVATIONS[act], HAS_SCALE: scale !== undefined },
      params: { B: output.shape[0], P: numel(output.shape.slice(1, -1)), C4: width4(output) },
      bindings: { g, a, scale, out: output },
    });
  },
};

/**
 * g·act′(a)·(1 + scale) of g's shape: by x, where act(x·(1 + scale) + shift) was computed and a is what act was given.
 * @param a of g's shape
 * @param options.scale [B,C]
 * @throws ShapeError when a or scale do not fit.
 */
export function activationGrad(g: Tensor, a: Tensor, { act, scale }: { act: GradActivation; scale?: Tensor }): Tensor {
  expectSame('activationGrad', 'a', a, g.shape);
  if (scale) expectSame('activationGrad', 'scale', scale, [g.shape[0], g.shape.at(-1)!]);
  return g.graph.record(activationGradOp, { g, a, scale }, { act }, g.shape);
}
