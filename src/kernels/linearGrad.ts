/** Gradients at the end of a classifier: of linear layers by their input, of the log probability of a class. */
import {
  defineKernel,
  formatShape,
  linearGrid,
  numel,
  ShapeError,
  type Op,
  type Packing,
  type Tensor,
  type Weight,
} from '../engine/index.ts';
import { ceilDiv, expectRank, width4 } from './common.ts';
import shader from './logProbGrad.wgsl';
import { linearOp } from './matmul.ts';

const up4 = (n: number) => 4 * Math.ceil(n / 4);

/**
 * [N, K] → [N/4, K/4, 4 (n), 4 (k)]: the transposed matrix as `packMatrix` packs [K, N]. A block is four n of all k.
 */
export const packMatrixTransposed: Packing = {
  id: 'matrix-transposed',
  shape: (from) => [up4(from[0]), up4(numel(from) / from[0])],
  blocks: (from) => up4(from[0]) / 4,
  pack(data, from, first, last, out) {
    const N = from[0];
    const K = numel(from) / N;
    const size = 4 * up4(K);
    for (let n = 4 * first; n < Math.min(4 * last, N); n++) {
      const row = ((n >> 2) - first) * size + 4 * (n & 3);
      for (let k = 0; k < K; k++) out[row + (k >> 2) * 16 + (k & 3)] = data[n * K + k];
    }
  },
};

/**
 * Gradient of linear by its input: g [...,N] → g·W [...,K].
 * @param weight [N,K], or as a 1×1 convolution has it; the layer's own.
 * @throws ShapeError when g and weight do not fit.
 */
export function linearInputGrad(g: Tensor, weight: Weight): Tensor {
  const [N, K, ...taps] = weight.shape;
  if (g.shape.at(-1) !== N || taps.some((n) => n !== 1) || g.layout !== 'rows') {
    throw new ShapeError(
      `linearInputGrad: expected g [...,${N}] in rows for ${weight.key} ${formatShape(weight.shape)}, ` +
        `got ${g.layout} ${formatShape(g.shape)}`,
    );
  }
  const inputs = { x: g, weight: g.graph.constant(weight, packMatrixTransposed, g.graph.dtype) };
  return g.graph.record(linearOp, inputs, { act: 'none', scale: 1 }, [...g.shape.slice(0, -1), K]);
}

/** One item per invocation. */
export const logProbGradKernel = defineKernel({
  shader,
  tunables: { WG: [64, 1, 8] },
  grid: ({ B }, t) => linearGrid(ceilDiv(B, t.WG)),
});

const logProbGradOp: Op<{ scale: number }> = {
  name: 'logProbGrad',
  lower({ inputs: { logits, ids }, attrs: { scale }, output }, to) {
    const [B, N] = output.shape;
    to.dispatch({
      kernel: logProbGradKernel,
      params: { B, N, N4: width4(output), scale },
      bindings: { logits, ids, out: output },
    });
  },
};

/**
 * Gradient of log softmax(logits) at a class per item, times scale: logits [B,N], ids dense u32 [B] → [B,N].
 * @throws ShapeError for other shapes; ids are host data, checked there.
 */
export function logProbGrad(logits: Tensor, ids: Tensor, { scale = 1 } = {}): Tensor {
  expectRank('logProbGrad', 'logits', logits, 2, '[B,N]');
  if (ids.dtype !== 'u32' || ids.layout !== 'dense' || formatShape(ids.shape) !== formatShape([logits.shape[0]])) {
    throw new ShapeError(
      `logProbGrad: expected dense u32 ids [${logits.shape[0]}], ` +
        `got ${ids.layout} ${ids.dtype} ${formatShape(ids.shape)}`,
    );
  }
  return logits.graph.record(logProbGradOp, { logits, ids }, { scale }, logits.shape);
}
