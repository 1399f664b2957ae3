import { describe, expect, it } from 'vitest';
import { Graph, ShapeError } from '../../src/engine/index.ts';
import { nearestCode, nearestCodeDistance } from '../../src/kernels/nearestCode.ts';
import { dotTolerance, expectClose } from '../support/close.ts';
import { adapters } from '../support/gpu.ts';
import { normals, pairwise, roundTo, uniform } from '../support/random.ts';
import { openDevice, runGraph, storages } from '../support/runGraph.ts';

/** Naive f64 truth: squared distances of every row to every code. */
function distancesOf(x: Float32Array, codebook: Float32Array, D: number): number[][] {
  return Array.from({ length: x.length / D }, (_, m) =>
    Array.from({ length: codebook.length / D }, (__, k) => {
      let sum = 0;
      for (let d = 0; d < D; d++) sum += (x[m * D + d] - codebook[k * D + d]) ** 2;
      return sum;
    }),
  );
}

const cases = pairwise({
  tunables: [
    { WG: 64, LANES: 1 },
    { WG: 64, LANES: 16 },
    { WG: 128, LANES: 4 },
    { WG: 256, LANES: 64 },
  ],
  M: [1, 3, 65],
  K: [1, 7, 64, 131],
  D: [1, 3, 4, 33],
  scale: [1, 1e4],
});

const bits = (values: Float32Array) => [...new Uint32Array(values.buffer, values.byteOffset, values.length)];

describe.each(adapters())('nearestCode on %s', (adapter) => {
  describe.each(storages(adapter))('%s', (_, dtype, options) => {
    it.each(cases)('$M rows, $K×$D codes of $scale, $tunables', async ({ tunables, M, K, D, scale }) => {
      const device = await openDevice(adapter, options);
      const x = roundTo(dtype, normals(1, M * D, { std: scale }));
      const codebook = normals(2, K * D, { std: scale });
      const g = new Graph(dtype);
      const input = g.input('x', [M, D], { layout: 'rows', dtype });
      const weight = { key: 'codebook', shape: [K, D] };
      g.output('ids', nearestCode(input, weight));
      g.output('distance', nearestCodeDistance(input, weight));
      const { outputs } = await runGraph(device, g, {
        inputs: { x },
        weights: { codebook },
        tunables: { nearestCode: tunables },
      });
      const truth = distancesOf(x, codebook, D);
      const ids = bits(outputs.ids);
      // Two codes may be nearer to each other than rounding tells: what counts is the distance of the one chosen.
      const least = truth.map((row) => Math.min(...row));
      const tolerance = least.map((d) => dotTolerance('f32', D, d));
      expectClose(
        truth.map((row, m) => row[ids[m]]),
        least,
        tolerance,
        'chosen',
      );
      expectClose(outputs.distance, least, tolerance, 'distance');
    });
  });

  it.each([1, 4, 64])('takes the lowest of equal codes, LANES=%i', async (LANES) => {
    const device = await openDevice(adapter);
    const [M, K, D] = [40, 150, 5];
    const u = uniform(3);
    // Three different codes, each many times.
    const kinds = [normals(1, D), normals(2, D), normals(3, D)];
    const order = Array.from({ length: K }, () => Math.floor(3 * u()));
    const codebook = Float32Array.from(order.flatMap((kind) => [...kinds[kind]]));
    const wanted = Array.from({ length: M }, () => Math.floor(3 * u()));
    const x = Float32Array.from(wanted.flatMap((kind) => [...kinds[kind]]));
    const g = new Graph();
    g.output('ids', nearestCode(g.input('x', [M, D], { layout: 'rows' }), { key: 'codebook', shape: [K, D] }));
    const { outputs } = await runGraph(device, g, {
      inputs: { x },
      weights: { codebook },
      tunables: { nearestCode: { WG: 64, LANES } },
    });
    expect(bits(outputs.ids)).toEqual(wanted.map((kind) => order.indexOf(kind)));
  });
});

it('nearestCode says what does not fit', () => {
  const g = new Graph();
  const x = g.input('x', [2, 3, 4], { layout: 'rows' });
  expect(nearestCode(x, { key: 'c', shape: [9, 4] })).toMatchObject({ shape: [6], dtype: 'u32', layout: 'dense' });
  expect(nearestCodeDistance(x, { key: 'c', shape: [9, 4] })).toMatchObject({ shape: [6], dtype: 'f32' });
  expect(() => nearestCode(x, { key: 'c', shape: [9, 3] })).toThrow(ShapeError);
  expect(() => nearestCode(g.input('d', [2, 4]), { key: 'c', shape: [9, 4] })).toThrow(/got dense \[2,4\]/);
});
