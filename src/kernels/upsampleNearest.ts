/** Nearest-neighbour resampling to any size. */
import { defineKernel, InvalidArgumentError, linearGrid, type Op, type Tensor } from '../engine/index.ts';
import { ceilDiv, expectRank, width4 } from './common.ts';
import shader from './upsampleNearest.wgsl';

/** Nearest neighbour to any size, one vec4 per invocation. */
export const upsampleNearestKernel = defineKernel({
  shader,
  tunables: { WG: [64, 128, 256] },
  grid: ({ B, height, width, C4 }, t) => linearGrid(ceilDiv(B * height * width * C4, t.WG)),
});

/** Input x [B,H,W,C]; result [B,height,width,C]. */
export const upsampleNearestOp: Op<Record<string, never>> = {
  name: 'upsampleNearest',
  lower({ inputs: { x }, output }, to) {
    const [B, H, W] = x!.shape;
    const [, height, width] = output.shape;
    to.dispatch({
      kernel: upsampleNearestKernel,
      params: { B, H, W, height, width, C4: width4(output) },
      bindings: { input: x, out: output },
    });
  },
};

/**
 * x [B,H,W,C] → [B,height,width,C]: pixel y takes ⌊y·H/height⌋, as PyTorch's `nearest` does; smaller sizes too.
 * @throws ShapeError unless x is [B,H,W,C]; InvalidArgumentError for sizes that are no positive integers.
 */
export function upsampleNearest(x: Tensor, { height, width }: { height: number; width: number }): Tensor {
  expectRank('upsampleNearest', 'x', x, 4, '[B,H,W,C]');
  if (![height, width].every((n) => Number.isInteger(n) && n > 0)) {
    throw new InvalidArgumentError(`upsampleNearest: expected positive integer sizes, got ${height} × ${width}`);
  }
  return x.graph.record(upsampleNearestOp, { x }, {}, [x.shape[0], height, width, x.shape[3]]);
}
