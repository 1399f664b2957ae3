import { describe, expect, it } from 'vitest';
import { Graph, InvalidArgumentError } from '../../src/engine/index.ts';
import { rmsNorm } from '../../src/kernels/rmsNorm.ts';
import { rmsNormReference } from '../reference/norm.ts';
import { expectClose, normTolerance } from '../support/close.ts';
import { adapters } from '../support/gpu.ts';
import { normals, pairwise, roundTo } from '../support/random.ts';
import { openDevice, runGraph, storages } from '../support/runGraph.ts';

const VARIANTS = [
  { WG: 64, LANES: 1, weighted: true },
  { WG: 128, LANES: 64, weighted: false },
  { WG: 256, LANES: 8, weighted: true },
  { WG: 64, LANES: 32, weighted: true },
] as const;

const cases = pairwise({
  variant: VARIANTS,
  M: [1, 2, 65, 131],
  D: [1, 3, 4, 31, 64, 257, 1152],
  data: [
    { mean: 0, std: 1, outlier: 0 },
    { mean: 0, std: 1e-4, outlier: 0 },
    { mean: 0, std: 1, outlier: 6e4 },
    { mean: -300, std: 200, outlier: -6e4 },
  ],
});

describe.each(adapters())('rmsNorm on %s', (adapter) => {
  describe.each(storages(adapter))('%s', (_, dtype, options) => {
    it.each(cases)(
      '$M×$D LANES=$variant.LANES mean=$data.mean std=$data.std outlier=$data.outlier',
      async ({ variant, M, D, data }) => {
        const device = await openDevice(adapter, options);
        const raw = normals(1, M * D, data);
        if (data.outlier) for (let m = 0; m < M; m++) raw[m * D + (m % D)] = data.outlier;
        const x = roundTo(dtype, raw);
        const gamma = normals(2, D, { mean: 1 });
        const g = new Graph(dtype);
        const input = g.input('x', [M, D], { layout: 'rows', dtype });
        g.output('y', rmsNorm(input, variant.weighted ? { key: 'gamma', shape: [D] } : undefined, { eps: 1e-6 }));
        const { WG, LANES } = variant;
        const { outputs } = await runGraph(device, g, {
          inputs: { x },
          weights: { gamma },
          tunables: { rmsNorm: { WG, LANES } },
        });
        const want = rmsNormReference(x, { M, D }, { gamma: variant.weighted ? gamma : undefined, eps: 1e-6 });
        // Nothing is subtracted, so the result is good to a few roundings of its own size.
        const tolerance = want.map((v) => normTolerance(dtype, Math.abs(v), v));
        expectClose(outputs.y, want, tolerance, 'rmsNorm');
      },
    );
  });
});

describe('rmsNorm shapes', () => {
  it('keeps the shape, and names what does not fit', () => {
    const g = new Graph();
    const x = g.input('x', [2, 5, 6], { layout: 'rows' });
    expect(rmsNorm(x, undefined, { eps: 1e-6 }).shape).toEqual([2, 5, 6]);
    expect(() => rmsNorm(x, { key: 'n.weight', shape: [5] }, { eps: 0 })).toThrow(
      'rmsNorm: expected weight [6], got n.weight [5]',
    );
    expect(() => rmsNorm(x, undefined, { eps: -1 })).toThrow(InvalidArgumentError);
    expect(() => rmsNorm(g.input('dense', [2, 6]), undefined, { eps: 0 })).toThrow(/in rows, got dense/);
  });
});
