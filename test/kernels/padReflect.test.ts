import { describe, expect, it } from 'vitest';
import { Graph, ShapeError } from '../../src/engine/index.ts';
import { padReflect } from '../../src/kernels/padReflect.ts';
import { adapters } from '../support/gpu.ts';
import { normals, roundTo } from '../support/random.ts';
import { openDevice, runGraph, storages } from '../support/runGraph.ts';

/** Position i of a row of n, mirrored at its ends. */
const mirror = (i: number, n: number) => (i < 0 ? -i : i >= n ? 2 * (n - 1) - i : i);

function reference(x: Float32Array, [B, H, W, C]: readonly number[], pad: number): number[] {
  const out: number[] = [];
  for (let b = 0; b < B; b++)
    for (let y = -pad; y < H + pad; y++)
      for (let i = -pad; i < W + pad; i++)
        for (let c = 0; c < C; c++) out.push(x[((b * H + mirror(y, H)) * W + mirror(i, W)) * C + c]);
  return out;
}

describe.each(adapters())('mirrored borders on %s', (adapter) => {
  describe.each(storages(adapter))('%s', (_, dtype, options) => {
    it.each([
      { shape: [1, 2, 2, 1], pad: 1 },
      { shape: [2, 3, 5, 6], pad: 2 },
      { shape: [1, 7, 4, 8], pad: 3 },
      { shape: [1, 1, 1, 3], pad: 0 },
    ])('$shape by $pad', async ({ shape, pad }) => {
      const device = await openDevice(adapter, options);
      const x = roundTo(
        dtype,
        normals(
          1,
          shape.reduce((a, b) => a * b),
        ),
      );
      const g = new Graph(dtype);
      const out = padReflect(g.input('x', shape, { layout: 'rows', dtype }), pad);
      g.output('out', out);
      const { outputs } = await runGraph(device, g, { inputs: { x } });
      expect([...outputs.out]).toEqual(reference(x, shape, pad));
    });
  });
});

it('refuses a border as wide as the map', () => {
  const x = new Graph().input('x', [1, 3, 2, 4], { layout: 'rows' });
  expect(() => padReflect(x, 2)).toThrow(ShapeError);
  expect(() => padReflect(x, -1)).toThrow(ShapeError);
});
