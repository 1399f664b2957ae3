import { describe, expect, test } from 'vitest';
import { InvalidArgumentError } from '../../src/engine/errors.ts';
import { decode, encodeF16, findNonFinite } from '../../src/loading/convert.ts';
import { DTYPE_BYTES, type Dtype } from '../../src/loading/dtype.ts';
import { uniform } from '../support/random.ts';

/** All 65,536 codes. */
const CODES = Uint16Array.from({ length: 65536 }, (_, i) => i);

/** The definition of a binary float in f64, from its parts. */
function value(code: number, exponentBits: number, fractionBits: number): number {
  const sign = code >>> (exponentBits + fractionBits) ? -1 : 1;
  const exponent = (code >>> fractionBits) & (2 ** exponentBits - 1);
  const fraction = (code & (2 ** fractionBits - 1)) / 2 ** fractionBits;
  const bias = 2 ** (exponentBits - 1) - 1;
  if (exponent === 2 ** exponentBits - 1) return fraction ? NaN : sign * Infinity;
  return sign * (exponent === 0 ? fraction * 2 ** (1 - bias) : (1 + fraction) * 2 ** (exponent - bias));
}

const bits = (x: Float32Array): Uint32Array => new Uint32Array(x.buffer, x.byteOffset, x.length);
const asBytes = (x: ArrayBufferView): Uint8Array => new Uint8Array(x.buffer, x.byteOffset, x.byteLength);

describe('decode', () => {
  test.each([
    ['F16', 5, 10],
    ['BF16', 8, 7],
  ] as const)('all 65536 codes of %s', (dtype, exponentBits, fractionBits) => {
    const got = decode(dtype, asBytes(CODES));
    for (const code of CODES) {
      const want = value(code, exponentBits, fractionBits);
      if (!Object.is(got[code], want)) throw new Error(`code ${code}: got ${got[code]}, expected ${want}`);
    }
  });

  test('NaN payloads survive', () => {
    expect(bits(decode('F16', asBytes(Uint16Array.of(0x7e01, 0xfd55))))).toEqual(
      Uint32Array.of(0x7fc02000, 0xffaaa000),
    );
    expect(bits(decode('BF16', asBytes(Uint16Array.of(0x7fa1))))).toEqual(Uint32Array.of(0x7fa10000));
    expect(bits(decode('F32', asBytes(Uint32Array.of(0x7fa12345))))).toEqual(Uint32Array.of(0x7fa12345));
  });

  const big = 2n ** 62n + 2n ** 30n;
  const cases: [Dtype, ArrayBufferView, number[]][] = [
    ['F64', Float64Array.of(1 / 3, 1e300, -1e-320, NaN), [Math.fround(1 / 3), Infinity, -0, NaN]],
    ['F32', Float32Array.of(0.1, -0, Infinity), [Math.fround(0.1), -0, Infinity]],
    [
      'I64',
      BigInt64Array.of(-1n, 77n, big, -big, 2n ** 31n, -(2n ** 33n) - 1n, -(2n ** 63n)),
      [-1, 77, Math.fround(Number(big)), Math.fround(Number(-big)), 2 ** 31, Math.fround(-(2 ** 33) - 1), -(2 ** 63)],
    ],
    ['U64', BigUint64Array.of(0n, 2n ** 64n - 1n, 2n ** 63n), [0, 2 ** 64, 2 ** 63]],
    ['I32', Int32Array.of(-(2 ** 31), 16777217, -5), [-(2 ** 31), 16777216, -5]],
    ['U32', Uint32Array.of(2 ** 32 - 1, 7), [2 ** 32, 7]],
    ['I16', Int16Array.of(-32768, 32767), [-32768, 32767]],
    ['U16', Uint16Array.of(65535, 1), [65535, 1]],
    ['I8', Int8Array.of(-128, 127), [-128, 127]],
    ['U8', Uint8Array.of(0, 255), [0, 255]],
    ['BOOL', Uint8Array.of(0, 1, 255), [0, 1, 1]],
  ];
  test.each(cases)('%s, at every alignment', (dtype, values, want) => {
    const bytes = asBytes(values);
    for (let shift = 0; shift < 8; shift++) {
      const moved = new Uint8Array(bytes.length + shift);
      moved.set(bytes, shift);
      expect([...decode(dtype, moved.subarray(shift))]).toEqual(want);
    }
  });

  test('every type is covered', () => {
    expect(new Set([...cases.map(([dtype]) => dtype), 'F16', 'BF16'])).toEqual(new Set(Object.keys(DTYPE_BYTES)));
  });

  test('a length that does not fit is refused', () => {
    expect(() => decode('F32', new Uint8Array(6))).toThrow(InvalidArgumentError);
    expect(() => decode('F32', new Uint8Array(8), new Float32Array(3))).toThrow(InvalidArgumentError);
  });
});

