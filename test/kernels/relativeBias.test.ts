import { describe, expect, it } from 'vitest';
import { Graph, ShapeError } from '../../src/engine/index.ts';
import { relativeBias } from '../../src/kernels/relativeBias.ts';
import { expectClose, ROUNDOFF } from '../support/close.ts';
import { adapters } from '../support/gpu.ts';
import { normals, uniform } from '../support/random.ts';
import { openDevice, runGraph } from '../support/runGraph.ts';

describe.each(adapters())('relativeBias on %s', (adapter) => {
  it.each([
    { T: 1, K: 1, heads: 1, B: 0, WG: 64 },
    { T: 5, K: 3, heads: 3, B: 0, WG: 128 },
    { T: 7, K: 8, heads: 6, B: 2, WG: 64 },
    { T: 33, K: 32, heads: 12, B: 1, WG: 256 },
  ])('T=$T K=$K heads=$heads padding of $B', async ({ T, K, heads, B, WG }) => {
    const device = await openDevice(adapter);
    const u = uniform(1);
    const buckets = Uint32Array.from({ length: 2 * T - 1 }, () => Math.floor(u() * K));
    const table = normals(2, K * heads);
    const padding = normals(3, B * T);
    const g = new Graph();
    const pad = B > 0 ? g.input('padding', [B, T]) : undefined;
    g.output(
      'y',
      relativeBias(g.input('buckets', [2 * T - 1], { dtype: 'u32' }), { key: 't', shape: [K, heads] }, pad),
    );
    const { outputs } = await runGraph(device, g, {
      inputs: { buckets, ...(pad && { padding }) },
      weights: { t: table },
      tunables: { relativeBias: { WG } },
    });
    const want: number[] = [];
    for (let b = 0; b < Math.max(1, B); b++)
      for (let h = 0; h < heads; h++)
        for (let t = 0; t < T; t++)
          for (let s = 0; s < T; s++)
            want.push(table[buckets[s - t + T - 1] * heads + h] + (B > 0 ? padding[b * T + s] : 0));
    expectClose(
      outputs.y,
      want,
      want.map((v) => 2 * ROUNDOFF.f32 * Math.abs(v)),
    );
  });
});

it('relativeBias says what does not fit', () => {
  const g = new Graph();
  const buckets = g.input('buckets', [5], { dtype: 'u32' });
  const table = { key: 'bias', shape: [4, 2] };
  expect(relativeBias(buckets, table).shape).toEqual([1, 2, 3, 3]);
  expect(() => relativeBias(g.input('even', [4], { dtype: 'u32' }), table)).toThrow(ShapeError);
  expect(() => relativeBias(g.input('f', [5]), table)).toThrow(/dense u32 buckets/);
  expect(() => relativeBias(buckets, { key: 'bias', shape: [4] })).toThrow(/table \[K,heads\], got bias \[4\]/);
  expect(() => relativeBias(buckets, table, g.input('pad', [2, 4]))).toThrow(/padding \[B,3\], got \[2,4\]/);
});
