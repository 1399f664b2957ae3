import { describe, expect, it } from 'vitest';
import { Graph, InvalidArgumentError } from '../../src/engine/index.ts';
import { keepTopK } from '../../src/kernels/keepTopK.ts';
import { adapters } from '../support/gpu.ts';
import { normals, pairwise, roundTo } from '../support/random.ts';
import { openDevice, runGraph, storages } from '../support/runGraph.ts';

const cases = pairwise({
  shape: [
    [1, 1],
    [3, 7],
    [2, 3, 40],
    [5, 131],
  ],
  k: [1, 3, 8, 1000],
  by: ['value', 'magnitude'] as const,
  ties: [false, true],
  WG: [64, 128, 256],
});

describe.each(adapters())('keepTopK on %s', (adapter) => {
  describe.each(storages(adapter))('%s', (_, dtype, options) => {
    it.each(cases)('$shape k=$k by $by, ties $ties', async ({ shape, k: most, by, ties, WG }) => {
      const device = await openDevice(adapter, options);
      const D = shape.at(-1)!;
      const k = Math.min(most, D);
      const rows = shape.slice(0, -1).reduce((a, b) => a * b);
      const x = roundTo(dtype, normals(1, rows * D)).map((v) => (ties ? Math.round(v) : v));
      const g = new Graph(dtype);
      g.output('y', keepTopK(g.input('x', shape, { layout: 'rows', dtype }), { k, by }));
      const { outputs } = await runGraph(device, g, { inputs: { x }, tunables: { keepTopK: { WG } } });
      const want = new Float32Array(x.length);
      const key = (i: number) => (by === 'magnitude' ? Math.abs(x[i]) : x[i]);
      for (let r = 0; r < rows; r++) {
        const order = Array.from({ length: D }, (_, d) => r * D + d).sort((a, b) => key(b) - key(a) || a - b);
        for (const i of order.slice(0, k)) want[i] = x[i];
      }
      expect([...outputs.y].map((v) => v + 0)).toEqual([...want].map((v) => v + 0));
    });
  });
});

it('keepTopK says what does not fit', () => {
  const x = new Graph().input('x', [2, 3], { layout: 'rows' });
  for (const k of [0, 4, 1.5]) expect(() => keepTopK(x, { k })).toThrow(InvalidArgumentError);
  expect(() => keepTopK(new Graph().input('x', [2, 3]), { k: 1 })).toThrow(/in rows/);
});
