/** Rotary position embedding of queries and keys. */
import { defineKernel, formatShape, linearGrid, ShapeError, type Op, type Tensor } from '../engine/index.ts';
import { ceilDiv, expectRank, rowsOf, width4 } from './common.ts';
import shader from './rope.wgsl';

/** Pairs turned by angles from a table, one vec4 per invocation. */
export const ropeKernel = defineKernel({
  shader,
  tunables: { WG: [64, 128, 256], IN_PLACE: [false, true] },
  grid: ({ count }, t) => linearGrid(ceilDiv(count, t.WG)),
});

/** Inputs x [B,T,heads,d] and the table; result of x's shape. */
export const ropeOp: Op<Record<string, never>> = {
  name: 'rope',
  lower({ inputs: { x, table }, output }, to) {
    const [, T, heads] = x!.shape;
    const count = rowsOf(x!) * width4(x!);
    to.dispatch({
      kernel: ropeKernel,
      params: { count, T, heads, D4: width4(x!) },
      bindings: { x, table, out: output },
      inPlace: 'x',
      flops: 6 * count * 4,
    });
  },
};

/**
 * x [B,T,heads,d] → the same shape, neighbouring channels (2i, 2i+1) of each head turned as a pair. Su et al. 2021.
 * @param table dense f32 [T,2,4·⌈d/4⌉], the same for all items and heads: cosines, then sines, each pair's value twice;
 * anything finite behind d.
 * @throws ShapeError unless d is even and the table has these sizes.
 */
export function rope(x: Tensor, table: Tensor): Tensor {
  expectRank('rope', 'x', x, 4, '[B,T,heads,d]');
  const [, T, , d] = x.shape;
  const [t, two, width] = table.shape;
  const fits = table.shape.length === 3 && t === T && two === 2 && width === 4 * width4(x);
  if (d % 2 !== 0 || !fits || table.layout !== 'dense' || table.dtype !== 'f32') {
    throw new ShapeError(
      `rope: expected x [B,T,heads,d] of even d and a dense f32 table [T,2,4·⌈d/4⌉], got x ${formatShape(x.shape)}, ` +
        `table ${table.layout} ${table.dtype} ${formatShape(table.shape)}`,
    );
  }
  return x.graph.record(ropeOp, { x, table }, {}, x.shape);
}
