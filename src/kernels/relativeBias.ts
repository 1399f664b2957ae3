/** relativeBias: what T5 adds to attention scores, by head and by the distance of query and key. */
import {
  defineKernel,
  formatShape,
  linearGrid,
  ShapeError,
  type Op,
  type Tensor,
  type Weight,
} from '../engine/index.ts';
import { ceilDiv, sameShape } from './common.ts';
import { packRows } from './packing.ts';
import shader from './relativeBias.wgsl';

/** One element per invocation. */
export const relativeBiasKernel = defineKernel({
  shader,
  tunables: { WG: [64, 128, 256], HAS_PADDING: [false, true] },
  grid: ({ B, heads, T }, t) => linearGrid(ceilDiv(B * heads * T * T, t.WG)),
});

const relativeBiasOp: Op<Record<string, never>> = {
  name: 'relativeBias',
  lower({ inputs: { buckets, table, padding }, output }, to) {
    const [B, heads, T] = output.shape;
    to.dispatch({
      kernel: relativeBiasKernel,
      tunables: { HAS_PADDING: padding !== undefined },
      params: { B, heads, T, heads4: ceilDiv(heads, 4) },
      bindings: { buckets, table, padding, out: output },
    });
  },
};

/**
 * The bias of every head for every query t and key s, [1,heads,T,T] dense f32, ready as a mask of attention.
 * @param buckets dense u32 [2T − 1]: the row of the table by s − t, from 1 − T on; host data, each below K.
 * @param table [K, heads].
 * @param padding dense f32 [B,T], added for every key; the result is then [B,heads,T,T].
 * @throws ShapeError when buckets, table or padding do not fit each other.
 */
export function relativeBias(buckets: Tensor, table: Weight, padding?: Tensor): Tensor {
  const T = (buckets.shape[0] + 1) / 2;
  const dense = (t: Tensor, dtype: string, rank: number) =>
    t.dtype === dtype && t.layout === 'dense' && t.shape.length === rank;
  if (!dense(buckets, 'u32', 1) || !Number.isInteger(T)) {
    throw new ShapeError(
      `relativeBias: expected dense u32 buckets [2T − 1], got ${buckets.layout} ${buckets.dtype} ` +
        formatShape(buckets.shape),
    );
  }
  if (table.shape.length !== 2) {
    throw new ShapeError(`relativeBias: expected a table [K,heads], got ${table.key} ${formatShape(table.shape)}`);
  }
  if (padding && !(dense(padding, 'f32', 2) && sameShape(padding.shape, [padding.shape[0], T]))) {
    throw new ShapeError(`relativeBias: expected dense f32 padding [B,${T}], got ${formatShape(padding.shape)}`);
  }
  const g = buckets.graph;
  const [K, heads] = table.shape;
  const shape = [padding?.shape[0] ?? 1, heads, T, T];
  const inputs = { buckets, table: g.constant(table, packRows(0, K), 'f32'), padding };
  return g.record(relativeBiasOp, inputs, {}, shape, { dtype: 'f32', layout: 'dense' });
}
