/** Average pooling by two. */
import { defineKernel, formatShape, linearGrid, ShapeError, type Op, type Tensor } from '../engine/index.ts';
import shader from './avgPool2.wgsl';
import { ceilDiv, expectRank, width4 } from './common.ts';

/** Means of 2×2 pixels, one vec4 of channels per invocation. */
export const avgPool2Kernel = defineKernel({
  shader,
  tunables: { WG: [64, 128, 256] },
  grid: ({ B, H, W, C4 }, t) => linearGrid(ceilDiv(B * Math.floor(H / 2) * Math.floor(W / 2) * C4, t.WG)),
});

/** Input x [B,H,W,C]; result [B,⌊H/2⌋,⌊W/2⌋,C]. */
export const avgPool2Op: Op<Record<string, never>> = {
  name: 'avgPool2',
  lower({ inputs: { x }, output }, to) {
    const [B, H, W] = x!.shape;
    to.dispatch({
      kernel: avgPool2Kernel,
      params: { B, H, W, C4: width4(output) },
      bindings: { input: x, out: output },
    });
  },
};

/** x [B,H,W,C] → [B,⌊H/2⌋,⌊W/2⌋,C], means of 2 × 2 pixels. @throws ShapeError unless x is [B,H,W,C] with H, W ≥ 2. */
export function avgPool2(x: Tensor): Tensor {
  expectRank('avgPool2', 'x', x, 4, '[B,H,W,C]');
  const [B, H, W, C] = x.shape;
  if (H < 2 || W < 2) throw new ShapeError(`avgPool2: expected at least 2 × 2 pixels, got ${formatShape(x.shape)}`);
  return x.graph.record(avgPool2Op, { x }, {}, [B, Math.floor(H / 2), Math.floor(W / 2), C]);
}
