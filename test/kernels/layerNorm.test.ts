import { describe, expect, it } from 'vitest';
import { Graph, InvalidArgumentError, type Tunables } from '../../src/engine/index.ts';
import { layerNorm } from '../../src/kernels/layerNorm.ts';
import { layerNormReference } from '../reference/norm.ts';
import { expectClose, normTolerance } from '../support/close.ts';
import { adapters } from '../support/gpu.ts';
import { normals, pairwise, roundTo } from '../support/random.ts';
import { openDevice, runGraph, storages, withoutSubgroups } from '../support/runGraph.ts';

const VARIANTS = [
  { WG: 64, LANES: 1, gamma: true, beta: true },
  { WG: 128, LANES: 64, gamma: true, beta: false },
  { WG: 256, LANES: 8, gamma: false, beta: false },
  { WG: 64, LANES: 32, gamma: false, beta: true },
  // A row per lane of a subgroup, which takes no team.
  { WG: 0, LANES: 0, gamma: true, beta: true },
  { WG: 0, LANES: 0, gamma: false, beta: true },
] as const;

const cases = pairwise({
  variant: VARIANTS,
  M: [1, 2, 65, 131],
  D: [1, 3, 4, 31, 130, 257, 1152],
  data: [
    { mean: 0, std: 1, outlier: 0 },
    { mean: 1000, std: 1, outlier: 0 },
    { mean: 0, std: 1, outlier: 6e4 },
    { mean: -300, std: 200, outlier: -6e4 },
  ],
});

describe.each(adapters())('layerNorm on %s', (adapter) => {
  describe.each(storages(adapter))('%s', (_, dtype, options) => {
    it.each(cases)(
      '$M×$D LANES=$variant.LANES mean=$data.mean outlier=$data.outlier',
      async ({ variant, M, D, data }) => {
        const { WG, LANES } = variant;
        const device = await openDevice(adapter, LANES ? withoutSubgroups(options) : options);
        const raw = normals(1, M * D, data);
        if (data.outlier) for (let m = 0; m < M; m++) raw[m * D + (m % D)] = data.outlier;
        const x = roundTo(dtype, raw);
        const [gamma, beta] = [normals(2, D, { mean: 1 }), normals(3, D)];
        const g = new Graph(dtype);
        const y = layerNorm(
          g.input('x', [M, D], { layout: 'rows', dtype }),
          variant.gamma ? { key: 'gamma', shape: [D] } : undefined,
          variant.beta ? { key: 'beta', shape: [D] } : undefined,
          { eps: 1e-6 },
        );
        g.output('y', y);
        const tunables: Record<string, Tunables> = LANES ? { layerNorm: { WG, LANES } } : {};
        const { outputs, dispatches } = await runGraph(device, g, {
          inputs: { x },
          weights: { gamma, beta },
          tunables,
        });
        if (!LANES && M > 5 && device.caps.subgroupSize > 4)
          expect(dispatches[0].kernel.name).toBe('layerNormSubgroup');
        const extras = { gamma: variant.gamma ? gamma : undefined, beta: variant.beta ? beta : undefined, eps: 1e-6 };
        const { out, gain } = layerNormReference(x, { M, D }, extras);
        expectClose(
          outputs.y,
          out,
          out.map((v, i) => normTolerance(dtype, gain[i], v)),
          'layerNorm',
        );
      },
    );
  });
});

describe('layerNorm shapes', () => {
  it('keeps the shape, and names what does not fit', () => {
    const g = new Graph();
    const x = g.input('x', [2, 5, 6], { layout: 'rows' });
    expect(layerNorm(x, undefined, undefined, { eps: 1e-6 }).shape).toEqual([2, 5, 6]);
    expect(() => layerNorm(x, { key: 'ln.weight', shape: [5] }, undefined, { eps: 1e-6 })).toThrow(
      'layerNorm: expected weight [6], got ln.weight [5]',
    );
    expect(() => layerNorm(x, undefined, undefined, { eps: NaN })).toThrow(InvalidArgumentError);
    expect(() => layerNorm(g.input('dense', [2, 6]), undefined, undefined, { eps: 1e-6 })).toThrow(
      /in rows, got dense/,
    );
  });
});
