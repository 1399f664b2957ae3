/** Backward ops, each against differences of the naive forward in f64. */
import { describe, expect, it } from 'vitest';
import { Graph, InvalidArgumentError, ShapeError, type Tensor, type Tunables } from '../../src/engine/index.ts';
import { activationGrad } from '../../src/kernels/activationGrad.ts';
import { attentionGrad } from '../../src/kernels/attentionGrad.ts';
import { groupNormGrad } from '../../src/kernels/groupNormGrad.ts';
import { linearInputGrad, logProbGrad } from '../../src/kernels/linearGrad.ts';
import { avgPool2Grad, pixelMean, pixelMeanGrad, upsampleNearest2Grad } from '../../src/kernels/resampleGrad.ts';
import { activation } from '../reference/activation.ts';
import { attentionReference } from '../reference/attention.ts';
import { numericGradient } from '../reference/gradient.ts';
import { groupNormReference } from '../reference/norm.ts';
import { avgPool2Reference, upsampleNearestReference } from '../reference/resample.ts';
import { dotTolerance, expectClose } from '../support/close.ts';
import { adapters } from '../support/gpu.ts';
import { normals, roundTo } from '../support/random.ts';
import { openDevice, runGraph, storages } from '../support/runGraph.ts';

type Values = Record<string, { shape: readonly number[]; data: Float32Array | Uint32Array }>;

const numel = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);
const random = (dtype: 'f32' | 'f16', seed: number, shape: readonly number[], std = 1) => ({
  shape,
  data: roundTo(dtype, normals(seed, numel(shape), { std })),
});
const largest = (values: ArrayLike<number>) => Array.from(values).reduce((most, v) => Math.max(most, Math.abs(v)), 0);

