import { describe, expect, it } from 'vitest';
import { Graph, InvalidArgumentError, ShapeError } from '../../src/engine/index.ts';
import { batchNorm } from '../../src/kernels/batchNorm.ts';
import { activation } from '../reference/activation.ts';
import { expectClose, normTolerance } from '../support/close.ts';
import { adapters } from '../support/gpu.ts';
import { normals, pairwise, roundTo } from '../support/random.ts';
import { openDevice, runGraph, storages } from '../support/runGraph.ts';

const weights = (C: number) => ({
  weight: { key: 'gamma', shape: [C] },
  bias: { key: 'beta', shape: [C] },
  mean: { key: 'mean', shape: [C] },
  variance: { key: 'variance', shape: [C] },
});

const cases = pairwise({
  shape: [
    [1, 1, 1, 1],
    [2, 3, 5, 3],
    [1, 7, 4, 31],
    [3, 2, 2, 64],
  ],
  act: ['none', 'relu', 'leaky_relu'] as const,
  WG: [64, 128, 256],
  scale: [1, 1e-3, 6e4],
});

describe.each(adapters())('batchNorm on %s', (adapter) => {
  describe.each(storages(adapter))('%s', (_, dtype, options) => {
    it.each(cases)('$shape $act std $scale', async ({ shape, act, WG, scale }) => {
      const device = await openDevice(adapter, options);
      const C = shape[3];
      const count = shape.reduce((a, b) => a * b);
      const x = roundTo(dtype, normals(1, count, { mean: 0, std: scale / 4 }));
      const [gamma, beta, mean] = [2, 3, 4].map((seed) => normals(seed, C));
      const variance = normals(5, C, { mean: 0, std: scale }).map((v) => v * v + 1e-3);
      const g = new Graph(dtype);
      g.output('y', batchNorm(g.input('x', shape, { layout: 'rows', dtype }), weights(C), { act }));
      const { outputs } = await runGraph(device, g, {
        inputs: { x },
        weights: { gamma, beta, mean, variance },
        tunables: { batchNorm: { WG } },
      });
      const want: number[] = [];
      const tolerance: number[] = [];
      for (let i = 0; i < count; i++) {
        const c = i % C;
        const scaled = gamma[c] / Math.sqrt(variance[c] + 1e-5);
        want.push(activation((x[i] - mean[c]) * scaled + beta[c], act));
        const size = (Math.abs(x[i]) + Math.abs(mean[c])) * Math.abs(scaled) + Math.abs(beta[c]);
        tolerance.push(normTolerance(dtype, size, want[i]));
      }
      expectClose(outputs.y, want, tolerance);
    });
  });
});

it('batchNorm says what does not fit', () => {
  const g = new Graph();
  const x = g.input('x', [2, 3], { layout: 'rows' });
  expect(() => batchNorm(x, weights(4))).toThrow(ShapeError);
  expect(() => batchNorm(g.input('dense', [2, 3]), weights(3))).toThrow(/in rows, got dense/);
  expect(() => batchNorm(x, weights(3), { eps: 0 })).toThrow(InvalidArgumentError);
  expect(() => batchNorm(x, weights(3), { act: 'sigmoid' })).toThrow(/no sigmoid/);
});
