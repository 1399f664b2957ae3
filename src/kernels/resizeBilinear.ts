/** Bilinear resampling to any size. */
import { defineKernel, InvalidArgumentError, linearGrid, type Op, type Tensor } from '../engine/index.ts';
import { ceilDiv, expectRank, width4 } from './common.ts';
import shader from './resizeBilinear.wgsl';

/** Linear interpolation both ways, one vec4 per invocation. */
export const resizeBilinearKernel = defineKernel({
  shader,
  tunables: { WG: [64, 128, 256] },
  grid: ({ B, height, width, C4 }, t) => linearGrid(ceilDiv(B * height * width * C4, t.WG)),
});

const resizeBilinearOp: Op<{ alignCorners: boolean }> = {
  name: 'resizeBilinear',
  lower({ inputs: { x }, attrs: { alignCorners }, output }, to) {
    const [B, H, W] = x!.shape;
    const [, height, width] = output.shape;
    const [rows, columns] = [place(H, height, alignCorners), place(W, width, alignCorners)];
    to.dispatch({
      kernel: resizeBilinearKernel,
      params: {
        B,
        H,
        W,
        height,
        width,
        C4: width4(output),
        scaleY: rows.scale,
        offsetY: rows.offset,
        scaleX: columns.scale,
        offsetX: columns.offset,
      },
      bindings: { input: x, out: output },
    });
  },
};

/** Where output pixel i lies on the input: i·scale + offset. */
function place(from: number, to: number, alignCorners: boolean): { scale: number; offset: number } {
  if (alignCorners) return { scale: to > 1 ? (from - 1) / (to - 1) : 0, offset: 0 };
  return { scale: from / to, offset: from / to / 2 - 0.5 };
}

/**
 * x [B,H,W,C] → [B,height,width,C] as PyTorch's `bilinear` without antialiasing. Pixels are squares whose edges meet
 * the picture's, or with `alignCorners` (default false) points whose outermost stay.
 * @throws ShapeError unless x is [B,H,W,C]; InvalidArgumentError for sizes that are no positive integers.
 */
export function resizeBilinear(
  x: Tensor,
  { height, width, alignCorners = false }: { height: number; width: number; alignCorners?: boolean },
): Tensor {
  expectRank('resizeBilinear', 'x', x, 4, '[B,H,W,C]');
  if (![height, width].every((n) => Number.isInteger(n) && n > 0)) {
    throw new InvalidArgumentError(`resizeBilinear: expected positive integer sizes, got ${height} × ${width}`);
  }
  return x.graph.record(resizeBilinearOp, { x }, { alignCorners }, [x.shape[0], height, width, x.shape[3]]);
}
