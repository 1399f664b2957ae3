/** reshape: the same elements under another shape, without a copy where padding allows. */
import { defineKernel, formatShape, linearGrid, numel, ShapeError, type Op, type Tensor } from '../engine/index.ts';
import { ceilDiv, rowsOf, sameShape, width4 } from './common.ts';
import shader from './copyRows.wgsl';

/** The same elements under another row length, one vec4 per invocation. */
export const copyRowsKernel = defineKernel({
  shader,
  tunables: { WG: [64, 128, 256] },
  grid: ({ rows, N4 }, t) => linearGrid(ceilDiv(rows * N4, t.WG)),
});

/** Input x; result of as many elements in row-major order. */
export const reshapeOp: Op<Record<string, never>> = {
  name: 'reshape',
  lower({ inputs: { x }, output }, to) {
    const [W, N] = [x!.shape.at(-1)!, output.shape.at(-1)!];
    to.dispatch({
      kernel: copyRowsKernel,
      params: { rows: rowsOf(output), N, N4: width4(output), W, W4: width4(x!) },
      bindings: { x, out: output },
    });
  },
};

/**
 * x under another shape of as many elements, in row-major order. Free where the bytes are the same: dense tensors,
 * equal last dimensions, or last dimensions that are multiples of four; otherwise one copy.
 * @throws ShapeError when the number of elements differs.
 */
export function reshape(x: Tensor, shape: readonly number[]): Tensor {
  if (numel(shape) !== numel(x.shape)) {
    throw new ShapeError(
      `reshape: expected ${numel(x.shape)} elements (x ${formatShape(x.shape)}), got ${formatShape(shape)} = ${numel(shape)}`,
    );
  }
  if (sameShape(shape, x.shape)) return x;
  const [W, N] = [x.shape.at(-1)!, shape.at(-1)!];
  if (x.layout === 'dense' || W === N || (W % 4 === 0 && N % 4 === 0)) return x.graph.view(x, shape);
  return x.graph.record(reshapeOp, { x }, {}, shape);
}
