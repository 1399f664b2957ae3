/** Resampling to any size without aliasing: the filter is as wide as what becomes one pixel. */
import { defineKernel, InvalidArgumentError, linearGrid, type Op, type Tensor } from '../engine/index.ts';
import { ceilDiv, expectRank, width4 } from './common.ts';
import shader from './resizeAntialias.wgsl';

/** One axis, one vec4 per invocation. */
export const resizeAntialiasKernel = defineKernel({
  shader,
  // The filter is given by the call; both stand here when every variant is compiled.
  tunables: { WG: [64, 128, 256], CUBIC: [true, false] },
  grid: ({ B, length, R4 }, t) => linearGrid(ceilDiv(B * length * R4, t.WG)),
});

interface Attrs {
  axis: 1 | 2;
  filter: ResizeFilter;
}

/** Which filter; PyTorch calls them `bicubic` and `bilinear`. */
export type ResizeFilter = 'bicubic' | 'bilinear';

const resizeAntialiasOp: Op<Attrs> = {
  name: 'resizeAntialias',
  lower({ inputs: { x }, attrs: { axis, filter }, output }, to) {
    const [B, H, W] = x!.shape;
    const C4 = width4(output);
    const sizes = axis === 1 ? { B, N: H, R4: W * C4 } : { B: B * H, N: W, R4: C4 };
    to.dispatch({
      kernel: resizeAntialiasKernel,
      tunables: { CUBIC: filter === 'bicubic' },
      params: { ...sizes, length: output.shape[axis] },
      bindings: { input: x, out: output },
    });
  },
};

/** A place and its fraction are found by whole numbers: twice the places on both sides, multiplied. */
const MAX_PLACES = 32767;

/**
 * x [B,H,W,C] → [B,height,width,C] as PyTorch's `interpolate` with `antialias` and without `align_corners`: columns
 * first, then rows.
 * @throws ShapeError unless x is [B,H,W,C]; InvalidArgumentError for sizes that are no integers in 1 … 32767.
 */
export function resizeAntialias(
  x: Tensor,
  { height, width, filter = 'bicubic' }: { height: number; width: number; filter?: ResizeFilter },
): Tensor {
  expectRank('resizeAntialias', 'x', x, 4, '[B,H,W,C]');
  const [B, H, W, C] = x.shape;
  if (![H, W, height, width].every((n) => Number.isInteger(n) && n > 0 && n <= MAX_PLACES)) {
    throw new InvalidArgumentError(
      `resizeAntialias: expected integer sizes in 1 … ${MAX_PLACES}, got ${H} × ${W} to ${height} × ${width}`,
    );
  }
  const columns = W === width ? x : x.graph.record(resizeAntialiasOp, { x }, { axis: 2, filter }, [B, H, width, C]);
  if (H === height) return columns;
  return x.graph.record(resizeAntialiasOp, { x: columns }, { axis: 1, filter }, [B, height, width, C]);
}
