/** IEEE half precision on the host: whole arrays, by tables and integers (Node 20 has no Float16Array). */
import { InvalidArgumentError } from './errors.ts';

/** Half-precision bits of f32 values, and how many finite values became infinite (|x| >= 65520). */
export interface HalfBits {
  readonly bits: Uint16Array;
  readonly overflowed: number;
}

/**
 * Encodes f32 values as IEEE half-precision bits, rounding to nearest, ties to even; subnormals are kept, a NaN stays
 * a (quiet) NaN. IEEE 754-2019, binary16.
 * @param out Receives the bits; allocated where absent.
 * @throws InvalidArgumentError when `out` has another length than `values`.
 */
export function encodeF16(values: Float32Array, out: Uint16Array = new Uint16Array(values.length)): HalfBits {
  if (out.length !== values.length) {
    throw new InvalidArgumentError(
      `encodeF16: expected room for ${values.length} elements, got ${out.length}; pass an array of that length or none`,
    );
  }
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
  let overflowed = 0;
  for (let i = 0; i < words.length; i++) {
    const word = words[i];
    const sign = (word >>> 16) & 0x8000;
    const abs = word & 0x7fffffff;
    let half: number;
    if (abs >= 0x38800000) {
      if (abs < 0x477ff000) {
        // Normal halves: re-bias the exponent by 127 - 15, then round the 13 dropped bits to nearest even.
        half = (abs - 0x37fff001 + ((abs >>> 13) & 1)) >>> 13;
      } else if (abs > 0x7f800000) {
        half = 0x7e00 | ((abs >>> 13) & 0x3ff);
      } else {
        half = 0x7c00;
        if (abs !== 0x7f800000) overflowed++;
      }
    } else if (abs < 0x33000000) {
      half = 0; // below half of the smallest subnormal, 2^-24
    } else {
      // Subnormal halves: the significand with its hidden bit, in units of 2^-24.
      const significand = (abs & 0x7fffff) | 0x800000;
      const shift = 126 - (abs >>> 23);
      const low = significand >>> shift;
      const rest = significand & ((1 << shift) - 1);
      const tie = 1 << (shift - 1);
      half = low + (rest > tie || (rest === tie && (low & 1) === 1) ? 1 : 0);
    }
    out[i] = sign | half;
  }
  return { bits: out, overflowed };
}

/** f32 bits of each of the 65,536 half-precision codes; 256 KiB, made on first use. */
let halfTable: Uint32Array | undefined;

/** Decodes half-precision bits exactly, NaN payloads too; both of one length. */
export function decodeF16(from: Uint16Array, to: Float32Array): void {
  const table = (halfTable ??= makeHalfTable());
  const words = new Uint32Array(to.buffer, to.byteOffset, to.length);
  for (let i = 0; i < from.length; i++) words[i] = table[from[i]];
}

function makeHalfTable(): Uint32Array {
  const words = new Uint32Array(65536);
  const floats = new Float32Array(words.buffer);
  for (let code = 0; code < 0x8000; code++) {
    const exponent = code >>> 10;
    const fraction = code & 0x3ff;
    if (exponent === 0) floats[code] = fraction * 2 ** -24;
    else words[code] = ((exponent === 31 ? 255 : exponent + 112) << 23) | (fraction << 13);
    words[code + 0x8000] = words[code] | 0x80000000;
  }
  return words;
}

/** The bits of f32 values, zero-padded to `length` elements. */
export function toHalf(values: Float32Array, length = values.length): Uint16Array<ArrayBuffer> {
  const out = new Uint16Array(length);
  encodeF16(values, out.subarray(0, values.length));
  return out;
}

/** The values of half-precision bits. */
export function fromHalf(bits: Uint16Array): Float32Array<ArrayBuffer> {
  const out = new Float32Array(bits.length);
  decodeF16(bits, out);
  return out;
}
