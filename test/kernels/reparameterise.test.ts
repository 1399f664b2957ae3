import { describe, expect, it } from 'vitest';
import { Graph, ShapeError } from '../../src/engine/index.ts';
import { reparameterise } from '../../src/kernels/reparameterise.ts';
import { expectClose, normTolerance } from '../support/close.ts';
import { adapters } from '../support/gpu.ts';
import { normals, roundTo } from '../support/random.ts';
import { openDevice, runGraph, storages } from '../support/runGraph.ts';

describe.each(adapters())('reparameterise on %s', (adapter) => {
  describe.each(storages(adapter))('%s', (_, dtype, options) => {
    it.each([
      { shape: [1, 1], as: 'logSigma', WG: 64, spread: 1 },
      { shape: [3, 7], as: 'logVariance', WG: 128, spread: 1 },
      { shape: [2, 5, 3, 6], as: 'logVariance', WG: 256, spread: 8 },
      { shape: [65, 3], as: 'logSigma', WG: 64, spread: 4 },
    ] as const)('$shape $as', async ({ shape, as, WG, spread }) => {
      const device = await openDevice(adapter, options);
      const count = shape.reduce<number>((a, b) => a * b, 1);
      const [mean, log, noise] = [1, spread, 1].map((std, i) =>
        roundTo(dtype, normals(i + 1, count, { mean: 0, std })),
      );
      const g = new Graph(dtype);
      const [m, l, n] = ['mean', 'log', 'noise'].map((name) => g.input(name, shape, { layout: 'rows', dtype }));
      g.output('y', reparameterise(m, as === 'logSigma' ? { logSigma: l } : { logVariance: l }, n));
      const { outputs } = await runGraph(device, g, {
        inputs: { mean, log, noise },
        tunables: { reparameterise: { WG } },
      });
      const sigma = (i: number) => Math.exp((as === 'logSigma' ? 1 : 0.5) * log[i]);
      const want = Array.from(mean, (v, i) => v + sigma(i) * noise[i]);
      expectClose(
        outputs.y,
        want,
        want.map((v, i) => normTolerance(dtype, Math.abs(mean[i]) + Math.abs(sigma(i) * noise[i]), v)),
      );
    });
  });
});

it('reparameterise says what does not fit', () => {
  const g = new Graph();
  const [a, b] = [2, 3].map((n) => g.input(`x${n}`, [1, n], { layout: 'rows' }));
  expect(() => reparameterise(a, { logSigma: b }, a)).toThrow(ShapeError);
  expect(() => reparameterise(a, { logSigma: a }, g.input('dense', [1, 2]))).toThrow(/noise in rows/);
});
