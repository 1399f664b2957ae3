import { describe, it } from 'vitest';
import { Graph } from '../../src/engine/index.ts';
import { ACTIVATIONS, type Activation } from '../../src/kernels/common.ts';
import { unary } from '../../src/kernels/elementwise.ts';
import { activation } from '../reference/activation.ts';
import { activationTolerance, expectClose } from '../support/close.ts';
import { adapters } from '../support/gpu.ts';
import { openDevice, runGraph } from '../support/runGraph.ts';

/**
 * Dense where the functions bend, sparse to ±90 where exp over- and underflows, then powers of two and the extremes.
 */
function samples(): Float32Array {
  const x: number[] = [0];
  for (let i = -4000; i <= 4000; i++) x.push(i / 200);
  for (let i = -180; i <= 180; i++) x.push(i / 2 + 0.013);
  for (let e = -30; e <= 17; e++) x.push(2 ** e, -(2 ** e));
  for (const v of [80, 88.5, 104, 6e4, 1e12]) x.push(v, -v);
  return Float32Array.from(x);
}

describe.each(adapters())('activations on %s', (adapter) => {
  it.each(Object.keys(ACTIVATIONS) as Activation[])(
    '%s is right to rounding, and finite where it should be',
    async (act) => {
      const device = await openDevice(adapter);
      const x = samples();
      const g = new Graph();
      g.output('y', unary(g.input('x', [x.length, 1], { layout: 'rows' }), { act }));
      const { outputs } = await runGraph(device, g, { inputs: { x } });
      const want = Array.from(x, (v) => activation(v, act));
      expectClose(outputs.y, want, Array.from(x, activationTolerance), act);
    },
  );
});
