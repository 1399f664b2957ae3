/** Packings: how checkpoint tensors are laid out for the kernels that read them. Sizes in elements. */
import { numel, type Packing } from '../engine/index.ts';

const up4 = (n: number) => 4 * Math.ceil(n / 4);

/** A vector, zero-padded to a multiple of four: biases, norm weights. */
export const packVector: Packing = {
  id: 'vector',
  shape: (from) => [up4(numel(from))],
  pack(data, from) {
    const out = new Float32Array(up4(numel(from)));
    out.set(data);
    return out;
  },
};

/** [N, K] → [K/4, N/4, 4 (k), 4 (n)]: four consecutive k of four n stand together. A 1×1 conv weight is a matrix too. */
export const packMatrix: Packing = {
  id: 'matrix',
  shape: (from) => [up4(numel(from) / from[0]), up4(from[0])],
  pack(data, from) {
    const N = from[0];
    const K = numel(from) / N;
    const n4s = up4(N) / 4;
    const out = new Float32Array(up4(K) * up4(N));
    for (let n = 0; n < N; n++) {
      for (let k = 0; k < K; k++) {
        out[(((k >> 2) * n4s + (n >> 2)) * 4 + (k & 3)) * 4 + (n & 3)] = data[n * K + k];
      }
    }
    return out;
  },
};

/** [O, I, R, S] → [R, S, I/4, O/4, 4 (i), 4 (o)]: for each tap a matrix as {@link packMatrix} packs it. */
export const packConv: Packing = {
  id: 'conv',
  shape: ([O, I, R, S]) => [R * S * up4(I), up4(O)],
  pack(data, [O, I, R, S]) {
    const o4s = up4(O) / 4;
    const i4s = up4(I) / 4;
    const taps = R * S;
    const out = new Float32Array(taps * up4(I) * up4(O));
    for (let o = 0; o < O; o++) {
      for (let i = 0; i < I; i++) {
        const block = ((i >> 2) * o4s + (o >> 2)) * 16 + (i & 3) * 4 + (o & 3);
        for (let t = 0; t < taps; t++) out[t * i4s * o4s * 16 + block] = data[(o * I + i) * taps + t];
      }
    }
    return out;
  },
};

/** Rows of a table [V, D] from `start` to `end`, each padded to four. One table may take several bindings. */
export function packRows(start: number, end: number): Packing {
  return {
    id: `rows ${start}-${end}`,
    rows: [start, end],
    shape: ([, D]) => [end - start, up4(D)],
    pack(data, [V, D]) {
      const out = new Float32Array(V * up4(D));
      for (let v = 0; v < V; v++) out.set(data.subarray(v * D, v * D + D), v * up4(D));
      return out;
    },
  };
}
