import { describe, expect, test } from 'vitest';
import { geometricMean, median, medianInterval, pairedRatio, quantile, spread } from '../../bench/statistics.ts';
import { InvalidArgumentError } from '../../src/engine/errors.ts';

describe('quantiles', () => {
  test('order does not matter, and the input stays as it is', () => {
    const times = [5, 1, 4, 2, 3];
    expect(median(times)).toBe(3);
    expect(times).toEqual([5, 1, 4, 2, 3]);
  });

  test('lie between order statistics where they must', () => {
    expect(median([1, 2, 3, 10])).toBe(2.5);
    expect(quantile([0, 10], 0.25)).toBe(2.5);
    expect(quantile([7], 0.75)).toBe(7);
  });

  test('one interruption changes the median little and the spread not at all', () => {
    const quiet = [10, 10, 10, 10, 10, 10, 10];
    const disturbed = [10, 10, 10, 10, 10, 10, 900];
    expect(median(disturbed)).toBe(median(quiet));
    expect(spread(disturbed)).toBe(0);
  });

  test('sort by value, not by text', () => {
    expect(median([100, 9, 20])).toBe(20);
  });

  test.each([[[]], [[1, NaN]], [[Infinity]]])('refuse %j', (values) => {
    expect(() => median(values)).toThrow(InvalidArgumentError);
  });
});

describe('spread', () => {
  test('is the distance of the quartiles over the median', () => {
    expect(spread([8, 9, 10, 11, 12])).toBe(0.2);
  });

  test('of nothing but zeros is 0', () => {
    expect(spread([0, 0, 0])).toBe(0);
  });
});

describe('the interval of a median', () => {
  const upTo = (n: number) => Array.from({ length: n }, (_, i) => n - i);

  // Largest k with 2·P(Bin(n, ½) < k) ≤ 0.05, as tables of the sign test have it.
  test.each([
    [6, 1],
    [8, 1],
    [9, 2],
    [20, 6],
    [100, 40],
  ])('of %i values goes from number %i of the sorted ones to the one as far from the end', (n, k) => {
    expect(medianInterval(upTo(n))).toEqual({ low: k, high: n + 1 - k });
  });

  test('is none for too few values to be that sure', () => {
    for (const n of [0, 1, 5]) expect(medianInterval(upTo(n))).toBeUndefined();
    expect(medianInterval(upTo(5), 0.9)).toEqual({ low: 1, high: 5 });
  });

  test('holds the median of the distribution as often as it says', () => {
    const random = uniforms(7);
    let outside = 0;
    for (let trial = 0; trial < 2000; trial++) {
      const { low, high } = medianInterval(Array.from({ length: 15 }, random))!;
      if (low > 0.5 || high < 0.5) outside++;
    }
    // 2·P(Bin(15, ½) < 4) = 0.0352: 70 ± 8 of 2000.
    expect(outside).toBeGreaterThan(30);
    expect(outside).toBeLessThan(110);
  });

  /** A linear congruential generator: Numerical Recipes, 7.1. */
  function uniforms(seed: number): () => number {
    return () => (seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0) / 2 ** 32;
  }
});

describe('a ratio of pairs', () => {
  test('is not moved by what slows both of a pair', () => {
    const slow = [1, 1, 3, 1, 1.5, 1, 7];
    const ratio = pairedRatio(
      slow.map((s) => 102 * s),
      slow.map((s) => 100 * s),
    );
    expect(ratio).toEqual({ ratio: 1.02, low: 1.02, high: 1.02, pairs: 7 });
  });

  test('has no interval where pairs are few, and forgets what has no partner', () => {
    expect(pairedRatio([2, 4, 6, 100], [1, 2, 3])).toEqual({ ratio: 2, low: null, high: null, pairs: 3 });
  });
});

describe('geometric mean', () => {
  test('of a ratio and its inverse is 1', () => {
    expect(geometricMean([4, 0.25])).toBe(1);
  });

  test.each([[[]], [[1, 0]], [[-1]]])('refuses %j', (values) => {
    expect(() => geometricMean(values)).toThrow(InvalidArgumentError);
  });
});
