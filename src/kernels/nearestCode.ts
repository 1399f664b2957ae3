/** nearestCode: vector quantisation, the entry of a codebook that is nearest to each row. */
import {
  defineKernel,
  formatShape,
  linearGrid,
  ShapeError,
  type Op,
  type Packing,
  type Tensor,
  type Weight,
} from '../engine/index.ts';
import { ceilDiv, rowsOf, width4 } from './common.ts';
import { embedding, embeddingOp } from './embedding.ts';
import shader from './nearestCode.wgsl';
import { packRows } from './packing.ts';

/** One team of LANES invocations per row. */
export const nearestCodeKernel = defineKernel({
  shader,
  tunables: { WG: [64, 128, 256], LANES: [16, 1, 4, 64], DISTANCE: [false, true] },
  grid: ({ M }, t) => linearGrid(ceilDiv(M, t.WG / t.LANES)),
});

const nearestCodeOp: Op<{ distance: boolean; K: number }> = {
  name: 'nearestCode',
  lower({ inputs: { x, codebook }, attrs: { distance, K }, output }, to) {
    const M = rowsOf(x!);
    const D4 = width4(x!);
    // Few rows cannot fill a GPU with an invocation or sixteen each.
    const LANES = to.caps.software ? 1 : M < 4096 ? 64 : 16;
    to.dispatch({
      kernel: nearestCodeKernel,
      tunables: { LANES, DISTANCE: distance },
      params: { M, K, D4 },
      bindings: { x, codebook, out: output },
      flops: 3 * M * K * 4 * D4,
    });
  },
};

/** [D, K] → rows [K, ⌈D/4⌉·4]: a codebook that was kept with its entries in columns. A block is one entry. */
export const packColumns: Packing = {
  id: 'columns',
  shape: ([D, K]) => [K, 4 * ceilDiv(D, 4)],
  blocks: ([, K]) => K,
  pack(data, [D, K], first, last, out) {
    const width = 4 * ceilDiv(D, 4);
    for (let k = first; k < last; k++) {
      for (let d = 0; d < D; d++) out[(k - first) * width + d] = data[d * K + k];
    }
  },
};

/** How a codebook is kept. */
export interface CodebookOptions {
  /** [D, K] in place of [K, D]. */
  columns?: boolean;
}

function record(x: Tensor, codebook: Weight, { columns = false }: CodebookOptions, distance: boolean): Tensor {
  const D = x.shape.at(-1)!;
  const [K, width] = columns ? [...codebook.shape].reverse() : codebook.shape;
  if (codebook.shape.length !== 2 || width !== D || x.layout !== 'rows') {
    throw new ShapeError(
      `nearestCode: expected x [...,D] in rows and a codebook [K,D], got ${x.layout} ${formatShape(x.shape)} and ` +
        `${codebook.key} ${formatShape(codebook.shape)}`,
    );
  }
  const g = x.graph;
  const inputs = { x, codebook: g.constant(codebook, columns ? packColumns : packRows(0, K), 'f32') };
  const dtype = distance ? 'f32' : 'u32';
  return g.record(nearestCodeOp, inputs, { distance, K }, [rowsOf(x)], { dtype, layout: 'dense' });
}

/**
 * Index of the entry with the least squared distance to each row, the lowest of equals: x [...,D] → u32 [M], M the
 * product of all dimensions but the last. As ids, they make `embedding` of the same codebook the quantised x.
 * van den Oord et al. 2017, equation 1.
 * @param codebook [K, D], or [D, K] by `columns`.
 * @throws ShapeError when x is not in rows or the codebook is of another width.
 */
export const nearestCode = (x: Tensor, codebook: Weight, options: CodebookOptions = {}): Tensor =>
  record(x, codebook, options, false);

/** The squared distance to that entry: x [...,D] → dense f32 [M]. @throws as {@link nearestCode} */
export const nearestCodeDistance = (x: Tensor, codebook: Weight, options: CodebookOptions = {}): Tensor =>
  record(x, codebook, options, true);

/**
 * Entries by id: dense u32 [B] or [B,T] → [B,D] or [B,T,D].
 * @throws ShapeError as `embedding` does.
 */
export function codebookEntries(ids: Tensor, codebook: Weight, { columns = false }: CodebookOptions = {}): Tensor {
  if (!columns) return embedding(ids, codebook);
  if (ids.dtype !== 'u32' || ids.layout !== 'dense' || codebook.shape.length !== 2) {
    throw new ShapeError(
      `codebookEntries: expected dense u32 ids and a codebook [D,K], got ${ids.layout} ${ids.dtype} and ` +
        `${codebook.key} ${formatShape(codebook.shape)}`,
    );
  }
  const g = ids.graph;
  const [D, V] = codebook.shape;
  const inputs = { ids, table0: g.constant(codebook, packColumns, g.dtype) };
  return g.record(embeddingOp, inputs, { V, starts: [0, V] }, [...ids.shape, D]);
}
