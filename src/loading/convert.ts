import { InvalidArgumentError } from '../engine/errors.ts';
import { decodeF16 } from '../engine/half.ts';
import { DTYPE_BYTES, type Dtype } from './dtype.ts';

export { encodeF16, type HalfBits } from '../engine/half.ts';

/**
 * Decodes little-endian elements to f32: F16, BF16, F32, the 8- and 16-bit integers and BOOL exactly (NaN payloads
 * too), the others rounded to nearest.
 * @param bytes a whole number of elements of `dtype`, at any alignment
 * @param out receives the elements; allocated where absent
 * @throws InvalidArgumentError when `bytes` is no whole number of elements, or `out` is of another length
 */
export function decode(dtype: Dtype, bytes: Uint8Array, out?: Float32Array): Float32Array {
  const n = bytes.length / DTYPE_BYTES[dtype];
  const to = out ?? new Float32Array(n);
  if (!Number.isInteger(n) || to.length !== n) {
    throw new InvalidArgumentError(
      `decode ${dtype}: expected ${to.length} elements, got ${bytes.length} bytes; pass whole elements, as many as out has`,
    );
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

/** Index of the first NaN or infinity, or -1. */
export function findNonFinite(values: Float32Array): number {
  for (let i = 0; i < values.length; i++) {
    // x - x is 0 for every finite x and NaN for all others.
    if (values[i] - values[i] !== 0) return i;
  }
  return -1;
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
