import { describe, expect, test } from 'vitest';
import { geometricMean, median, quantile, spread } from '../../bench/statistics.ts';
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

describe('geometric mean', () => {
  test('of a ratio and its inverse is 1', () => {
    expect(geometricMean([4, 0.25])).toBe(1);
  });

  test.each([[[]], [[1, 0]], [[-1]]])('refuses %j', (values) => {
    expect(() => geometricMean(values)).toThrow(InvalidArgumentError);
  });
});
