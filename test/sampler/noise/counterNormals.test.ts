import { describe, expect, test } from 'vitest';
import { InvalidArgumentError } from '../../../src/engine/errors.ts';
import { counterNormals, CounterGenerator } from '../../../src/sampler/noise/counterNormals.ts';
import { expectClose, STANDARD_ERRORS } from '../../support/close.ts';

const of = (seed: bigint, draw: [number, number], n: number): Float64Array =>
  counterNormals(seed, draw, new Float64Array(n));
const mean = (v: Float64Array): number => v.reduce((s, x) => s + x / v.length, 0);

describe('normals by number', () => {
  test('standard normal, element by element and draw by draw independent', () => {
    const n = 200000;
    const [a, b, c] = [of(1n, [0, 0], n), of(1n, [1, 0], n), of(2n, [0, 0], n)];
    const allowed = STANDARD_ERRORS / Math.sqrt(n);
    expectClose([mean(a), mean(a.map((z) => z ** 3))], [0, 0], [allowed, Math.sqrt(15) * allowed]);
    expectClose([mean(a.map((z) => z * z)), mean(a.map((z) => z ** 4))], [1, 3], [Math.SQRT2 * allowed, 10 * allowed]);
    for (const other of [b, c, a.map((_, i) => a[(i + 1) % n])])
      expectClose([mean(a.map((z, i) => z * other[i]))], [0], allowed);
    expect(Math.max(...a.subarray(0, 65536))).toBeLessThan(5.8);
  });

  test('a shorter draw is the beginning of a longer one', () => {
    expectClose(of(9n, [4, 5], 7), of(9n, [4, 5], 64).subarray(0, 7), 0);
  });

  test('every word of seed and draw counts', () => {
    const base = of(0n, [0, 0], 4);
    for (const other of [of(1n, [0, 0], 4), of(2n ** 32n, [0, 0], 4), of(0n, [1, 0], 4), of(0n, [0, 1], 4)])
      expect(other).not.toEqual(base);
  });

  test('as a generator: draws follow each other, a state goes on', () => {
    const generator = new CounterGenerator(-3);
    const first = generator.randn(10);
    const { state } = generator;
    const second = generator.randn(10);
    expect(second).not.toEqual(first);
    const again = new CounterGenerator(-3);
    again.state = JSON.parse(JSON.stringify(state));
    expectClose(again.randn(10), second, 0);
    expect(() => generator.randn(-1)).toThrow(InvalidArgumentError);
    expect(() => (again.state = { seed: '5', draw: 0 })).toThrow(/state of seed/);
  });
});
