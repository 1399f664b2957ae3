/** Gradients of halving and doubling a map, and of its mean. */
import { defineKernel, formatShape, linearGrid, ShapeError, type Op, type Tensor } from '../engine/index.ts';
import shader from './avgPool2Grad.wgsl';
import { avgPool2 } from './avgPool2.ts';
import { ceilDiv, expectRank, expectSame, width4 } from './common.ts';
import { reshape } from './copyRows.ts';
import { unary } from './elementwise.ts';
import meanShader from './pixelMean.wgsl';
import { upsampleNearest } from './upsampleNearest.ts';

/** A quarter of each pixel to the four it was the mean of, one vec4 per invocation. */
export const avgPool2GradKernel = defineKernel({
  shader,
  tunables: { WG: [64, 128, 256] },
  grid: ({ B, H, W, C4 }, t) => linearGrid(ceilDiv(B * H * W * C4, t.WG)),
});

const avgPool2GradOp: Op<Record<string, never>> = {
  name: 'avgPool2Grad',
  lower({ inputs: { g }, output }, to) {
    const [B, H, W] = output.shape;
    to.dispatch({
      kernel: avgPool2GradKernel,
      params: { B, H, W, C4: width4(output) },
      bindings: { g, out: output },
    });
  },
};

/** Gradient of avgPool2 by its input: g [B,⌊H/2⌋,⌊W/2⌋,C] → [B,height,width,C]. @throws ShapeError for another g. */
export function avgPool2Grad(g: Tensor, { height, width }: { height: number; width: number }): Tensor {
  const [B, , , C] = g.shape;
  expectSame('avgPool2Grad', 'g', g, [B, Math.floor(height / 2), Math.floor(width / 2), C]);
  return g.graph.record(avgPool2GradOp, { g }, {}, [B, height, width, C]);
}

/**
 * Gradient of upsampleNearest to twice the size: g [B,2H,2W,C] → [B,H,W,C], sums of 2×2. @throws ShapeError on odd
 * sizes
 */
export function upsampleNearest2Grad(g: Tensor): Tensor {
  const [, H, W] = g.shape;
  if (H % 2 !== 0 || W % 2 !== 0) {
    throw new ShapeError(`upsampleNearest2Grad: expected even height and width, got ${formatShape(g.shape)}`);
  }
  return unary(avgPool2(g), { alpha: 4 });
}

/** Means of one vec4 of channels over all pixels per invocation. */
export const pixelMeanKernel = defineKernel({
  shader: meanShader,
  tunables: { WG: [64, 128, 256] },
  grid: ({ B, C4 }, t) => linearGrid(ceilDiv(B * C4, t.WG)),
});

const pixelMeanOp: Op<Record<string, never>> = {
  name: 'pixelMean',
  lower({ inputs: { x }, output }, to) {
    const [B, H, W] = x!.shape;
    to.dispatch({
      kernel: pixelMeanKernel,
      params: { B, P: H * W, C4: width4(output) },
      bindings: { input: x, out: output },
    });
  },
};

/** x [B,H,W,C] → [B,C], means over the pixels. @throws ShapeError unless x is [B,H,W,C]. */
export function pixelMean(x: Tensor): Tensor {
  expectRank('pixelMean', 'x', x, 4, '[B,H,W,C]');
  return x.graph.record(pixelMeanOp, { x }, {}, [x.shape[0], x.shape[3]]);
}

/** Gradient of pixelMean: g [B,C] → [B,height,width,C], the same everywhere. @throws ShapeError unless g is [B,C]. */
export function pixelMeanGrad(g: Tensor, { height, width }: { height: number; width: number }): Tensor {
  expectRank('pixelMeanGrad', 'g', g, 2, '[B,C]');
  const [B, C] = g.shape;
  const share = unary(g, { alpha: 1 / (height * width) }); // [B,C]
  return upsampleNearest(reshape(share, [B, 1, 1, C]), { height, width }); // [B,H,W,C]
}
