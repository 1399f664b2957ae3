/** Kernels of transformers: rotary positions, position tables, patches back to pictures. */
import { describe, expect, it } from 'vitest';
import { Graph, numel } from '../../src/engine/index.ts';
import { addShared } from '../../src/kernels/addShared.ts';
import { rope } from '../../src/kernels/rope.ts';
import { unpatchify } from '../../src/kernels/unpatchify.ts';
import { ropeReference, unpatchifyReference } from '../reference/tokens.ts';
import { dotTolerance, expectClose } from '../support/close.ts';
import { adapters } from '../support/gpu.ts';
import { normals, pairwise, roundTo } from '../support/random.ts';
import { openDevice, runGraph, storages } from '../support/runGraph.ts';

const up4 = (n: number) => 4 * Math.ceil(n / 4);
const largest = (x: ArrayLike<number>) => Array.from(x).reduce((a, v) => Math.max(a, Math.abs(v)), 0);

describe.each(adapters())('tokens on %s', (adapter) => {
  describe.each(storages(adapter))('%s', (_, dtype, options) => {
    const values = (seed: number, shape: readonly number[], outlier = 0) => {
      const x = normals(seed, numel(shape));
      if (outlier) x[x.length >> 1] = outlier;
      return roundTo(dtype, x);
    };

    it.each(pairwise({ B: [1, 3], T: [1, 7], heads: [1, 5], d: [2, 16, 22], WG: [64, 256], outlier: [0, 6e4] }))(
      'rope $B×$T×$heads×$d WG=$WG outlier=$outlier',
      async ({ B, T, heads, d, WG, outlier }) => {
        const device = await openDevice(adapter, options);
        const shape = [B, T, heads, d];
        const x = values(1, shape, outlier);
        const width = up4(d);
        const angle = normals(2, (T * d) / 2);
        const table = new Float32Array(T * 2 * width);
        for (let t = 0; t < T; t++)
          for (let i = 0; i < d; i++) {
            table[2 * t * width + i] = Math.cos(angle[(t * d) / 2 + (i >> 1)]);
            table[(2 * t + 1) * width + i] = Math.sin(angle[(t * d) / 2 + (i >> 1)]);
          }
        const g = new Graph(dtype);
        const y = rope(g.input('x', shape, { layout: 'rows', dtype }), g.input('table', [T, 2, width]));
        g.output('y', y);
        const { outputs } = await runGraph(device, g, { inputs: { x, table }, tunables: { rope: { WG } } });
        const at = (row: number) => (t: number, i: number) => table[(2 * t + row) * width + 2 * i];
        expectClose(outputs.y, ropeReference(x, shape, at(0), at(1)), dotTolerance(dtype, 2, largest(x)), 'rope');
      },
    );

    it.each(pairwise({ B: [1, 3], T: [1, 5, 17], D: [3, 8, 33], WG: [64, 256], outlier: [0, 6e4] }))(
      'addShared $B×$T×$D WG=$WG outlier=$outlier',
      async ({ B, T, D, WG, outlier }) => {
        const device = await openDevice(adapter, options);
        const x = values(1, [B, T, D], outlier);
        const table = new Float32Array(T * up4(D));
        const rows = normals(2, T * D);
        for (let t = 0; t < T; t++) table.set(rows.subarray(t * D, t * D + D), t * up4(D));
        const g = new Graph(dtype);
        g.output('y', addShared(g.input('x', [B, T, D], { layout: 'rows', dtype }), g.input('table', [T, up4(D)])));
        const { outputs } = await runGraph(device, g, { inputs: { x, table }, tunables: { addShared: { WG } } });
        const want = x.map((v, i) => v + rows[i % (T * D)]);
        expectClose(outputs.y, want, dotTolerance(dtype, 2, largest(x)), 'addShared');
      },
    );

    it.each(
      pairwise({
        B: [1, 3],
        C: [1, 3, 8],
        rows: [1, 5],
        columns: [1, 4],
        patch: [1, 2, 3],
        order: ['pixels', 'channels'] as const,
        WG: [64, 256],
      }),
    )('unpatchify $B×$C, $rows×$columns patches of $patch, $order, WG=$WG', async (c) => {
      const device = await openDevice(adapter, options);
      const shape = [c.B, c.rows * c.columns, c.patch ** 2 * c.C];
      const x = values(1, shape, 6e4);
      const g = new Graph(dtype);
      g.output('y', unpatchify(g.input('x', shape, { layout: 'rows', dtype }), c));
      const { outputs } = await runGraph(device, g, { inputs: { x }, tunables: { unpatchify: { WG: c.WG } } });
      expect(outputs.y).toEqual(Float32Array.from(unpatchifyReference(x, c, c.order)));
    });
  });
});

describe('shapes of tokens', () => {
  const g = new Graph();
  const rows = (name: string, shape: readonly number[]) => g.input(name, shape, { layout: 'rows' });

  it('rope names both sizes', () => {
    expect(() => rope(rows('odd', [1, 2, 1, 3]), g.input('t1', [2, 2, 4]))).toThrow(/even d .* got x \[1,2,1,3\]/);
    expect(() => rope(rows('even', [1, 2, 1, 6]), g.input('t2', [2, 2, 6]))).toThrow(/\[2,2,6\]/);
  });

  it('addShared wants one row per token', () => {
    expect(() => addShared(rows('a', [2, 3, 6]), g.input('t3', [3, 6]))).toThrow(/\[2,3,6\].*\[3,6\]/);
  });

  it('unpatchify wants the whole grid, and whole channels', () => {
    const grid = { rows: 2, columns: 2, patch: 2 };
    expect(unpatchify(rows('b', [1, 4, 12]), grid).shape).toEqual([1, 3, 4, 4]);
    expect(() => unpatchify(rows('c', [1, 5, 12]), grid)).toThrow(/\[1,5,12\]/);
    expect(() => unpatchify(rows('d', [1, 4, 6]), grid)).toThrow(/\[1,4,6\]/);
  });
});
