import { describe, expect, test } from 'vitest';
import { problemError } from '../../bench/kernels/cases.ts';
import { count, flopsOf, operands, problemData, type Problem } from '../../bench/kernels/problem.ts';
import { SHAPES } from '../../bench/kernels/shapes.ts';
import { sampleIndices, truthOf } from '../../bench/kernels/truth.ts';
import { MismatchError, verifyNorm } from '../../bench/verify.ts';
import { attentionReference } from '../reference/attention.ts';
import { convReference } from '../reference/conv.ts';
import { linearReference } from '../reference/linear.ts';
import { groupNormReference, layerNormReference } from '../reference/norm.ts';
import { expectClose, F64 } from '../support/close.ts';

const conv = { B: 2, H: 5, W: 4, I: 6, O: 7, R: 3, S: 3, stride: 2, top: 0, left: 0, bottom: 1, right: 1 };
const group = { B: 2, H: 3, W: 5, C: 12, groups: 3, eps: 1e-5 };

/** Each problem with all of its outputs from the references that the kernel tests use. */
const whole: [Problem, (data: Record<string, Float32Array>) => Float64Array][] = [
  [{ op: 'matmul', M: 4, N: 6, K: 9 }, ({ x, w, b }) => linearReference(x, w, { M: 4, N: 6, K: 9 }, { bias: b })],
  [{ op: 'conv2d', ...conv }, ({ x, w, b }) => convReference(x, w, conv, { bias: b })],
  [
    { op: 'groupNorm', ...group },
    ({ x, w, b }) => groupNormReference(x, { ...group, P: 15 }, { gamma: w, beta: b, act: 'silu', eps: 1e-5 }).out,
  ],
  [
    { op: 'layerNorm', M: 5, D: 11, eps: 1e-5 },
    ({ x, w, b }) => layerNormReference(x, { M: 5, D: 11 }, { gamma: w, beta: b, eps: 1e-5 }).out,
  ],
  [
    { op: 'attention', B: 2, T: 5, S: 7, heads: 3, d: 4 },
    ({ q, k, v }) => attentionReference(q, k, v, { B: 2, T: 5, S: 7, heads: 3, d: 4 }).out,
  ],
  [{ op: 'elementwise', kind: 'add', B: 2, H: 2, W: 3, C: 5 }, ({ x, y }) => Float64Array.from(x, (v, i) => v + y[i])],
  [
    { op: 'elementwise', kind: 'scaleShift', B: 2, H: 2, W: 3, C: 5 },
    ({ x, scale, shift }) =>
      Float64Array.from(x, (v, i) => {
        const row = Math.floor(i / 30) * 5 + (i % 5);
        return v * (1 + scale[row]) + shift[row];
      }),
  ],
];

describe('sampled truth', () => {
  test.each(whole)('of %j is the whole reference at that index', (problem, reference) => {
    const data = problemData(problem, 'f32');
    const at = truthOf(problem, data, 'f32');
    const want = reference(data);
    const n = count(operands(problem).out);
    expect(want).toHaveLength(n);
    expectClose(
      Array.from({ length: n }, (_, i) => at(i).want),
      want,
      Array.from(want, (v) => F64 * (1 + Math.abs(v))),
    );
  });

  test.each(whole)('of %j refuses one wrong element, and NaN', (problem, reference) => {
    const data = problemData(problem, 'f32');
    const got = Float32Array.from(reference(data));
    expect(problemError(problem, data, 'f32', got)).toBeLessThan(1);
    const [, last] = sampleIndices(got.length);
    for (const wrong of [NaN, got[last] + 0.01]) {
      const changed = Float32Array.from(got);
      changed[last] = wrong;
      expect(problemError(problem, data, 'f32', changed)).toBeGreaterThan(1);
    }
  });

  test('of SiLU', () => {
    const problem: Problem = { op: 'elementwise', kind: 'silu', B: 1, H: 1, W: 2, C: 3 };
    const { x } = problemData(problem, 'f32');
    const { want } = truthOf(problem, { x }, 'f32')(4);
    expectClose([want], [x[4] / (1 + Math.exp(-x[4]))], F64);
  });
});

describe('whole networks', () => {
  test('are measured by the norm of the error', () => {
    expect(verifyNorm([3, 4.5], [3, 4], 0.2, 'x')).toBe(0.5);
    expect(() => verifyNorm([3, 5.5], [3, 4], 0.2, 'x')).toThrow(MismatchError);
  });

  test.each([[[NaN, 4]], [[3]], [[3, 4, 5]]])('%j is wrong for [3, 4]', (got) => {
    expect(() => verifyNorm(got, [3, 4], 0.2, 'x')).toThrow(MismatchError);
  });
});

describe('the shapes', () => {
  test('have names of their own and one quick case at least in each group', () => {
    const names = SHAPES.map(({ id, problem }) => `${problem.op}/${id}`);
    expect(new Set(names).size).toBe(names.length);
    const quick = new Set(SHAPES.filter((s) => s.quick).map((s) => s.problem.op));
    expect([...quick].sort()).toEqual(['attention', 'conv2d', 'elementwise', 'groupNorm', 'layerNorm', 'matmul']);
  });

  test('count arithmetic as the field does', () => {
    expect(flopsOf({ op: 'matmul', M: 2, N: 3, K: 5 })).toBe(60);
    expect(flopsOf({ op: 'attention', B: 1, T: 2, S: 3, heads: 2, d: 4 })).toBe(2 * (2 * 2 * 2 * 3 * 4));
    // 3 × 2 outputs per item: height 5 + 1 and width 4 + 1 by a 3×3 kernel at stride 2.
    expect(flopsOf({ op: 'conv2d', ...conv })).toBe(2 * 2 * 2 * 2 * 7 * 6 * 9);
  });
});
