/** Embedding lookup, from tables of any size. */
import {
  DEFAULT_LIMITS,
  defineKernel,
  formatShape,
  InvalidArgumentError,
  linearGrid,
  numel,
  ShapeError,
  type Op,
  type Tensor,
  type Weight,
} from '../engine/index.ts';
import { ceilDiv, width4 } from './common.ts';
import shader from './embedding.wgsl';
import { packRows } from './packing.ts';

/** Rows of one part of a table by id, one vec4 per invocation. */
export const embeddingKernel = defineKernel({
  shader,
  tunables: { WG: [64, 128, 256] },
  grid: ({ N, D4 }, t) => linearGrid(ceilDiv(N * D4, t.WG)),
});

/** What {@link embeddingOp} is told beside its inputs. */
export interface EmbeddingAttrs {
  /** Rows of the table. */
  V: number;
  /** First row of each part, and V. */
  starts: readonly number[];
}

/** Inputs ids and the parts of the table; result [...ids, D]. */
export const embeddingOp: Op<EmbeddingAttrs> = {
  name: 'embedding',
  lower({ inputs: { ids, ...parts }, attrs: { V, starts }, output }, to) {
    Object.values(parts).forEach((table, i) => {
      to.dispatch({
        kernel: embeddingKernel,
        params: { N: numel(ids!.shape), D4: width4(output), V, start: starts[i], end: starts[i + 1] },
        bindings: { ids, table, out: output },
      });
    });
  },
};

/**
 * ids, dense u32 [B] or [B,T] → rows of the table, [B,D] or [B,T,D]. A table larger than a binding becomes several
 * constants and one dispatch for each. Ids are host data: check them there with {@link expectIds}; on the GPU an id
 * beyond the table takes its last row.
 * @param table [V, D]
 * @param options.maxBytes Of one binding; default WebGPU's 128 MiB, so that a graph fits every adapter.
 * @throws ShapeError unless ids are dense u32 and the table has two dimensions.
 */
export function embedding(
  ids: Tensor,
  table: Weight,
  { maxBytes = DEFAULT_LIMITS.maxStorageBufferBindingSize }: { maxBytes?: number } = {},
): Tensor {
  if (ids.dtype !== 'u32' || ids.layout !== 'dense' || ids.shape.length > 2) {
    throw new ShapeError(
      `embedding: expected dense u32 ids [B] or [B,T], got ${ids.layout} ${ids.dtype} ${formatShape(ids.shape)}`,
    );
  }
  if (table.shape.length !== 2) {
    throw new ShapeError(`embedding: expected a table [V,D], got ${table.key} ${formatShape(table.shape)}`);
  }
  const g = ids.graph;
  const [V, D] = table.shape;
  const rowBytes = 4 * ceilDiv(D, 4) * (g.dtype === 'f16' ? 2 : 4);
  const rows = Math.max(1, Math.floor(maxBytes / rowBytes));
  const starts = Array.from({ length: ceilDiv(V, rows) }, (_, i) => i * rows).concat(V);
  const parts = starts
    .slice(0, -1)
    .map((start, i) => [`table${i}`, g.constant(table, packRows(start, starts[i + 1]), g.dtype)] as const);
  return g.record(embeddingOp, { ids, ...Object.fromEntries(parts) }, { V, starts }, [...ids.shape, D]);
}

/**
 * Checks ids on the host, before they are uploaded for {@link embedding}.
 * @param V Rows of the table.
 * @throws InvalidArgumentError unless every id is an integer from 0 to V − 1.
 */
export function expectIds(where: string, ids: ArrayLike<number>, V: number): void {
  for (let i = 0; i < ids.length; i++) {
    if (!(Number.isInteger(ids[i]) && ids[i] >= 0 && ids[i] < V)) {
      throw new InvalidArgumentError(`${where}: expected ids from 0 to ${V - 1}, got ${ids[i]} at position ${i}`);
    }
  }
}
