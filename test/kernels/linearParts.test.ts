import { describe, expect, it } from 'vitest';
import { Graph, Weights } from '../../src/engine/index.ts';
import { linearParts } from '../../src/kernels/linearParts.ts';
import { linearReference } from '../reference/linear.ts';
import { dotTolerance, expectClose } from '../support/close.ts';
import { adapters } from '../support/gpu.ts';
import { normals, roundTo } from '../support/random.ts';
import { openDevice, runGraph, storages } from '../support/runGraph.ts';

describe.each(adapters())('linearParts on %s', (adapter) => {
  describe.each(storages(adapter))('%s', (_, dtype, options) => {
    it.each([
      { M: 1, N: 5, widths: [3, 6] },
      { M: 7, N: 12, widths: [4, 8, 1] },
      { M: 33, N: 8, widths: [20] },
    ])('$M rows of $widths to $N', async ({ M, N, widths }) => {
      const device = await openDevice(adapter, options);
      const K = widths.reduce((a, b) => a + b);
      const x = roundTo(dtype, normals(1, M * K));
      const [w, b] = [roundTo(dtype, normals(2, N * K)), normals(3, N)];
      const g = new Graph(dtype);
      const inputs: Record<string, Float32Array> = {};
      let start = 0;
      const parts = widths.map((width, i) => {
        const from = start;
        start += width;
        inputs[`x${i}`] = Float32Array.from(
          { length: M * width },
          (_, j) => x[Math.floor(j / width) * K + from + (j % width)],
        );
        return g.input(`x${i}`, [M, width], { layout: 'rows', dtype });
      });
      g.output('y', linearParts(parts, { key: 'w', shape: [N, K] }, { key: 'b', shape: [N] }));
      const { outputs } = await runGraph(device, g, { inputs, weights: { w, b } });
      const want = linearReference(x, w, { M, K, N }, { bias: b });
      // Each part is stored before the next is added.
      expectClose(outputs.y, want, widths.length * dotTolerance(dtype, K, 12), 'linearParts');
    });
  });
});

it('widths have to add up', () => {
  const g = new Graph();
  const [a, b] = [2, 3].map((width, i) => g.input(`x${i}`, [4, width], { layout: 'rows' }));
  expect(linearParts([a, b], { key: 'w', shape: [7, 5] }).shape).toEqual([4, 7]);
  expect(() => linearParts([a, b], { key: 'w', shape: [7, 6] })).toThrow(/6 columns of w.*\[4,2\], \[4,3\]/);
});

it('the weight of all parts is read once', async () => {
  const device = await openDevice(adapters()[0]);
  const g = new Graph();
  const parts = [4, 8].map((width, i) => g.input(`x${i}`, [1, width], { layout: 'rows' }));
  g.output('y', linearParts(parts, { key: 'w', shape: [3, 12] }, { key: 'b', shape: [3] }));
  const read: string[] = [];
  const shapes: Record<string, number[]> = { w: [3, 12], b: [3] };
  const weights = new Weights(device, {
    name: 'counted',
    keys: () => ['w', 'b'],
    info: (key) => ({ dtype: 'F32', shape: shapes[key] }),
    read: async (key, { out } = {}) => {
      read.push(key);
      return out!.fill(1);
    },
  });
  await weights.load(g);
  expect(read).toEqual(['w', 'b']);
  weights.dispose();
});
