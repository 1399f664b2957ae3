import { DTYPE_BYTES, type Dtype } from './dtype.ts';

/**
 * Decodes little-endian elements to f32: F16, BF16, F32, the 8- and 16-bit integers and BOOL exactly (NaN payloads
 * too), the others rounded to nearest.
 * @param bytes a whole number of elements of `dtype`, at any alignment
 * @param out receives the elements; allocated where absent
 */
export function decode(dtype: Dtype, bytes: Uint8Array, out?: Float32Array): Float32Array {
  const n = bytes.length / DTYPE_BYTES[dtype];
  const to = out ?? new Float32Array(n);
  if (!Number.isInteger(n) || to.length !== n) {
    throw new RangeError(`decode ${dtype}: expected ${to.length} elements, got ${bytes.length} bytes`);
  }
  // Typed arrays want aligned memory; a range read rarely starts on such an address, and a copy is cheap beside it.
  const at = bytes.byteOffset % DTYPE_BYTES[dtype] === 0 ? bytes : bytes.slice();
  const { buffer, byteOffset } = at;
  switch (dtype) {
    case 'F32':
      // Through bytes, so that the payload of a NaN survives.
      new Uint8Array(to.buffer, to.byteOffset, to.byteLength).set(bytes);
      break;
    case 'F16':
      decodeF16(new Uint16Array(buffer, byteOffset, n), to);
      break;
    case 'BF16':
      decodeBf16(new Uint16Array(buffer, byteOffset, n), to);
      break;
    case 'F64':
      to.set(new Float64Array(buffer, byteOffset, n));
      break;
    case 'I64':
    case 'U64':
      decode64(new Uint32Array(buffer, byteOffset, 2 * n), dtype === 'I64', to);
      break;
    case 'I32':
      to.set(new Int32Array(buffer, byteOffset, n));
      break;
    case 'U32':
      to.set(new Uint32Array(buffer, byteOffset, n));
      break;
    case 'I16':
      to.set(new Int16Array(buffer, byteOffset, n));
      break;
    case 'U16':
      to.set(new Uint16Array(buffer, byteOffset, n));
      break;
    case 'I8':
      to.set(new Int8Array(buffer, byteOffset, n));
      break;
    case 'U8':
      to.set(at);
      break;
    case 'BOOL':
      for (let i = 0; i < n; i++) to[i] = at[i] === 0 ? 0 : 1;
      break;
  }
  return to;
}

/** Half-precision bits of f32 values, and how many finite values became infinite (|x| >= 65520). */
export interface HalfBits {
  readonly bits: Uint16Array;
  readonly overflowed: number;
}

/**
 * Encodes f32 values as IEEE half-precision bits, rounding to nearest, ties to even; subnormals are kept, a NaN stays
 * a (quiet) NaN.
 */
export function encodeF16(values: Float32Array, out: Uint16Array = new Uint16Array(values.length)): HalfBits {
  if (out.length !== values.length) {
    throw new RangeError(`encodeF16: expected room for ${values.length} elements, got ${out.length}`);
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

/** Index of the first NaN or infinity, or -1. */
export function findNonFinite(values: Float32Array): number {
  for (let i = 0; i < values.length; i++) {
    // x - x is 0 for every finite x and NaN for all others.
    if (values[i] - values[i] !== 0) return i;
  }
  return -1;
}

/** f32 bits of each of the 65,536 half-precision codes; 256 KiB, made on first use. */
let halfTable: Uint32Array | undefined;

function decodeF16(from: Uint16Array, to: Float32Array): void {
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

function decodeBf16(from: Uint16Array, to: Float32Array): void {
  const words = new Uint32Array(to.buffer, to.byteOffset, to.length);
  for (let i = 0; i < from.length; i++) words[i] = from[i] << 16;
}

function decode64(pairs: Uint32Array, signed: boolean, to: Float32Array): void {
  for (let i = 0; i < to.length; i++) {
    const high = pairs[2 * i + 1];
    to[i] = (signed ? high | 0 : high) * 4294967296 + pairs[2 * i];
  }
}
