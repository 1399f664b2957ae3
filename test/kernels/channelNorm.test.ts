import { describe, expect, it } from 'vitest';
import { Graph, InvalidArgumentError, ShapeError, type Tensor } from '../../src/engine/index.ts';
import { upfirdn2d } from '../../src/kernels/firResample.ts';
import { instanceNorm, instanceNormPlus, varianceNorm } from '../../src/kernels/instanceNorm.ts';
import { avgPool2d, maxPool2d } from '../../src/kernels/pool2d.ts';
import { channelNormReference, poolReference } from '../reference/channelNorm.ts';
import { upfirdnReference } from '../reference/resample.ts';
import { dotTolerance, expectClose, normTolerance } from '../support/close.ts';
import { adapters } from '../support/gpu.ts';
import { normals, pairwise, roundTo } from '../support/random.ts';
import { openDevice, runGraph, storages } from '../support/runGraph.ts';

const NORMS = pairwise({
  norm: [
    { mode: 'plus', act: 'elu', WG: 64, LANES: 1, ROWS: 32 },
    { mode: 'instance', act: 'none', WG: 128, LANES: 8, ROWS: 1 },
    { mode: 'variance', act: 'relu', WG: 64, LANES: 64, ROWS: 2 },
  ] as const,
  B: [1, 3],
  map: [
    [1, 2],
    [3, 5],
    [16, 16],
    [23, 29],
  ] as const,
  C: [2, 4, 7, 33],
  data: [
    { mean: 0, std: 1 },
    { mean: -300, std: 200 },
  ],
});

const POOLS = [
  { shape: [2, 7, 5, 6], side: 5, stride: 1, padding: 2, mean: false },
  { shape: [1, 2, 3, 4], side: 5, stride: 1, padding: 2, mean: false },
  { shape: [1, 9, 8, 5], side: 3, stride: 2, padding: 1, mean: true },
  { shape: [2, 4, 6, 3], side: 2, stride: 2, padding: 0, mean: true },
];

describe.each(adapters())('channel norms and pooling on %s', (adapter) => {
  describe.each(storages(adapter))('%s', (_, dtype, options) => {
    it.each(NORMS)('$norm.mode B=$B $map C=$C mean=$data.mean', async ({ norm, B, map: [H, W], C, data }) => {
      const x = roundTo(dtype, normals(1, B * H * W * C, data));
      const [alpha, gamma, beta] = [normals(2, C), normals(3, C, { mean: 1 }), normals(4, C)];
      const g = new Graph(dtype);
      const input = g.input('x', [B, H, W, C], { layout: 'rows', dtype });
      const weight = (key: string) => ({ key, shape: [C] });
      const { mode, act, WG, LANES, ROWS } = norm;
      const weights = { alpha: weight('alpha'), gamma: weight('gamma'), beta: weight('beta') };
      const y = {
        plus: () => instanceNormPlus(input, weights, { act }),
        instance: () => instanceNorm(input, { act }),
        variance: () => varianceNorm(input, weights.gamma, { act }),
      }[mode]();
      g.output('y', y);
      const { outputs } = await runGraph(await openDevice(adapter, options), g, {
        inputs: { x },
        weights: { alpha, gamma, beta },
        tunables: { instanceNormFinalise: { WG, LANES }, instanceNormApply: { ROWS } },
      });
      const want = channelNormReference(x, { B, P: H * W, C }, { mode, alpha, gamma, beta, eps: 1e-5, act });
      const tolerance = want.out.map((v, i) => normTolerance(dtype, want.gain[i], v));
      expectClose(outputs.y, want.out, tolerance, mode);
    });

    it.each(POOLS)('$side × $side windows of $shape, mean: $mean', async ({ shape, mean, ...o }) => {
      const size = shape.reduce((a, b) => a * b);
      const data = roundTo(dtype, normals(5, size, { mean: -1e3, std: 1e3 }));
      const g = new Graph(dtype);
      const x = g.input('x', shape, { layout: 'rows', dtype });
      const y = (mean ? avgPool2d : maxPool2d)(x, o);
      g.output('y', y);
      const { outputs } = await runGraph(await openDevice(adapter, options), g, { inputs: { x: data } });
      const want = poolReference({ data, shape }, { ...o, mean });
      expect(y.shape).toEqual(want.shape);
      expectClose(outputs.y, want.data, mean ? dotTolerance(dtype, o.side ** 2, 4e3) : 0, 'pool');
    });
  });

  it.each([
    { kernel: [1, 3, 3, 1], down: 2, padding: [0, 0] },
    { kernel: [1, 2, 5], padding: [2, 3] },
    { kernel: [1, 2, 3, 4], up: 2, padding: [-1, 2], gain: 4 },
  ] as const)('upfirdn2d %o', async ({ kernel, padding, ...o }) => {
    const shape = [1, 6, 7, 5];
    const data = normals(6, 210);
    const g = new Graph();
    const y = upfirdn2d(g.input('x', shape, { layout: 'rows' }), { kernel, padding, ...o });
    g.output('y', y);
    const { outputs } = await runGraph(await openDevice(adapter), g, { inputs: { x: data } });
    const { gain = 1, ...how } = { gain: 1, ...o };
    const sum = kernel.reduce((a: number, b) => a + b, 0);
    const taps = kernel.map((t) => (t / sum) * Math.sqrt(gain));
    const want = upfirdnReference({ data, shape }, taps, { ...how, pad: [...padding] });
    expect(y.shape).toEqual(want.shape);
    expectClose(outputs.y, want.data, dotTolerance('f32', kernel.length ** 2, 4 * gain), 'upfirdn2d');
  });
});

describe('channel norms and pooling, arguments', () => {
  const g = new Graph();
  const x = g.input('x', [1, 4, 4, 6], { layout: 'rows' });
  const row = g.input('row', [4, 6], { layout: 'rows' });
  const wrong = { key: 'gamma', shape: [5] };
  it('says what does not fit', () => {
    expect(() => instanceNorm(row)).toThrow(ShapeError);
    expect(() => varianceNorm(x, wrong)).toThrow(/expected gamma \[6\], got gamma \[5\]/);
    expect(() => instanceNorm(x, { act: 'sigmoid' })).toThrow(InvalidArgumentError);
    expect(() => instanceNorm(x, { eps: -1 })).toThrow(/eps of 0 or more/);
    const pool = (o: Parameters<typeof maxPool2d>[1]) => (): Tensor => maxPool2d(x, o);
    expect(pool({ side: 3, padding: 2 })).toThrow(InvalidArgumentError);
    expect(pool({ side: 5 })).toThrow(/at least 5 × 5 pixels/);
    expect(() => upfirdn2d(x, { kernel: [1], up: 0.5 })).toThrow(InvalidArgumentError);
    expect(() => upfirdn2d(x, { kernel: [1, 1], padding: [-4, 0] })).toThrow(ShapeError);
  });
});
