/** Pooling over square windows of any side and stride. */
import {
  defineKernel,
  formatShape,
  InvalidArgumentError,
  linearGrid,
  ShapeError,
  type Op,
  type Tensor,
} from '../engine/index.ts';
import { ceilDiv, expectRank, width4 } from './common.ts';
import shader from './pool2d.wgsl';

/** The largest or the mean of each window, one vec4 per invocation. */
export const pool2dKernel = defineKernel({
  shader,
  tunables: { WG: [64, 128, 256], SIDE: [5, 2, 3], MEAN: [false, true] },
  grid: ({ B, height, width, C4 }, t) => linearGrid(ceilDiv(B * height * width * C4, t.WG)),
});

interface PoolAttrs {
  side: number;
  stride: number;
  padding: number;
  mean: boolean;
}

/** Input x [B,H,W,C]; result [B,height,width,C]. */
export const pool2dOp: Op<PoolAttrs> = {
  name: 'pool2d',
  lower({ inputs: { x }, attrs: { side, stride, padding, mean }, output }, to) {
    const [B, H, W] = x!.shape;
    const [, height, width] = output.shape;
    to.dispatch({
      kernel: pool2dKernel,
      tunables: { SIDE: side, MEAN: mean },
      params: { B, H, W, height, width, C4: width4(output), stride, pad: padding },
      bindings: { input: x, out: output },
    });
  },
};

/** The windows; pixels. */
export interface PoolOptions {
  /** Side of a window, ≥ 1. */
  side: number;
  /** From window to window, ≥ 1; default the side. */
  stride?: number;
  /** Around the map, 0 … side/2; default 0. */
  padding?: number;
}

function pool(where: string, x: Tensor, { side, stride = side, padding = 0 }: PoolOptions, mean: boolean): Tensor {
  expectRank(where, 'x', x, 4, '[B,H,W,C]');
  const whole = [side, stride, padding].every(Number.isInteger);
  if (!whole || side < 1 || stride < 1 || padding < 0 || 2 * padding > side) {
    throw new InvalidArgumentError(
      `${where}: expected side and stride ≥ 1 and a padding in 0 … side/2, got ${side}, ${stride}, ${padding}`,
    );
  }
  const [B, H, W, C] = x.shape;
  const size = (n: number): number => Math.floor((n + 2 * padding - side) / stride) + 1;
  if (size(H) < 1 || size(W) < 1) {
    throw new ShapeError(`${where}: expected at least ${side} × ${side} pixels, got ${formatShape(x.shape)}`);
  }
  return x.graph.record(pool2dOp, { x }, { side, stride, padding, mean }, [B, size(H), size(W), C]);
}

/**
 * x [B,H,W,C] → [B,H',W',C], the largest of each window; the border does not count. `nn.MaxPool2d`.
 * @throws ShapeError unless x is [B,H,W,C] and large enough; InvalidArgumentError for a window out of range.
 */
export const maxPool2d = (x: Tensor, options: PoolOptions) => pool('maxPool2d', x, options, false);

/**
 * x [B,H,W,C] → [B,H',W',C], the mean of each window; the border counts as zeros. `nn.AvgPool2d`.
 * @throws ShapeError unless x is [B,H,W,C] and large enough; InvalidArgumentError for a window out of range.
 */
export const avgPool2d = (x: Tensor, options: PoolOptions) => pool('avgPool2d', x, options, true);
