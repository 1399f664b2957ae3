import { describe, expect, test } from 'vitest';
import { InvalidArgumentError, ShapeError } from '../../src/engine/errors.ts';
import { HostSpace, type HostVec } from '../../src/sampler/hostVec.ts';
import { LinearForm, type BoxDirection, type Vec } from '../../src/sampler/vec.ts';
import { expectClose, F64 } from '../support/close.ts';
import { vecSpaceCases } from './vecSpaceCases.ts';

const space = new HostSpace('f64');
const data = (v: unknown): ArrayLike<number> => (v as HostVec).data;

describe('LinearForm', () => {
  const [a, b] = [space.vec([1, 2, 3]), space.vec([10, 20, 30])];

  test('adds coefficients of one vector, and computes only when materialised', () => {
    const form = LinearForm.of(a, 2).plus(b, 0.5).minus(a).scale(3).plusConstant(7);
    expect(form.terms.get(a)).toBe(3);
    expect(form.terms.size).toBe(2);
    expectClose(data(form.materialise()), [25, 43, 61], F64);
  });

  test('1·v is v itself; 1·v + 1 and 2·v are not', () => {
    expect(LinearForm.of(a).plus(b, 0).materialise()).toBe(a);
    expect(LinearForm.of(a).plusConstant(1).materialise()).not.toBe(a);
    expect(LinearForm.of(a, 2).materialise()).not.toBe(a);
  });

  test('a term with coefficient 0 is not read, so its infinities do no harm', () => {
    const wild = space.vec([Infinity, NaN, 1]);
    expectClose(data(LinearForm.of(a, 2).plus(wild, 0).materialise()), [2, 4, 6], 0);
  });

  test('f32 storage rounds once, at the end', () => {
    const f32 = new HostSpace('f32');
    const [big, one] = [f32.vec([1e8]), f32.vec([1])];
    expectClose(data(LinearForm.of(big).plus(one).minus(big).plus(big, 1).minus(big, 1).materialise()), [1], 0);
  });

  test('lengths that differ are refused', () => {
    expect(() => LinearForm.of(a).plus(space.vec([1, 2]))).toThrow(InvalidArgumentError);
    expect(() => LinearForm.of(space.vec([1, 2, 3, 4], 2)).plus(space.vec([1, 2, 3, 4], 4))).toThrow(/2 items/);
  });
});

describe('named operations', () => {
  const x = LinearForm.of(space.vec([-4, -1, 0.5, 2, -0.1, 0.2, 0.3, -0.4], 2));

  test('clamp', () => {
    expectClose(data(space.clamp(x, -1, 1)), [-1, -1, 0.5, 1, -0.1, 0.2, 0.3, -0.4], F64);
  });

  test('threshold treats each item alone, and leaves a small one as it is', () => {
    // |item 0| sorted: 0.5 1 2 4; quantile 0.5 = 1.5
    const want = [-1, -1 / 1.5, 0.5 / 1.5, 1, -0.1, 0.2, 0.3, -0.4];
    expectClose(data(space.threshold(x, 0.5, 10)), want, F64);
    const capped = [-1, -1 / 1.2, 0.5 / 1.2, 1, -0.1, 0.2, 0.3, -0.4];
    expectClose(data(space.threshold(x, 0.5, 1.2)), capped, F64);
  });

  test('mulExp and mulSqrt', () => {
    const v = space.vec([2, 3]);
    const u = LinearForm.of(space.vec([0, 4]), 0.5).plusConstant(1);
    expectClose(data(space.mulExp(v, u)), [2 * Math.E, 3 * Math.exp(3)], F64);
    expectClose(data(space.mulSqrt(v, u)), [2, 3 * Math.sqrt(3)], F64);
  });

  test('mask', () => {
    const [a, b, m] = [space.vec([1, 2, 3]), space.vec([10, 20, 30]), space.vec([1, 0, 0.5])];
    expectClose(data(space.mask(LinearForm.of(a), LinearForm.of(b), m)), [1, 20, 16.5], F64);
    expect(() => space.mask(LinearForm.of(a), LinearForm.of(b), space.vec([1]))).toThrow(ShapeError);
  });

  test('halves splits the channels of every item', () => {
    const [a, b] = space.halves(space.vec([1, 2, 3, 4, 5, 6, 7, 8], 2));
    expectClose(data(a), [1, 2, 5, 6], 0);
    expectClose(data(b), [3, 4, 7, 8], 0);
    expect(a.batch).toBe(2);
    expect(() => space.halves(space.vec([1, 2, 3]))).toThrow(ShapeError);
  });

  test('matchStd gives each item the spread of the reference', () => {
    const v = LinearForm.of(space.vec([0, 2, 0, 20], 2));
    const reference = space.vec([5, 9, 1, 2], 2); // spread 2 and 1/20 of v's
    expectClose(data(space.matchStd(v, reference, 1)), [0, 4, 0, 1], F64);
    expectClose(data(space.matchStd(v, reference, 0.5)), [0, 3, 0, 10.5], F64);
  });

  test('project keeps the part along a direction in every box', () => {
    const v = LinearForm.of(space.vec([1, 2, 3, 4, 5, 6, 7, 8], 2));
    const rows = { shape: [1, 2, 2], box: [1, 1, 2], direction: [3] } as const;
    expectClose(data(space.project(v, rows)), [1.5, 1.5, 3.5, 3.5, 5.5, 5.5, 7.5, 7.5], F64);
    const pixels = { shape: [2, 1, 2], box: [2, 1, 1], direction: [1, 2] } as const;
    expectClose(data(space.project(v, pixels)), [1.4, 2, 2.8, 4, 3.8, 4.4, 7.6, 8.8], F64);
    const refused = (along: Partial<BoxDirection>) => expect(() => space.project(v, { ...pixels, ...along }));
    refused({ direction: [0, 0] }).toThrow(InvalidArgumentError);
    refused({ direction: [1] }).toThrow(/direction of 2/);
    refused({ box: [2, 1, 4] }).toThrow(/divides 2 × 1 × 2/);
    refused({ shape: [2, 1, 3] }).toThrow(ShapeError);
  });

  test('norm and quantile per item', async () => {
    const v = space.vec([3, -4, 0, 5], 2);
    expectClose(await space.norm(v), [5, 5], F64);
    expectClose(await space.quantile(v, 0.75), [3.75, 3.75], F64);
  });

  test('values of another shape are refused', () => {
    expect(() => space.upload(new Float32Array(3), space.vec([1, 2]))).toThrow(ShapeError);
    expect(() => space.vec([1, 2, 3], 2)).toThrow(InvalidArgumentError);
  });
});

describe('f32 storage agrees with f64', () => {
  const f32 = new HostSpace();
  test.each(vecSpaceCases)('$name', async ({ run }) => run((values, [batch]) => f32.vec(values, batch)));

  test('an operation that is wrong is seen', async () => {
    class Wrong extends HostSpace {
      override clamp(form: LinearForm, lo: number, hi: number): Vec {
        return super.clamp(form, lo, hi + 1e-4);
      }
    }
    const clamp = vecSpaceCases.find(({ name }) => name.startsWith('clamp, [2'))!;
    await expect(clamp.run((values, [batch]) => new Wrong().vec(values, batch))).rejects.toThrow(/worst/);
  });
});
