import { expect, it } from 'vitest';
import {
  Device,
  Graph,
  OutOfMemoryError,
  Program,
  WeightError,
  Weights,
  type WeightSource,
} from '../../src/engine/index.ts';
import { unary } from '../../src/kernels/elementwise.ts';
import { fromNchw, toNchw } from '../../src/kernels/layout.ts';
import { linear } from '../../src/kernels/matmul.ts';
import { packMatrix } from '../../src/kernels/packing.ts';
import { getGpu } from '../support/gpu.ts';

const MIB = 2 ** 20;

it('loads 512 MiB of weights with little more than one tensor on the host', async () => {
  const device = await Device.open({ gpu: await getGpu('lavapipe') });
  const side = 2048;
  const layers = 32;
  const g = new Graph('f16');
  let x = g.input('x', [1, side], { layout: 'rows', dtype: 'f16' });
  for (let i = 0; i < layers; i++) x = linear(x, { key: `w${i}`, shape: [side, side] });
  g.output('y', x);
  let peak = 0;
  const watch = () => (peak = Math.max(peak, process.memoryUsage().arrayBuffers));
  const source: WeightSource = {
    name: 'generated',
    keys: () => Array.from({ length: layers }, (_, i) => `w${i}`),
    info: () => ({ dtype: 'F32', shape: [side, side] }),
    read: async (_key, { out } = {}) => {
      watch();
      return out!.fill(0.5);
    },
  };
  const before = process.memoryUsage().arrayBuffers;
  const weights = new Weights(device, source);
  await weights.load(g, { onProgress: watch });
  const tensor = 4 * side * side;
  expect((peak - before) / MIB).toBeLessThan(64 + tensor / MIB);
  expect(weights.bytes).toBe(layers * side * side * 2);
  weights.dispose();
  device.dispose();
});

it('refuses what halves cannot hold where it is stored so, and takes it in f32', async () => {
  const device = await Device.open({ gpu: await getGpu('lavapipe') });
  const data = new Float32Array(16).fill(1);
  data[5] = 7e4;
  const info = { dtype: 'BF16', shape: [4, 4] };
  for (const dtype of ['f16', 'f32'] as const) {
    const g = new Graph(dtype);
    g.output('y', linear(g.input('x', [1, 4], { layout: 'rows', dtype }), { key: 'w', shape: [4, 4] }));
    const weights = new Weights(device, { name: 'big', keys: () => ['w'], info: () => info, read: async () => data });
    const loading = weights.load(g);
    if (dtype === 'f16') await expect(loading).rejects.toThrow(/^big: expected w in halves.* use dtype: 'f32'$/);
    await (dtype === 'f16' ? expect(loading).rejects.toThrow(WeightError) : loading);
    weights.dispose();
    expect(device.held.buffers).toBe(0);
  }
  device.dispose();
});

it('packs in slabs what packing at once would give', async () => {
  const device = await Device.open({ gpu: await getGpu('lavapipe') });
  const [N, K] = [30, 4 * 20011];
  const data = Float32Array.from({ length: N * K }, (_, i) => (i * 7919) % 8191);
  const g = new Graph();
  const x = g.input('x', [1, K], { layout: 'rows' });
  g.output('y', linear(x, { key: 'w', shape: [N, K] }));
  const info = { dtype: 'F32', shape: [N, K] };
  const weights = new Weights(device, { name: 'w', keys: () => ['w'], info: () => info, read: async () => data });
  await weights.load(g);
  const constant = [...g.constants.values()][0];
  const got = new Float32Array(await device.read(weights.buffer(constant)));
  const want = new Float32Array(got.length);
  packMatrix.pack(data, [N, K], 0, packMatrix.blocks([N, K]), want);
  expect(got.length).toBeGreaterThan(2 ** 21);
  // Element by element: comparing millions as objects takes a minute.
  expect(got.findIndex((v, i) => v !== want[i])).toBe(-1);
  weights.dispose();
  device.dispose();
});

it('turns a refused allocation into OutOfMemoryError and gives back what the call had taken', async () => {
  const device = await Device.open({ gpu: await getGpu('lavapipe') });
  const g = new Graph();
  g.output('y', toNchw(unary(fromNchw(g.input('x', [1, 4, 8, 8])), { act: 'silu' })));
  await (await Program.compile(device, g, undefined)).dispose();
  const pop = device.gpu.popErrorScope.bind(device.gpu);
  let refused = false;
  device.gpu.popErrorScope = async () => {
    const real = await pop();
    if (refused) return real;
    refused = true;
    return new GPUOutOfMemoryError('no more memory');
  };
  const compiling = Program.compile(device, g, undefined);
  await expect(compiling).rejects.toThrow(OutOfMemoryError);
  await expect(compiling).rejects.toThrow(/use a smaller size or batch, or dtype: 'f16'/);
  expect(device.held).toEqual({ bytes: 0, buffers: 0 });
  const program = await Program.compile(device, g, undefined);
  await program.run();
  program.dispose();
  device.dispose();
});
