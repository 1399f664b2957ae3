import { describe, expect, it } from 'vitest';
import { Graph, InvalidArgumentError, ShapeError } from '../../src/engine/index.ts';
import { embedding, expectIds } from '../../src/kernels/embedding.ts';
import { expectClose } from '../support/close.ts';
import { adapters, isFullRun } from '../support/gpu.ts';
import { normals, roundTo } from '../support/random.ts';
import { openDevice, runGraph, storages } from '../support/runGraph.ts';

/** Rows of a table [V, D] picked on the host. */
const rowsOfTable = (table: Float32Array, D: number, ids: readonly number[]) =>
  ids.flatMap((id) => [...table.subarray(id * D, id * D + D)]);

describe.each(adapters())('embedding on %s', (adapter) => {
  describe.each(storages(adapter))('%s', (_, dtype, options) => {
    it.each([
      { V: 1, D: 4, shape: [1], maxBytes: undefined, parts: 1 },
      { V: 11, D: 7, shape: [2, 5], maxBytes: undefined, parts: 1 },
      { V: 11, D: 7, shape: [2, 5], maxBytes: 4 * (dtype === 'f16' ? 16 : 32), parts: 3 },
      { V: 40, D: 5, shape: [77], maxBytes: 10 * (dtype === 'f16' ? 16 : 32), parts: 4 },
    ])('[$V,$D] for $shape in $parts parts', async ({ V, D, shape, maxBytes, parts }) => {
      const device = await openDevice(adapter, options);
      const n = shape.reduce((a, b) => a * b);
      const ids = Array.from({ length: n }, (_, i) => (i === 0 ? V - 1 : (i * 7) % V));
      const table = roundTo(dtype, normals(1, V * D, { std: 1e4 }));
      const g = new Graph(dtype);
      const y = embedding(g.input('ids', shape, { dtype: 'u32' }), { key: 'table', shape: [V, D] }, { maxBytes });
      g.output('y', y);
      expect(y.shape).toEqual([...shape, D]);
      const { outputs, dispatches } = await runGraph(device, g, {
        inputs: { ids: Uint32Array.from(ids) },
        weights: { table },
      });
      expect(dispatches.length).toBe(parts);
      expectClose(outputs.y, rowsOfTable(table, D, ids), 0);
    });
  });

  it('takes the last row for an id beyond the table, whatever part that is in', async () => {
    const device = await openDevice(adapter);
    const table = normals(1, 20);
    const g = new Graph();
    const ids = g.input('ids', [3], { dtype: 'u32' });
    g.output('y', embedding(ids, { key: 't', shape: [5, 4] }, { maxBytes: 32 }));
    const { outputs } = await runGraph(device, g, {
      inputs: { ids: Uint32Array.of(5, 0xffffffff, 1) },
      weights: { t: table },
    });
    expectClose(outputs.y, rowsOfTable(table, 4, [4, 4, 1]), 0);
  });

  it.runIf(isFullRun)('CLIP’s 49408 × 768 in f32, 145 MiB, in two bindings', async () => {
    const device = await openDevice(adapter);
    const [V, D] = [49408, 768];
    const ids = [0, 43689, 43690, 43691, V - 1, 12345];
    const table = new Float32Array(V * D);
    ids.forEach((id, i) => table.set(normals(i, D), id * D));
    const g = new Graph();
    g.output('y', embedding(g.input('ids', [1, 6], { dtype: 'u32' }), { key: 'table', shape: [V, D] }));
    const { outputs, dispatches } = await runGraph(device, g, {
      inputs: { ids: Uint32Array.from(ids) },
      weights: { table },
    });
    expect(dispatches.length).toBe(2);
    expectClose(outputs.y, rowsOfTable(table, D, ids), 0);
  });
});

describe('embedding arguments', () => {
  it('says what does not fit', () => {
    const g = new Graph();
    const table = { key: 'wte', shape: [5, 4] };
    expect(() => embedding(g.input('f', [3]), table)).toThrow(/dense u32 ids \[B\] or \[B,T\], got dense f32 \[3\]/);
    const ids = g.input('ids', [3], { dtype: 'u32' });
    expect(() => embedding(ids, { key: 'wte', shape: [5, 4, 1] })).toThrow(ShapeError);
    expect(() => expectIds('prompt', [0, 4], 5)).not.toThrow();
    expect(() => expectIds('prompt', [0, 5], 5)).toThrow(/prompt: expected ids from 0 to 4, got 5 at position 1/);
    expect(() => expectIds('prompt', [-1], 5)).toThrow(InvalidArgumentError);
  });
});
