/** Results that take over an operand's memory: the same values, in less of it. */
import { describe, expect, it } from 'vitest';
import { DEFAULT_CAPABILITIES, Graph, prepare, Program, Weights, type Dispatch } from '../../src/engine/index.ts';
import { unary } from '../../src/kernels/elementwise.ts';
import { linear } from '../../src/kernels/matmul.ts';
import { adapters } from '../support/gpu.ts';
import { normals } from '../support/random.ts';
import { openDevice, runGraph } from '../support/runGraph.ts';

const [M, D] = [9, 12];
const weight = (key: string, out: number, width: number) => ({ key, shape: [out, width] });

/** Three residual layers; the state of the second is read once more where `again` says so. */
function record(again = false): Graph {
  const g = new Graph();
  let x = unary(g.input('x', [M, D], { layout: 'rows' }), { alpha: 0.5 });
  const states = [x];
  for (let i = 0; i < 3; i++) {
    const h = linear(x, weight(`up${i}`, 4 * D, D), undefined, { act: 'relu' });
    states.push((x = linear(h, weight(`down${i}`, D, 4 * D), undefined, { residual: x })));
  }
  const last = again ? linear(states[1], weight('end', D, D), undefined, { residual: x }) : x;
  g.output('y', unary(last, { alpha: 2 }));
  return g;
}

const inPlace = (dispatches: readonly Dispatch[]) => dispatches.filter((d) => d.tunables.IN_PLACE === true).length;

describe('in place', () => {
  it('takes over what nobody reads afterwards, and nothing else', () => {
    expect(inPlace(prepare(record(), DEFAULT_CAPABILITIES).dispatches)).toBe(3);
    expect(inPlace(prepare(record(true), DEFAULT_CAPABILITIES).dispatches)).toBe(3);
    const { plan } = prepare(record(), DEFAULT_CAPABILITIES);
    const row = 4 * D * M;
    expect(plan.liveBytes).toBeLessThanOrEqual(2 * 256 * Math.ceil((4 * row) / 256));
    expect(plan.peakBytes).toBe(plan.liveBytes);
  });

  it('leaves inputs and outputs of the graph alone', () => {
    const g = new Graph();
    const x = g.input('x', [M, D], { layout: 'rows' });
    const y = linear(unary(x), weight('a', D, D), undefined, { residual: x });
    const z = linear(unary(y), weight('b', D, D), undefined, { residual: y });
    g.output('y', y);
    g.output('z', z);
    expect(inPlace(prepare(g, DEFAULT_CAPABILITIES).dispatches)).toBe(0);
  });

  it.each(adapters())('gives what memory of its own gives, on %s', async (adapter) => {
    const device = await openDevice(adapter);
    for (const again of [false, true]) {
      const data: Record<string, Float32Array> = {};
      for (const { constant } of record(again).constants.values()) {
        const { key, shape } = constant!;
        data[key] = normals(key.length + key.charCodeAt(key.length - 1), shape[0] * shape[1]);
      }
      const x = normals(1, M * D);
      const apart = await runGraph(device, record(again), { inputs: { x }, weights: data });
      const weights = new Weights(device, {
        name: 'drawn',
        keys: () => Object.keys(data),
        info: (key) => ({ dtype: 'F32', shape: [data[key].length] }),
        read: async (key) => data[key],
      });
      const program = await Program.compile(device, record(again), weights);
      expect(inPlace(program.dispatches)).toBeGreaterThan(0);
      program.write('x', x);
      for (let run = 0; run < 2; run++) {
        await program.run();
        expect(await program.read('y')).toEqual(apart.outputs.y);
      }
      program.dispose();
      weights.dispose();
    }
  });
});
