import { describe, expect, it } from 'vitest';
import { Graph, numel, ShapeError } from '../../src/engine/index.ts';
import { concat } from '../../src/kernels/concat.ts';
import { reshape } from '../../src/kernels/copyRows.ts';
import { slice } from '../../src/kernels/slice.ts';
import { expectClose } from '../support/close.ts';
import { adapters } from '../support/gpu.ts';
import { normals, roundTo } from '../support/random.ts';
import { openDevice, runGraph, storages } from '../support/runGraph.ts';

const OUTLIERS = { std: 1e4 };

describe.each(adapters())('moving rows on %s', (adapter) => {
  describe.each(storages(adapter))('%s', (_, dtype, options) => {
    const rows = { layout: 'rows', dtype } as const;

    it.each([
      [4, 4],
      [8, 3],
      [1, 1],
      [1, 8],
      [5, 4],
      [6, 7],
      [10, 1],
      [3, 3],
      [7, 2],
      [7, 9],
    ])('concat %i + %i channels', async (A, B) => {
      const device = await openDevice(adapter, options);
      const g = new Graph(dtype);
      const a = roundTo(dtype, normals(1, 6 * A, OUTLIERS));
      const b = roundTo(dtype, normals(2, 6 * B, OUTLIERS));
      g.output('y', concat(g.input('a', [2, 3, A], rows), g.input('b', [2, 3, B], rows)));
      const { outputs } = await runGraph(device, g, { inputs: { a, b } });
      const want = Array.from({ length: 6 }, (_, r) => [
        ...a.subarray(r * A, r * A + A),
        ...b.subarray(r * B, r * B + B),
      ]).flat();
      expectClose(outputs.y, want, 0);
    });

    it.each([
      [8, 0, 4],
      [8, 4, 8],
      [9, 8, 9],
      [9, 0, 3],
      [9, 1, 9],
      [9, 2, 4],
      [9, 3, 8],
      [4, 3, 4],
      [13, 5, 12],
    ])('slice of %i channels: %i … %i', async (C, from, to) => {
      const device = await openDevice(adapter, options);
      const g = new Graph(dtype);
      const x = roundTo(dtype, normals(1, 5 * C, OUTLIERS));
      g.output('y', slice(g.input('x', [5, C], rows), from, to));
      const { outputs } = await runGraph(device, g, { inputs: { x } });
      expectClose(outputs.y, Array.from({ length: 5 }, (_, r) => [...x.subarray(r * C + from, r * C + to)]).flat(), 0);
    });

    it.each([
      [
        [2, 3, 10],
        [2, 3, 2, 5],
      ],
      [
        [2, 3, 2, 5],
        [2, 3, 10],
      ],
      [
        [6, 4],
        [8, 3],
      ],
      [
        [7, 1],
        [1, 7],
      ],
      [[3, 5, 2], [30]],
    ])('reshape %o to %o', async (from, to) => {
      const device = await openDevice(adapter, options);
      const g = new Graph(dtype);
      const x = roundTo(dtype, normals(1, numel(from), OUTLIERS));
      g.output('y', reshape(g.input('x', from, rows), to));
      const { outputs, dispatches } = await runGraph(device, g, { inputs: { x } });
      expectClose(outputs.y, x, 0);
      expect(dispatches.length).toBe(1);
    });
  });

  it('slices undo a concat', async () => {
    const device = await openDevice(adapter);
    const g = new Graph();
    const joined = concat(g.input('a', [9, 6], { layout: 'rows' }), g.input('b', [9, 7], { layout: 'rows' }));
    g.output('a', slice(joined, 0, 6));
    g.output('b', slice(joined, 6, 13));
    const inputs = { a: normals(1, 54), b: normals(2, 63) };
    const { outputs } = await runGraph(device, g, { inputs });
    expectClose(outputs.a, inputs.a, 0);
    expectClose(outputs.b, inputs.b, 0);
  });
});

describe('moving rows: shapes', () => {
  const g = new Graph();
  const x = g.input('x', [2, 3, 8], { layout: 'rows' });
  const y = g.input('y', [2, 4, 8], { layout: 'rows' });

  it('copies nothing where the bytes are the same', () => {
    expect(reshape(x, [2, 3, 8])).toBe(x);
    expect(slice(x, 0, 8)).toBe(x);
    expect(reshape(x, [6, 8]).viewOf).toBe(x);
    expect(reshape(x, [2, 3, 2, 4]).viewOf).toBe(x);
    expect(reshape(g.input('dense', [3, 5]), [15]).viewOf?.label).toBe('dense');
    expect(g.nodes).toEqual([]);
  });

  it('says what does not fit', () => {
    expect(() => concat(x, y)).toThrow(/got \[2,3,8\] rows and \[2,4,8\] rows/);
    expect(() => slice(x, 4, 4)).toThrow(ShapeError);
    expect(() => slice(x, 0, 9)).toThrow(/0 ≤ from < to ≤ 8/);
    expect(() => reshape(x, [7, 7])).toThrow(/expected 48 elements \(x \[2,3,8\]\), got \[7,7\] = 49/);
  });
});
