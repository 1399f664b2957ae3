/** In a page: settles how a convolution is computed, and tells what that took. */
import { Device, Graph } from '../../src/engine/index.ts';
import { conv2d } from '../../src/kernels/index.ts';

async function settle() {
  const device = await Device.open({ tune: { mode: 'full', budgetMs: 60_000, shipped: false } });
  const g = new Graph();
  const x = g.input('x', [1, 8, 8, 8], { layout: 'rows' });
  g.output('y', conv2d(x, { key: 'w', shape: [8, 8, 3, 3] }, undefined, { padding: 1 }));
  await device.tuner.settle(g);
  const { measured, cached, problems } = device.tuner.report;
  device.dispose();
  return { measured, cached, problems };
}

Object.assign(globalThis, { settle });
