import { describe, expect, test } from 'vitest';
import { standing } from '../../bench/roofline/roofline.ts';
import { curvesOf, fitPower } from '../../bench/scaling/growth.ts';
import { expectClose, F64 } from '../support/close.ts';
import { result } from './reports.ts';

describe('a fitted power', () => {
  test('is found exactly where there is one', () => {
    const fit = fitPower([1, 2, 5, 9].map((x) => ({ x, y: 3 * x ** 2.5 })))!;
    expectClose([fit.exponent, fit.factor, fit.r2], [2.5, 3, 1], F64);
  });

  test('of noisy points is that of least squares', () => {
    // ln x = 0, 1, 2 and ln y = 0, 3, 3: slope 3/2, intercept 1/2.
    const points = [0, 3, 3].map((y, i) => ({ x: Math.exp(i), y: Math.exp(y) }));
    const fit = fitPower(points)!;
    expectClose([fit.exponent, Math.log(fit.factor), fit.r2], [1.5, 0.5, 0.75], F64);
  });

  test.each([
    ['one point', [{ x: 1, y: 1 }]],
    [
      'a value that is not positive',
      [
        { x: 1, y: 1 },
        { x: 2, y: 0 },
      ],
    ],
    [
      'one place',
      [
        { x: 2, y: 1 },
        { x: 2, y: 4 },
      ],
    ],
  ])('is none for %s', (_, points) => {
    expect(fitPower(points)).toBeNull();
  });
});

describe('curves', () => {
  const point = (x: number, ms: number, dtype: 'f32' | 'f16' = 'f32') =>
    result({
      ...{ suite: 'scaling', name: `conv/${x}`, dtype, ms, gpuMs: null, gflops: (2 * x ** 2) / (ms * 1e6) },
      activations: { peakBytes: 8 * x, liveBytes: 8 * x },
      growth: { curve: 'conv', axis: 'side', x, theory: { time: 2, memory: 1 } },
    });

  test('are put together from their points in order, and fitted where a submit no longer counts', () => {
    // 5 ms at least, whatever the size.
    const cost = (x: number) => Math.max(5, x ** 2);
    const [curve, other] = curvesOf(
      [16, 1, 2, 8, 4].map((x) => point(x, cost(x))).concat(point(1, 1, 'f16'), result({})),
    );
    expect(curve.points.map((p) => p.x)).toEqual([1, 2, 4, 8, 16]);
    expectClose([curve.time!.exponent, curve.memory!.exponent, curve.arithmetic!.exponent], [2, 1, 2], F64);
    expect(curve).toMatchObject({ curve: 'conv', axis: 'side', dtype: 'f32', theory: { time: 2, memory: 1 } });
    expect(other).toMatchObject({ dtype: 'f16', time: null });
  });
});

describe('under the roof', () => {
  const roof = { fmaGflops: 100, copyGbps: 10 };

  test('work is bound by what takes longer', () => {
    const arithmetic = standing(roof, { flops: 1e9, bytes: 1e6, ms: 40 })!;
    expect(arithmetic.by).toBe('arithmetic');
    expectClose([arithmetic.boundMs, arithmetic.fraction], [10, 0.25], F64);
    const memory = standing(roof, { flops: 1e6, bytes: 1e8, ms: 10 })!;
    expect(memory.by).toBe('memory');
    expectClose([memory.boundMs, memory.fraction], [10, 1], F64);
  });

  test('work that is not counted stands nowhere', () => {
    expect(standing(roof, { flops: 0, bytes: 0, ms: 1 })).toBeUndefined();
  });
});
