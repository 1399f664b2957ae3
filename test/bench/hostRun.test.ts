import { describe, expect, test } from 'vitest';
import { hostRun } from '../../bench/models/hostRun.ts';
import { Graph, UnsupportedError, type Tensor } from '../../src/engine/index.ts';
import {
  add,
  attention,
  avgPool2,
  concat,
  conv2d,
  fromNchw,
  groupNorm,
  linear,
  reshape,
  scaleShift,
  toNchw,
  upsampleNearest,
} from '../../src/kernels/index.ts';
import { activation } from '../reference/activation.ts';
import { attentionReference } from '../reference/attention.ts';
import { convReference } from '../reference/conv.ts';
import { linearReference } from '../reference/linear.ts';
import { groupNormReference } from '../reference/norm.ts';
import { upsampleNearestReference } from '../reference/resample.ts';
import { expectClose, F64 } from '../support/close.ts';
import { normals } from '../support/random.ts';

const [B, H, W, C, O] = [2, 4, 3, 8, 6];
const x = normals(1, B * H * W * C);
const y = normals(2, B * H * W * C);
const row = normals(3, B * C);
const weights: Record<string, Float32Array> = {
  matrix: normals(4, O * C),
  conv: normals(5, O * C * 9),
  bias: normals(6, O),
  gamma: normals(7, C, { mean: 1 }),
  beta: normals(8, C),
};

/** What the interpreter makes of one op on x and y [B,H,W,C], row [B,C]. */
function run(record: (t: Record<'x' | 'y' | 'row', Tensor>) => Tensor): Promise<Float64Array> {
  const g = new Graph();
  const rows = { layout: 'rows' } as const;
  const t = {
    x: g.input('x', [B, H, W, C], rows),
    y: g.input('y', [B, H, W, C], rows),
    row: g.input('row', [B, C], rows),
  };
  g.output('out', record(t));
  return hostRun(g, { x, y, row }, async (key) => weights[key]);
}

const near = (got: ArrayLike<number>, want: ArrayLike<number>) => {
  expect(got).toHaveLength(want.length);
  expectClose(
    got,
    want,
    Array.from(want, (v) => 100 * F64 * (1 + Math.abs(v))),
  );
};
const matrix = { key: 'matrix', shape: [O, C] };
const bias = { key: 'bias', shape: [O] };

describe('the host computes', () => {
  test('linear with activation and residual', async () => {
    const residual = convReference(x, weights.matrix, { ...shape(1), stride: 1 }, { bias: weights.bias });
    const got = await run((t) =>
      linear(t.x, matrix, bias, { act: 'silu', residual: linear(t.x, matrix, bias), scale: 0.5 }),
    );
    const form = { M: B * H * W, N: O, K: C };
    near(got, linearReference(x, weights.matrix, form, { bias: weights.bias, residual, act: 'silu', scale: 0.5 }));
  });

  test('conv2d with stride, one-sided padding, shift and activation', async () => {
    const c = { ...shape(3), stride: 2, top: 0, left: 1, bottom: 1, right: 1 };
    const got = await run((t) =>
      conv2d(t.x, { key: 'conv', shape: [O, C, 3, 3] }, bias, {
        ...{ stride: 2, padding: { top: 0, left: 1, bottom: 1, right: 1 }, act: 'gelu' as const },
        shift: linear(t.row, matrix),
      }),
    );
    const shift = linearReference(row, weights.matrix, { M: B, N: O, K: C });
    near(got, convReference(x, weights.conv, c, { bias: weights.bias, shift, act: 'gelu' }));
  });

  test('groupNorm', async () => {
    const affine = [
      { key: 'gamma', shape: [C] },
      { key: 'beta', shape: [C] },
    ] as const;
    const got = await run((t) => groupNorm(t.x, ...affine, { groups: 2, eps: 1e-5, act: 'silu' }));
    const e = { gamma: weights.gamma, beta: weights.beta, act: 'silu', eps: 1e-5 } as const;
    near(got, groupNormReference(x, { B, P: H * W, C, groups: 2 }, e).out);
  });

  test('attention', async () => {
    const tokens = (t: Tensor) => reshape(t, [B, H * W, C]);
    const got = await run((t) => attention(tokens(t.x), tokens(t.y), tokens(t.x), { heads: 2 }));
    near(got, attentionReference(x, y, x, { B, T: H * W, S: H * W, heads: 2, d: C / 2 }).out);
  });

  test('elementwise ops, an operand per item too', async () => {
    const item = (i: number) => Math.floor(i / (H * W * C)) * C + (i % C);
    near(
      await run((t) => add(t.x, t.y, { alpha: 2, act: 'silu' })),
      Array.from(x, (v, i) => activation(2 * v + y[i], 'silu')),
    );
    near(
      await run((t) => scaleShift(t.x, t.row, t.row)),
      Array.from(x, (v, i) => v * (1 + row[item(i)]) + row[item(i)]),
    );
  });

  test('concat, upsampleNearest, and both edges', async () => {
    const both = await run((t) => concat(t.x, t.y));
    near(both.subarray(0, 2 * C), [...x.subarray(0, C), ...y.subarray(0, C)]);
    near(
      await run((t) => upsampleNearest(t.x, { height: 8, width: 6 })),
      upsampleNearestReference({ data: x, shape: [B, H, W, C] }, 8, 6).data,
    );
    const g = new Graph();
    g.output('out', toNchw(fromNchw(g.input('x', [B, C, H, W]), { scale: 2, offset: -1 })));
    near(
      await hostRun(g, { x }, async () => x),
      Array.from(x, (v) => 2 * v - 1),
    );
  });

  test('nothing it does not know', async () => {
    await expect(run((t) => avgPool2(t.x))).rejects.toThrow(UnsupportedError);
  });
});

function shape(side: number) {
  return { B, H, W, I: C, O, R: side, S: side, top: 0, left: 0, bottom: 0, right: 0 };
}
