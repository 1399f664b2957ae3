/** The public edge of tokens: padded rows of the storage type inside, dense f32 outside. */
import type { Tensor } from '../../engine/index.ts';
import { reshape, toNchw } from '../../kernels/index.ts';
import { rowsOf } from '../../kernels/common.ts';

/** x […,D] in rows → the same shape, dense f32. */
export function denseRows(x: Tensor): Tensor {
  const D = x.shape.at(-1)!;
  // A map of one pixel per row: its channels come out in the order they are in.
  return reshape(toNchw(reshape(x, [rowsOf(x), 1, 1, D])), x.shape);
}
