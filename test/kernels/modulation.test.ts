/** Kernels of adaptive norms: scale and shift from a condition behind a layer norm, gates before sums. */
import { describe, expect, it } from 'vitest';
import { Graph, InvalidArgumentError, type Tunables } from '../../src/engine/index.ts';
import { adaptiveNorm, gatedAdd } from '../../src/kernels/modulation.ts';
import { layerNormReference } from '../reference/norm.ts';
import { dotTolerance, expectClose, normTolerance } from '../support/close.ts';
import { adapters } from '../support/gpu.ts';
import { normals, pairwise, roundTo } from '../support/random.ts';
import { openDevice, runGraph, storages, withoutSubgroups } from '../support/runGraph.ts';

const VARIANTS = [
  { WG: 64, LANES: 1 },
  { WG: 128, LANES: 64 },
  { WG: 256, LANES: 8 },
  { WG: 64, LANES: 32 },
  // A row per lane of a subgroup, which takes no team.
  { WG: 0, LANES: 0 },
] as const;

const largest = (x: ArrayLike<number>) => Array.from(x).reduce((a, v) => Math.max(a, Math.abs(v)), 0);

describe.each(adapters())('modulation on %s', (adapter) => {
  describe.each(storages(adapter))('%s', (_, dtype, options) => {
    it.each(
      pairwise({
        variant: VARIANTS,
        B: [1, 3],
        T: [1, 65],
        D: [4, 12, 132, 260],
        first: ['scale', 'shift'],
        data: [
          { mean: 0, std: 1, outlier: 0 },
          { mean: 1000, std: 1, outlier: 0 },
          { mean: 0, std: 1, outlier: 6e4 },
        ],
      }),
    )('adaptiveNorm $B×$T×$D LANES=$variant.LANES mean=$data.mean outlier=$data.outlier, $first first', async (c) => {
      const { B, T, D, data } = c;
      const { LANES } = c.variant;
      const device = await openDevice(adapter, LANES ? withoutSubgroups(options) : options);
      const raw = normals(1, B * T * D, data);
      if (data.outlier) for (let row = 0; row < B * T; row++) raw[row * D + (row % D)] = data.outlier;
      const x = roundTo(dtype, raw);
      const N = 3 * D + 4;
      const m = roundTo(dtype, normals(2, B * N));
      const [scale, shift] = c.first === 'scale' ? [0, 2 * D + 4] : [D + 4, 4];
      const g = new Graph(dtype);
      const input = (name: string, shape: readonly number[]) => g.input(name, shape, { layout: 'rows', dtype });
      g.output('y', adaptiveNorm(input('x', [B, T, D]), input('m', [B, N]), { scale, shift, eps: 1e-6 }));
      const tunables: Record<string, Tunables> = LANES ? { adaptiveNorm: c.variant } : {};
      const { outputs, dispatches } = await runGraph(device, g, { inputs: { x, m }, tunables });
      if (!LANES && T > 1 && device.caps.subgroupSize > 4)
        expect(dispatches[0].kernel.name).toBe('adaptiveNormSubgroup');
      for (let b = 0; b < B; b++) {
        const gamma = m.slice(b * N + scale, b * N + scale + D).map((v) => 1 + v);
        const beta = m.slice(b * N + shift, b * N + shift + D);
        const item = x.subarray(b * T * D, (b + 1) * T * D);
        const { out, gain } = layerNormReference(item, { M: T, D }, { gamma, beta, eps: 1e-6 });
        const tolerance = out.map((v, i) => normTolerance(dtype, gain[i], Math.abs(v) + Math.abs(beta[i % D])));
        expectClose(outputs.y.subarray(b * T * D, (b + 1) * T * D), out, tolerance, `item ${b}`);
      }
    });

    it.each(pairwise({ WG: [64, 256], B: [1, 3], T: [1, 7], D: [4, 132], gate: [0, 8], outlier: [0, 6e4] }))(
      'gatedAdd $B×$T×$D gate at $gate, WG=$WG outlier=$outlier',
      async ({ WG, B, T, D, gate, outlier }) => {
        const device = await openDevice(adapter, options);
        const [x, y] = [normals(1, B * T * D), normals(2, B * T * D)].map((v) => roundTo(dtype, v));
        if (outlier) x[x.length >> 1] = outlier;
        const N = D + 8;
        const m = roundTo(dtype, normals(3, B * N));
        const g = new Graph(dtype);
        const input = (name: string, shape: readonly number[]) => g.input(name, shape, { layout: 'rows', dtype });
        g.output('out', gatedAdd(input('x', [B, T, D]), input('y', [B, T, D]), input('m', [B, N]), gate));
        const { outputs } = await runGraph(device, g, { inputs: { x, y, m }, tunables: { gatedAdd: { WG } } });
        const want = x.map((v, i) => v + m[Math.floor(i / (T * D)) * N + gate + (i % D)] * y[i]);
        expectClose(outputs.out, want, dotTolerance(dtype, 2, largest(want)), 'gatedAdd');
      },
    );
  });
});

describe('shapes of modulation', () => {
  const g = new Graph();
  const rows = (name: string, shape: readonly number[]) => g.input(name, shape, { layout: 'rows' });
  const [x, m] = [rows('x', [2, 5, 8]), rows('m', [2, 24])];

  it('names what does not fit', () => {
    expect(adaptiveNorm(x, m, { scale: 8, shift: 16, eps: 1e-6 }).shape).toEqual([2, 5, 8]);
    expect(() => adaptiveNorm(x, m, { scale: 8, shift: 20, eps: 1e-6 })).toThrow(/behind 8 and 20.*\[2,24\]/);
    expect(() => adaptiveNorm(x, m, { scale: 2, shift: 8, eps: 1e-6 })).toThrow(/multiples of four/);
    expect(() => adaptiveNorm(x, m, { scale: 0, shift: 8, eps: NaN })).toThrow(InvalidArgumentError);
    expect(() => gatedAdd(x, x, rows('other', [3, 24]), 0)).toThrow(/\[3,24\]/);
    expect(() => gatedAdd(x, rows('y', [2, 4, 8]), m, 0)).toThrow(/expected y \[2,5,8\]/);
  });
});
