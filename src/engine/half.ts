/** IEEE half precision on the host. */
const f32 = new Float32Array(1);
const bits = new Uint32Array(f32.buffer);

/** The bits of the half nearest to x (ties to even); overflow gives ±infinity, NaN stays NaN. */
export function halfBits(x: number): number {
  f32[0] = x;
  const b = bits[0];
  const sign = (b >>> 16) & 0x8000;
  const abs = b & 0x7fffffff;
  if (abs > 0x7f800000) return sign | 0x7e00;
  if (abs >= 0x477ff000) return sign | 0x7c00;
  if (abs >= 0x38800000) {
    const rebased = abs - 0x38000000;
    return sign | ((rebased + 0xfff + ((rebased >>> 13) & 1)) >>> 13);
  }
  // Subnormal halves: |x| / 2⁻²⁴ is exact in f32, so rounding it to even is all there is to do.
  f32[0] = Math.abs(x) * 2 ** 24;
  const scaled = f32[0];
  const low = Math.floor(scaled);
  const rest = scaled - low;
  return sign | (rest > 0.5 || (rest === 0.5 && low % 2 === 1) ? low + 1 : low);
}

/** The value of a half's bits. */
export function halfValue(h: number): number {
  const exponent = (h >>> 10) & 31;
  const fraction = h & 1023;
  const sign = h & 0x8000 ? -1 : 1;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** Converts to halves, zero-padded to `length` elements. */
export function toHalf(data: Float32Array, length = data.length): Uint16Array<ArrayBuffer> {
  const out = new Uint16Array(length);
  for (let i = 0; i < data.length; i++) out[i] = halfBits(data[i]);
  return out;
}

/** Converts from halves. */
export function fromHalf(data: Uint16Array): Float32Array<ArrayBuffer> {
  return Float32Array.from(data, halfValue);
}
