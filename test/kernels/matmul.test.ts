import { describe, expect, it } from 'vitest';
import { Graph, ShapeError } from '../../src/engine/index.ts';
import { linear } from '../../src/kernels/matmul.ts';
import { linearReference } from '../reference/linear.ts';
import { dotTolerance, expectClose } from '../support/close.ts';
import { adapters } from '../support/gpu.ts';
import { normals, pairwise, roundTo } from '../support/random.ts';
import { openDevice, runGraph, storages } from '../support/runGraph.ts';

const cases = pairwise({
  M: [1, 2, 7, 33, 64],
  K: [1, 3, 4, 31, 130],
  N: [1, 4, 5, 63, 66],
  ROWS: [1, 2, 4, 8, 16],
  group: [
    [8, 8],
    [4, 16],
    [32, 1],
  ] as const,
  bias: [true, false],
  residual: [true, false],
  act: ['none', 'silu', 'gelu'] as const,
  std: [1, 200],
});

describe.each(adapters())('linear on %s', (adapter) => {
  describe.each(storages(adapter))('%s', (_, dtype, options) => {
    it.each(cases)('$M×$K×$N ROWS=$ROWS group=$group bias=$bias residual=$residual act=$act std=$std', async (c) => {
      const device = await openDevice(adapter, options);
      const { M, K, N } = c;
      const x = roundTo(dtype, normals(1, M * K, { std: c.std }));
      const w = roundTo(dtype, normals(2, N * K, { std: 1 / Math.sqrt(K) }));
      const bias = normals(3, N);
      const residual = roundTo(dtype, normals(4, M * N));
      const g = new Graph(dtype);
      const rows = { layout: 'rows', dtype } as const;
      const y = linear(
        g.input('x', [M, K], rows),
        { key: 'w', shape: [N, K] },
        c.bias ? { key: 'b', shape: [N] } : undefined,
        {
          act: c.act,
          residual: c.residual ? g.input('r', [M, N], rows) : undefined,
          scale: 0.5,
        },
      );
      g.output('y', y);
      const tunables = { matmul: { ROWS: c.ROWS, WG_N: c.group[0], WG_M: c.group[1] } };
      const { outputs } = await runGraph(device, g, { inputs: { x, r: residual }, weights: { w, b: bias }, tunables });
      const want = linearReference(x, w, c, {
        bias: c.bias ? bias : undefined,
        residual: c.residual ? residual : undefined,
        act: c.act,
        scale: 0.5,
      });
      expectClose(outputs.y, want, dotTolerance(dtype, K, 5 * c.std), 'linear');
    });
  });

  it('packs a 1×1 convolution weight as a matrix and reads rows beyond the last workgroup safely', async () => {
    const device = await openDevice(adapter);
    const g = new Graph();
    const y = linear(g.input('x', [2, 5, 3, 6], { layout: 'rows' }), { key: 'w', shape: [7, 6, 1, 1] });
    g.output('y', y);
    const x = normals(5, 180);
    const w = normals(6, 42);
    const { outputs } = await runGraph(device, g, { inputs: { x }, weights: { w } });
    expect(y.shape).toEqual([2, 5, 3, 7]);
    expectClose(outputs.y, linearReference(x, w, { M: 30, N: 7, K: 6 }), dotTolerance('f32', 6, 5));
  });
});

describe('linear shapes', () => {
  it('names both shapes when K differs', () => {
    const g = new Graph();
    const x = g.input('x', [2, 5], { layout: 'rows' });
    expect(() => linear(x, { key: 'fc.weight', shape: [3, 4] })).toThrow(ShapeError);
    expect(() => linear(x, { key: 'fc.weight', shape: [3, 4] })).toThrow(
      /x has K=5 but weight expects K=4.*fc\.weight/,
    );
    expect(() => linear(x, { key: 'fc.weight', shape: [3, 5] }, { key: 'fc.bias', shape: [4] })).toThrow(/bias \[3\]/);
    const residual = g.input('r', [2, 4], { layout: 'rows' });
    expect(() => linear(x, { key: 'fc.weight', shape: [3, 5] }, undefined, { residual })).toThrow(/residual \[2,3\]/);
  });
});