describe.each(adapters())('gradients on %s', (adapter) => {
  describe.each(storages(adapter))('%s', (_, dtype, options) => {
    /** Runs what `record` makes of the inputs; outputs by name. */
    async function run(
      values: Values,
      record: (t: Record<string, Tensor>) => Record<string, Tensor>,
      weights: Record<string, Float32Array> = {},
      tunables?: Record<string, Tunables>,
    ) {
      const g = new Graph(dtype);
      const tensors = Object.entries(values).map(([name, { shape, data }]) => {
        const ids = data instanceof Uint32Array;
        return [name, g.input(name, shape, ids ? { dtype: 'u32' } : { layout: 'rows', dtype })] as const;
      });
      for (const [name, t] of Object.entries(record(Object.fromEntries(tensors)))) g.output(name, t);
      const inputs = Object.fromEntries(Object.entries(values).map(([name, { data }]) => [name, data]));
      return (await runGraph(await openDevice(adapter, options), g, { inputs, weights, tunables })).outputs;
    }

    it.each([
      { B: 2, P: 15, C: 12, groups: 3, mean: 5, affine: true, LANES: 1 },
      { B: 1, P: 300, C: 6, groups: 2, mean: 0, affine: false, LANES: 8 },
      { B: 3, P: 1, C: 10, groups: 5, mean: 0, affine: true, LANES: 1 },
    ])('of groupNorm [$B,$P,$C] in $groups', async ({ B, P, C, groups, mean, affine, LANES }) => {
      const shape = [B, P, C];
      const [x, g] = [random(dtype, 1, shape), random(dtype, 2, shape)];
      x.data = roundTo(
        dtype,
        x.data.map((v) => v + mean),
      );
      const gamma = normals(3, C);
      const eps = 1e-5;
      const { dx } = await run(
        { x, g },
        (t) => ({ dx: groupNormGrad(t.g, t.x, affine ? { key: 'gamma', shape: [C] } : undefined, { groups, eps }) }),
        { gamma },
        { groupNormGradMeans: { LANES } },
      );
      const forward = (at: ArrayLike<number>) =>
        groupNormReference(at, { B, P, C, groups }, { gamma: affine ? gamma : undefined, eps });
      const want = numericGradient((at) => forward(at).out, x.data, g.data);
      const scale = largest(g.data) * (largest(forward(x.data).gain) + largest(want));
      expectClose(dx, want, dotTolerance(dtype, (P * C) / groups, scale), 'dx');
    });

    it.each(['silu', 'relu', 'none'] as const)('of act(x·(1 + scale) + shift), act %s', async (act) => {
      const [B, P, C] = [2, 5, 7];
      const [g, a] = [random(dtype, 1, [B, P, C]), random(dtype, 2, [B, P, C], 3)];
      const scale = random(dtype, 3, [B, C]);
      const { plain, filmed } = await run({ g, a, scale }, (t) => ({
        plain: activationGrad(t.g, t.a, { act }),
        filmed: activationGrad(t.g, t.a, { act, scale: t.scale }),
      }));
      const want = numericGradient((at) => at.map((v) => activation(v, act)), a.data, g.data);
      const factor = (i: number) => 1 + scale.data[Math.floor(i / (P * C)) * C + (i % C)];
      const tolerance = dotTolerance(dtype, 4, 5 * largest(g.data) * largest(scale.data));
      expectClose(plain, want, tolerance, 'plain');
      expectClose(
        filmed,
        want.map((v, i) => v * factor(i)),
        tolerance,
        'filmed',
      );
    });

    it.each([
      { B: 2, T: 5, S: 7, heads: 2, d: 3 },
      { B: 1, T: 1, S: 17, heads: 3, d: 8 },
    ])('of attention [$B,$T,$S] × $heads·$d', async (shape) => {
      const { B, T, S, heads, d } = shape;
      const D = heads * d;
      const [q, k, v, g] = [T, S, S, T].map((n, i) => random(dtype, i + 1, [B, n, D], i < 2 ? 2 : 1));
      const outputs = await run({ q, k, v, g }, (t) => {
        const grads = attentionGrad(t.g, t.q, t.k, t.v, { heads });
        return { dq: grads.q, dk: grads.k, dv: grads.v };
      });
      const by = {
        dq: (at: Float64Array) => attentionReference(at, k.data, v.data, shape).out,
        dk: (at: Float64Array) => attentionReference(q.data, at, v.data, shape).out,
        dv: (at: Float64Array) => attentionReference(q.data, k.data, at, shape).out,
      };
      const scale = 10 * largest(g.data) * largest(v.data) * largest(q.data);
      for (const [name, f] of Object.entries(by)) {
        const from = { dq: q, dk: k, dv: v }[name]!;
        expectClose(outputs[name], numericGradient(f, from.data, g.data), dotTolerance(dtype, S * d, scale), name);
      }
    });

    it('of a linear layer and of the log probability of a class', async () => {
      const [B, K, N] = [3, 6, 11];
      const g = random(dtype, 1, [B, 4, N]);
      const logits = random(dtype, 2, [B, N], 4);
      logits.data[3] = 300;
      const ids = { shape: [B], data: Uint32Array.from([3, 0, N - 1]) };
      const w = roundTo(dtype, normals(4, N * K));
      const { dx, dl } = await run(
        { g, logits, ids },
        (t) => ({
          dx: linearInputGrad(t.g, { key: 'w', shape: [N, K, 1] }),
          dl: logProbGrad(t.logits, t.ids, { scale: 8 }),
        }),
        { w },
      );
      const product = (x: Float64Array) =>
        Float64Array.from({ length: 4 * B * N }, (_v, i) => {
          let sum = 0;
          for (let j = 0; j < K; j++) sum += x[Math.floor(i / N) * K + j] * w[(i % N) * K + j];
          return sum;
        });
      const truth = numericGradient(product, new Float64Array(4 * B * K), g.data);
      expectClose(dx, truth, dotTolerance(dtype, N, 10), 'linear');
      const logProb = (l: Float64Array) =>
        Float64Array.from(ids.data, (id, b) => {
          const own = l.subarray(b * N, (b + 1) * N);
          const top = Math.max(...own);
          return own[id] - top - Math.log(own.reduce((sum, v) => sum + Math.exp(v - top), 0));
        });
      expectClose(dl, numericGradient(logProb, logits.data, [8, 8, 8]), dotTolerance(dtype, N, 8), 'log probability');
    });

    it('of halving, doubling and the mean of a map', async () => {
      const [B, H, W, C] = [2, 5, 6, 5];
      const small = [B, 2, 3, C];
      const half = random(dtype, 1, small);
      const whole = random(dtype, 2, [B, 4, 6, C]);
      const row = random(dtype, 3, [B, C]);
      const map = random(dtype, 4, [B, H, W, C]);
      const outputs = await run({ half, whole, row, map }, (t) => ({
        halved: avgPool2Grad(t.half, { height: H, width: W }),
        doubled: upsampleNearest2Grad(t.whole),
        spread: pixelMeanGrad(t.row, { height: H, width: W }),
        mean: pixelMean(t.map),
      }));
      const tolerance = dotTolerance(dtype, H * W, 8);
      const zeros = new Float64Array(B * H * W * C);
      const pooled = (data: Float64Array) => avgPool2Reference({ data, shape: [B, H, W, C] }).data;
      expectClose(outputs.halved, numericGradient(pooled, zeros, half.data), tolerance, 'avgPool2');
      const enlarged = (data: Float64Array) => upsampleNearestReference({ data, shape: small }, 4, 6).data;
      expectClose(
        outputs.doubled,
        numericGradient(
          enlarged,
          half.data.map(() => 0),
          whole.data,
        ),
        tolerance,
        'nearest',
      );
      const means = (data: ArrayLike<number>) =>
        Float64Array.from({ length: B * C }, (_v, i) => {
          let sum = 0;
          for (let p = 0; p < H * W; p++) sum += data[(Math.floor(i / C) * H * W + p) * C + (i % C)];
          return sum / (H * W);
        });
      expectClose(outputs.mean, means(map.data), tolerance, 'mean');
      expectClose(outputs.spread, numericGradient(means, zeros, row.data), tolerance, 'pixelMean');
    });
  });
});

