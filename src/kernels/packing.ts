/** Packings: how checkpoint tensors are laid out for the kernels that read them. Sizes in elements. */
import { numel, type Packing } from '../engine/index.ts';

const up4 = (n: number) => 4 * Math.ceil(n / 4);

/** A vector, zero-padded to a multiple of four: biases, norm weights. */
export const packVector: Packing = {
  id: 'vector',
  shape: (from) => [up4(numel(from))],
  blocks: () => 1,
  pack: (data, _from, _first, _last, out) => out.set(data),
};

/**
 * [N, K] → [K/4, N/4, 4 (k), 4 (n)]: four consecutive k of four n stand together. A 1×1 conv weight is a matrix too.
 * A block is four k of all n.
 */
export const packMatrix: Packing = {
  id: 'matrix',
  shape: (from) => [up4(numel(from) / from[0]), up4(from[0])],
  blocks: (from) => up4(numel(from) / from[0]) / 4,
  pack(data, from, first, last, out) {
    const N = from[0];
    const K = numel(from) / N;
    const size = 4 * up4(N);
    for (let n = 0; n < N; n++) {
      const column = (n >> 2) * 16 + (n & 3);
      for (let k = 4 * first; k < Math.min(4 * last, K); k++) {
        out[((k >> 2) - first) * size + column + 4 * (k & 3)] = data[n * K + k];
      }
    }
  },
};

/**
 * [O, I, R, S] → [R, S, I/4, O/4, 4 (i), 4 (o)]: for each tap a matrix as {@link packMatrix} packs it.
 * A block is four i of all o at one tap.
 */
export const packConv: Packing = {
  id: 'conv',
  shape: ([O, I, R, S]) => [R * S * up4(I), up4(O)],
  blocks: ([, I, R, S]) => (R * S * up4(I)) / 4,
  pack(data, [O, I, R, S], first, last, out) {
    const i4s = up4(I) / 4;
    const taps = R * S;
    const size = 4 * up4(O);
    for (let block = first; block < last; block++) {
      const tap = Math.floor(block / i4s);
      const i0 = 4 * (block % i4s);
      for (let o = 0; o < O; o++) {
        const at = (block - first) * size + (o >> 2) * 16 + (o & 3);
        for (let i = i0; i < Math.min(i0 + 4, I); i++) out[at + 4 * (i - i0)] = data[(o * I + i) * taps + tap];
      }
    }
  },
};

/**
 * vec4 of output channels whose weights stand together in strips, so that a subgroup of eight lanes reads memory end to
 * end and not a piece of each page. Where pixels are few, each weight comes from far, once in a run.
 */
export const STRIP = 8;

/**
 * [O, I, R, S] → [R, S, O/4/STRIP, I/4, STRIP, 4 (i), 4 (o)]: for each tap what {@link packConv} has, in strips.
 * The last of them may be narrower. A block is one tap.
 */
export const packConvStrips: Packing = {
  id: 'conv, strips',
  shape: packConv.shape,
  blocks: ([, , R, S]) => R * S,
  pack(data, [O, I, R, S], first, last, out) {
    const [i4s, o4s] = [up4(I) / 4, up4(O) / 4];
    for (let tap = first; tap < last; tap++) {
      for (let o = 0; o < O; o++) {
        const strip = STRIP * Math.floor(o / (4 * STRIP));
        const width = Math.min(STRIP, o4s - strip);
        const start = 16 * (((tap - first) * o4s + strip) * i4s + (o >> 2) - strip) + (o & 3);
        for (let i = 0; i < I; i++) {
          out[start + 16 * (i >> 2) * width + 4 * (i & 3)] = data[(o * I + i) * R * S + tap];
        }
      }
    }
  },
};

/** Rows of a table [V, D] from `start` to `end`, each padded to four. One table may take several bindings. */
export function packRows(start: number, end: number): Packing {
  return {
    id: `rows ${start}-${end}`,
    rows: [start, end],
    shape: ([, D]) => [end - start, up4(D)],
    blocks: ([V]) => V,
    pack(data, [, D], first, last, out) {
      for (let v = first; v < last; v++) out.set(data.subarray(v * D, v * D + D), (v - first) * up4(D));
    },
  };
}

/** Where row n of `half` rows of values and as many of gates goes: vec4 by vec4, values and gates in turn. */
const gatedColumn = (n: number, half: number) => {
  const i = n % half;
  return 8 * (i >> 2) + (n < half ? 0 : 4) + (i & 3);
};

/**
 * [2·N, K] → [K/4, N/4, 2, 4 (k), 4 (n)]: as {@link packMatrix}, but four columns of the first half (values) stand in
 * front of the four of the second half (gates) that belong to them. A block is four k of all n.
 */
export const packGated: Packing = {
  id: 'matrix, gated',
  shape: ([rows, K]) => [up4(K), 2 * up4(rows / 2)],
  blocks: ([, K]) => up4(K) / 4,
  pack(data, [rows, K], first, last, out) {
    const size = 8 * up4(rows / 2);
    for (let n = 0; n < rows; n++) {
      const at = gatedColumn(n, rows / 2);
      const column = (at >> 2) * 16 + (at & 3);
      for (let k = 4 * first; k < Math.min(4 * last, K); k++) {
        out[((k >> 2) - first) * size + column + 4 * (k & 3)] = data[n * K + k];
      }
    }
  },
};

/** The bias that goes with {@link packGated}. */
export const packGatedVector: Packing = {
  id: 'vector, gated',
  shape: ([rows]) => [2 * up4(rows / 2)],
  blocks: () => 1,
  pack(data, [rows], _first, _last, out) {
    for (let n = 0; n < rows; n++) out[gatedColumn(n, rows / 2)] = data[n];
  },
};
