/**
 * Positions of tokens as tables, computed on the host in f64: the sine and cosine of drivers are off in the 4th digit.
 */
import { InvalidArgumentError } from '../../engine/index.ts';

/** Rows as kernels read them: each padded with zeros to a multiple of four. */
export function paddedRows(values: ArrayLike<number>, width: number): Float32Array {
  const stride = 4 * Math.ceil(width / 4);
  const rows = values.length / width;
  if (stride === width) return Float32Array.from(values);
  const out = new Float32Array(rows * stride);
  for (let r = 0; r < rows; r++) for (let i = 0; i < width; i++) out[r * stride + i] = values[r * width + i];
  return out;
}

/** Which grid a table is for, and the one that the network was trained on. */
export interface GridOptions {
  rows: number;
  columns: number;
  /** Side of the grid in training: positions of other grids are stretched over it. */
  base: number;
  /** Positions are divided by it; default 1. */
  scale?: number;
}

/**
 * Sines and cosines of a grid's positions, f32 [rows·columns, D]: the first half of the channels tells the column, the
 * second the row. Dosovitskiy et al. 2021, appendix D.4, with the frequencies of Vaswani et al. 2017, section 3.5.
 * @throws InvalidArgumentError unless 4 divides D.
 */
export function gridPositions(D: number, { rows, columns, base, scale = 1 }: GridOptions): Float32Array {
  if (D % 4 !== 0) throw new InvalidArgumentError(`gridPositions: expected a width divisible by 4, got ${D}`);
  const quarter = D / 4;
  const omega = Float64Array.from({ length: quarter }, (_, k) => 1 / 10000 ** (k / quarter));
  const out = new Float32Array(rows * columns * D);
  const [ys, xs] = [axis(rows, base, scale), axis(columns, base, scale)];
  for (let y = 0; y < rows; y++) {
    for (let x = 0; x < columns; x++) {
      const at = (y * columns + x) * D;
      for (let k = 0; k < quarter; k++) {
        const [a, b] = [xs[x] * omega[k], ys[y] * omega[k]];
        out[at + k] = Math.sin(a);
        out[at + quarter + k] = Math.cos(a);
        out[at + 2 * quarter + k] = Math.sin(b);
        out[at + 3 * quarter + k] = Math.cos(b);
      }
    }
  }
  return out;
}

/** Positions along one side, rounded to f32 as the reference library rounds them. */
function axis(n: number, base: number, scale: number): Float32Array {
  const f = Math.fround;
  const step = f(n / base);
  return Float32Array.from({ length: n }, (_, i) => f(f(i / step) / f(scale)));
}

/** Frequencies of rotary positions fall from 1 towards 1/theta. */
const THETA = 10000;

/**
 * Rotary positions of tokens, f32 [T, 2, 4·⌈d/4⌉] as {@link rope} reads them; d is the sum of `dims`.
 * @param ids [T, axes] positions of each token along each axis
 * @param dims channels that each axis turns, even. Black Forest Labs 2024 (Flux), after Su et al. 2021.
 */
export function rotaryTable(ids: ArrayLike<number>, dims: readonly number[]): Float32Array {
  const d = dims.reduce((a, b) => a + b, 0);
  const width = 4 * Math.ceil(d / 4);
  const T = ids.length / dims.length;
  const out = new Float32Array(T * 2 * width);
  for (let t = 0; t < T; t++) {
    let at = 2 * t * width;
    dims.forEach((dim, i) => {
      for (let k = 0; k < dim; k += 2, at += 2) {
        const angle = ids[t * dims.length + i] / THETA ** (k / dim);
        out.fill(Math.cos(angle), at, at + 2);
        out.fill(Math.sin(angle), at + width, at + width + 2);
      }
    });
  }
  return out;
}
