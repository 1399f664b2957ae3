/** A border of mirrored pixels. */
import { defineKernel, formatShape, linearGrid, ShapeError, type Op, type Tensor } from '../engine/index.ts';
import { ceilDiv, expectRank, width4 } from './common.ts';
import shader from './padReflect.wgsl';

/** A map with a mirrored border, one vec4 per invocation. */
export const padReflectKernel = defineKernel({
  shader,
  tunables: { WG: [64, 128, 256] },
  grid: ({ B, H, W, pad, C4 }, t) => linearGrid(ceilDiv(B * (H + 2 * pad) * (W + 2 * pad) * C4, t.WG)),
});

/** Input x [B,H,W,C]; result [B,H+2·pad,W+2·pad,C]. */
export const padReflectOp: Op<{ pad: number }> = {
  name: 'padReflect',
  lower({ inputs: { x }, attrs: { pad }, output }, to) {
    const [B, H, W] = x!.shape;
    to.dispatch({
      kernel: padReflectKernel,
      params: { B, H, W, C4: width4(output), pad },
      bindings: { input: x, out: output },
    });
  },
};

/**
 * x [B,H,W,C] → [B,H+2·pad,W+2·pad,C], mirrored at the edge pixels as PyTorch's `reflect` does.
 * @throws ShapeError unless x is [B,H,W,C] and pad a natural number below H and W.
 */
export function padReflect(x: Tensor, pad: number): Tensor {
  expectRank('padReflect', 'x', x, 4, '[B,H,W,C]');
  const [B, H, W, C] = x.shape;
  if (!Number.isInteger(pad) || pad < 0 || pad >= H || pad >= W) {
    throw new ShapeError(`padReflect: expected a border below height and width, got ${pad} on ${formatShape(x.shape)}`);
  }
  return x.graph.record(padReflectOp, { x }, { pad }, [B, H + 2 * pad, W + 2 * pad, C]);
}
