import { afterEach, describe, expect, test } from 'vitest';
import { ProgramSubject } from '../../bench/programSubject.ts';
import { Device, Graph } from '../../src/engine/index.ts';
import { unary } from '../../src/kernels/elementwise.ts';
import { fromNchw, toNchw } from '../../src/kernels/layout.ts';
import { getGpu } from '../support/gpu.ts';
import { normals } from '../support/random.ts';

describe('what the host does for a program', () => {
  let device: Device;
  afterEach(() => device.dispose());

  test('bounds make several submits of a run, without them it is one, and what was learned stays', async () => {
    device = await Device.open({ gpu: await getGpu('lavapipe'), tune: { mode: 'off' } });
    const graph = new Graph();
    let x = fromNchw(graph.input('x', [1, 4, 8, 8]));
    for (let i = 0; i < 5; i++) x = unary(x, { act: 'tanh', alpha: 1.1 });
    graph.output('out', toNchw(x));
    const subject = new ProgramSubject(device, { graph, inputs: { x: normals(1, 256) }, verify: async () => 0 });
    await subject.first();
    Object.assign(device.pacer, { budgetMs: 0, rate: 1 });
    const { host } = subject;
    const submitsOf = async (work: () => Promise<unknown>) => {
      const before = host.submits;
      await work();
      return host.submits - before;
    };
    const run = () => subject.run().then(() => device.idle());
    expect(await submitsOf(run)).toBe(subject.dispatches);
    const { rate } = device.pacer;
    expect(await submitsOf(() => host.paced(Infinity, run))).toBe(1);
    expect(device.pacer).toMatchObject({ budgetMs: 0, rate });
    expect(await submitsOf(run)).toBe(subject.dispatches);
    expect(await submitsOf(() => host.encode())).toBe(0);
    expect(await submitsOf(run)).toBe(subject.dispatches);
    subject.dispose();
  });
});
