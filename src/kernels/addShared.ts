/** A sum with one table for all items of a batch: position embeddings. */
import { defineKernel, formatShape, linearGrid, numel, ShapeError, type Op, type Tensor } from '../engine/index.ts';
import { ceilDiv, rowsOf, sameShape, width4 } from './common.ts';
import shader from './addShared.wgsl';

/** Items plus one table, one vec4 per invocation. */
export const addSharedKernel = defineKernel({
  shader,
  tunables: { WG: [64, 128, 256] },
  grid: ({ count }, t) => linearGrid(ceilDiv(count, t.WG)),
});

const addSharedOp: Op<Record<string, never>> = {
  name: 'addShared',
  lower({ inputs: { x, table }, output }, to) {
    const count = rowsOf(x!) * width4(x!);
    to.dispatch({
      kernel: addSharedKernel,
      params: { count, N4: count / x!.shape[0] },
      bindings: { x, table, out: output },
      flops: numel(x!.shape),
    });
  },
};

/**
 * x [B,T,D] → x + table in every item, of the same shape.
 * @param table dense f32 [T,4·⌈D/4⌉], zero behind D.
 * @throws ShapeError for other shapes.
 */
export function addShared(x: Tensor, table: Tensor): Tensor {
  const [, T, D] = x.shape;
  const fits = x.shape.length === 3 && sameShape(table.shape, [T, 4 * ceilDiv(D, 4)]) && table.layout === 'dense';
  if (!fits || x.layout !== 'rows' || table.dtype !== 'f32') {
    throw new ShapeError(
      'addShared: expected x [B,T,D] in rows and a dense f32 table [T,4·⌈D/4⌉], got ' +
        `${x.layout} ${formatShape(x.shape)} and ${table.layout} ${table.dtype} ${formatShape(table.shape)}`,
    );
  }
  return x.graph.record(addSharedOp, { x, table }, {}, x.shape);
}
