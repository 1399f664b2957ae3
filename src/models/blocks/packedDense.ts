/** Linear layers whose weights lie in the checkpoint otherwise than `nn.Linear` keeps them; sorted out when packed. */
import { ShapeError, type Packing, type Tensor } from '../../engine/index.ts';
import { linearOp } from '../../kernels/index.ts';
import type { WeightScope } from '../weightScope.ts';

const up4 = (n: number) => 4 * Math.ceil(n / 4);

/** [N, K] read by `at(n, k)` → [K/4, N/4, 4 (k), 4 (n)], as the matmul kernels read it. A block is four k of all n. */
function packBy(
  id: string,
  size: (from: readonly number[]) => readonly [N: number, K: number],
  at: (n: number, k: number, N: number, K: number) => number,
): Packing {
  return {
    id,
    shape(from) {
      const [N, K] = size(from);
      return [up4(K), up4(N)];
    },
    blocks: (from) => up4(size(from)[1]) / 4,
    pack(data, from, first, last, out) {
      const [N, K] = size(from);
      const stride = 4 * up4(N);
      for (let n = 0; n < N; n++) {
        const column = (n >> 2) * 16 + (n & 3);
        for (let k = 4 * first; k < Math.min(4 * last, K); k++) {
          out[((k >> 2) - first) * stride + column + 4 * (k & 3)] = data[at(n, k, N, K)];
        }
      }
    },
  };
}

/** A matrix that is kept as [K, N]. */
const packTransposed = packBy(
  'matrix, transposed',
  ([K, N]) => [N, K],
  (n, k, N) => k * N + n,
);

const packEveryThirdRow = [0, 1, 2].map((part) =>
  packBy(
    `matrix, rows 3n + ${part}`,
    ([rows, K]) => [rows / 3, K],
    (n, k, _N, K) => (3 * n + part) * K + k,
  ),
);

const packVector: Packing = {
  id: 'vector',
  shape: ([N]) => [up4(N)],
  blocks: () => 1,
  pack: (data, _from, _first, _last, out) => out.set(data),
};

const packEveryThird = [0, 1, 2].map((part): Packing => ({
  id: `vector, 3n + ${part}`,
  shape: ([N]) => [up4(N / 3)],
  blocks: () => 1,
  pack(data, [N], _first, _last, out) {
    for (let n = 0; n < N / 3; n++) out[n] = data[3 * n + part];
  },
}));

interface Packed {
  weight: Tensor;
  bias: Tensor;
  residual?: Tensor;
  scale?: number;
}

function record(w: WeightScope, x: Tensor, out: number, { weight, bias, residual, scale = 1 }: Packed): Tensor {
  if (x.layout !== 'rows') throw new ShapeError(`${w.path}: expected x in rows, got it dense; use fromNchw first`);
  const inputs = { x, weight, bias, residual };
  const shape = [...x.shape.slice(0, -1), out];
  return x.graph.scope(w.path, () => x.graph.record(linearOp, inputs, { act: 'none', scale }, shape));
}

/**
 * `NIN` of score_sde: a linear layer over channels whose weight W is [in, out], with bias b. x [...,D] → [...,out]:
 * (x·W + b + residual)·scale.
 */
export function networkInNetwork(
  w: WeightScope,
  x: Tensor,
  out: number,
  options: { residual?: Tensor; scale?: number } = {},
): Tensor {
  const g = x.graph;
  const weight = g.constant(w.param('W', [x.shape.at(-1)!, out]), packTransposed, g.dtype);
  const bias = g.constant(w.param('b', [out]), packVector, 'f32');
  return record(w, x, out, { ...options, weight, bias });
}

/**
 * One 1×1 convolution to queries, keys and values, whose output channel 3·c + j is channel c of q (j = 0), k or v:
 * x [B,T,D] → three of [B,T,D].
 */
export function interleavedQkv(w: WeightScope, x: Tensor): [q: Tensor, k: Tensor, v: Tensor] {
  const g = x.graph;
  const D = x.shape.at(-1)!;
  const kernel = w.param('weight', [3 * D, D, 1, 1]);
  const offset = w.param('bias', [3 * D]);
  const part = (j: number): Tensor =>
    record(w, x, D, {
      weight: g.constant(kernel, packEveryThirdRow[j], g.dtype),
      bias: g.constant(offset, packEveryThird[j], 'f32'),
    });
  return [part(0), part(1), part(2)];
}
