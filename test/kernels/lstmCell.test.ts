import { describe, expect, it } from 'vitest';
import { Graph, ShapeError } from '../../src/engine/index.ts';
import { lstmCell } from '../../src/kernels/lstmCell.ts';
import { expectClose, normTolerance } from '../support/close.ts';
import { adapters } from '../support/gpu.ts';
import { normals, roundTo } from '../support/random.ts';
import { openDevice, runGraph, storages } from '../support/runGraph.ts';

const sigmoid = (v: number) => 1 / (1 + Math.exp(-v));

describe.each(adapters())('lstmCell on %s', (adapter) => {
  describe.each(storages(adapter))('%s', (_, dtype, options) => {
    it.each([
      { B: 1, H: 1, WG: 64, std: 1 },
      { B: 3, H: 6, WG: 128, std: 3 },
      { B: 2, H: 31, WG: 256, std: 100 },
      { B: 65, H: 8, WG: 64, std: 1 },
    ])('batch $B of $H units, std $std', async ({ B, H, WG, std }) => {
      const device = await openDevice(adapter, options);
      const gates = roundTo(dtype, normals(1, B * 4 * H, { mean: 0, std }));
      const state = roundTo(dtype, normals(2, B * 2 * H));
      const g = new Graph(dtype);
      const input = (name: string, width: number) => g.input(name, [B, width], { layout: 'rows', dtype });
      g.output('y', lstmCell(input('gates', 4 * H), input('state', 2 * H)));
      const { outputs } = await runGraph(device, g, { inputs: { gates, state }, tunables: { lstmCell: { WG } } });
      const want = new Float64Array(B * 2 * H);
      for (let b = 0; b < B; b++) {
        for (let u = 0; u < H; u++) {
          const [i, f, c, o] = [0, 1, 2, 3].map((k) => gates[b * 4 * H + k * H + u]);
          const next = sigmoid(f) * state[b * 2 * H + H + u] + sigmoid(i) * Math.tanh(c);
          want[b * 2 * H + H + u] = next;
          want[b * 2 * H + u] = sigmoid(o) * Math.tanh(next);
        }
      }
      expectClose(
        outputs.y,
        want,
        Array.from(want, (v) => normTolerance(dtype, 1 + Math.abs(v), v)),
      );
    });
  });
});

it('lstmCell says what does not fit', () => {
  const g = new Graph();
  const gates = g.input('gates', [2, 12], { layout: 'rows' });
  expect(() => lstmCell(gates, g.input('state', [2, 5], { layout: 'rows' }))).toThrow(ShapeError);
});