describe('arguments of backward ops', () => {
  const g = new Graph();
  const rows = (name: string, shape: number[]) => g.input(name, shape, { layout: 'rows' });
  const [x, y, q] = [rows('x', [2, 4, 6]), rows('y', [2, 4, 5]), rows('q', [2, 4, 4, 6])];
  it('says what does not fit', () => {
    expect(() => groupNormGrad(y, x, undefined, { groups: 2, eps: 0 })).toThrow(ShapeError);
    expect(() => groupNormGrad(x, x, undefined, { groups: 4, eps: 0 })).toThrow(InvalidArgumentError);
    expect(() => groupNormGrad(x, x, { key: 'w', shape: [5] }, { groups: 2, eps: 0 })).toThrow(/weight \[6\]/);
    expect(() => activationGrad(x, y, { act: 'silu' })).toThrow(ShapeError);
    expect(() => attentionGrad(x, x, x, y, { heads: 1 })).toThrow(ShapeError);
    expect(() => attentionGrad(x, x, x, x, { heads: 4 })).toThrow(/heads to divide 6/);
    expect(() => linearInputGrad(x, { key: 'w', shape: [5, 6] })).toThrow(/expected g \[...,5\]/);
    expect(() => logProbGrad(rows('l', [2, 3]), rows('i', [2]))).toThrow(/u32 ids \[2\]/);
    expect(() => avgPool2Grad(q, { height: 10, width: 8 })).toThrow(ShapeError);
    expect(() => upsampleNearest2Grad(rows('odd', [1, 3, 2, 4]))).toThrow(/even height/);
    expect(() => pixelMean(x)).toThrow(ShapeError);
  });
});