describe('encodeF16', () => {
  test('every half comes back as it was', () => {
    const back = encodeF16(decode('F16', asBytes(CODES)));
    expect(back.overflowed).toBe(0);
    for (const code of CODES) {
      const isNaN = (code & 0x7fff) > 0x7c00;
      expect(back.bits[code]).toBe(isNaN ? code | 0x200 : code);
    }
  });

  test('every tie between neighbours goes to the even one, and its f32 neighbours to the nearer', () => {
    const halves = decode('F16', asBytes(CODES));
    for (let code = 0; code < 0x7c00; code++) {
      // The largest half has the power 65536 as its neighbour, which only infinity stands for.
      const upper = code === 0x7bff ? 65536 : halves[code + 1];
      const tie = Float32Array.of((halves[code] + upper) / 2);
      const below = Float32Array.of(0);
      const above = Float32Array.of(0);
      bits(below)[0] = bits(tie)[0] - 1;
      bits(above)[0] = bits(tie)[0] + 1;
      const got = [below, tie, above].map((x) => encodeF16(x).bits[0]);
      const want = [code, code % 2 === 0 ? code : code + 1, code + 1];
      if (got.some((x, i) => x !== want[i])) throw new Error(`code ${code}: got ${got}, expected ${want}`);
      expect(encodeF16(Float32Array.of(-tie[0])).bits[0]).toBe(want[1] | 0x8000);
    }
  });

  test('random f32 bits agree with the definition: nearest, ties to even', () => {
    const u = uniform(7);
    const halves = decode('F16', asBytes(CODES)).subarray(0, 0x7c00);
    const x = Float32Array.of(0);
    for (let i = 0; i < 20_000; i++) {
      bits(x)[0] = u() * 2 ** 32;
      if (Number.isNaN(x[0])) continue;
      const abs = Math.abs(x[0]);
      let low = 0;
      for (let step = 0x4000; step >= 1; step >>= 1) if (low + step < 0x7c00 && halves[low + step] <= abs) low += step;
      const upper = low === 0x7bff ? 65536 : halves[low + 1];
      const nearer = abs - halves[low] - (upper - abs);
      const want = nearer > 0 || (nearer === 0 && low % 2 === 1) ? low + 1 : low;
      expect(encodeF16(x).bits[0] & 0x7fff, `bits ${bits(x)[0]}`).toBe(want);
    }
  });

  test('what becomes infinite is counted; what was infinite is not', () => {
    const { bits: got, overflowed } = encodeF16(
      Float32Array.of(65504, 65519.99, 65520, -1e38, Infinity, -Infinity, NaN),
    );
    expect([...got]).toEqual([0x7bff, 0x7bff, 0x7c00, 0xfc00, 0x7c00, 0xfc00, 0x7e00]);
    expect(overflowed).toBe(2);
  });

  test('a result of another length is refused', () => {
    expect(() => encodeF16(new Float32Array(2), new Uint16Array(3))).toThrow(InvalidArgumentError);
  });
});

test('findNonFinite', () => {
  expect(findNonFinite(Float32Array.of(0, -0, 3.4e38, 1e-45))).toBe(-1);
  expect(findNonFinite(Float32Array.of(0, NaN, Infinity))).toBe(1);
  expect(findNonFinite(Float32Array.of(-Infinity))).toBe(0);
  expect(findNonFinite(new Float32Array(0))).toBe(-1);
});
