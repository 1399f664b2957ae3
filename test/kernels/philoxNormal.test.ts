import { describe, expect, it } from 'vitest';
import { packParams, specialise, tunableCombinations } from '../../src/engine/index.ts';
import { philoxNormalKernel } from '../../src/kernels/philoxNormal.ts';
import { counterNormals } from '../../src/sampler/noise/counterNormals.ts';
import { COUNTER_NORMAL, expectClose } from '../support/close.ts';
import { adapters } from '../support/gpu.ts';
import { openDevice } from '../support/runGraph.ts';

const GUARD = 64;
const SENTINEL = -12345;
const SEEDS = [1n, 0xfedcba9876543210n, 2n ** 64n - 1n];

describe.each(adapters())('philoxNormal on %s', (adapter) => {
  /** [batch, item] normals and the guard words behind them. */
  async function run(item: number, draw: number, stream: number, tunables: Record<string, number>) {
    const device = await openDevice(adapter);
    const { shader, name, grid } = philoxNormalKernel;
    const params = { batch: SEEDS.length, item, draw, stream };
    const n = SEEDS.length * item;
    const pipeline = await device.pipelines.get(specialise(shader, 'f32', tunables), shader.bindings, name);
    const { STORAGE, UNIFORM, COPY_DST, COPY_SRC } = GPUBufferUsage;
    const make = (bytes: number, usage: number): GPUBuffer => device.createBuffer(bytes, usage | COPY_DST, name);
    const words = Uint32Array.from(SEEDS.flatMap((s) => [Number(s & 0xffffffffn), Number(s >> 32n)]));
    const buffers: Record<string, GPUBuffer> = {
      keys: make(words.byteLength, STORAGE),
      out: make(4 * (n + GUARD), STORAGE | COPY_SRC),
      p: make(shader.paramsSize, UNIFORM),
    };
    const { gpu } = device;
    gpu.queue.writeBuffer(buffers.keys, 0, words);
    gpu.queue.writeBuffer(buffers.out, 0, new Float32Array(n + GUARD).fill(SENTINEL));
    gpu.queue.writeBuffer(buffers.p, 0, packParams(shader, params));
    const encoder = gpu.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    const entries = shader.bindings.map((b) => ({ binding: b.binding, resource: { buffer: buffers[b.name] } }));
    pass.setBindGroup(0, gpu.createBindGroup({ layout: device.pipelines.layout(shader.bindings), entries }));
    pass.dispatchWorkgroups(...grid(params, tunables));
    pass.end();
    gpu.queue.submit([encoder.finish()]);
    const values = new Float32Array(await device.read(buffers.out, 4 * (n + GUARD)));
    for (const buffer of Object.values(buffers)) device.destroyBuffer(buffer);
    return { values: values.subarray(0, n), guard: values.subarray(n) };
  }

  it.each([1, 3, 4, 7, 255, 256, 257, 5003])('items of %i elements, every workgroup size', async (item) => {
    const [draw, stream] = [0xdeadbeef, 3];
    const want = SEEDS.flatMap((seed) => [...counterNormals(seed, [draw, stream], new Float64Array(item))]);
    const { caps } = await openDevice(adapter);
    for (const tunables of tunableCombinations(philoxNormalKernel, caps)) {
      const { values, guard } = await run(item, draw, stream, tunables as Record<string, number>);
      expectClose(values, want, COUNTER_NORMAL, JSON.stringify(tunables));
      expect(guard.every((v) => v === SENTINEL)).toBe(true);
    }
  });

  it('a million normals: moments and tails', async () => {
    const item = 350000;
    const { values } = await run(item, 1, 0, { WG: 64 });
    const want = SEEDS.flatMap((seed) => [...counterNormals(seed, [1, 0], new Float64Array(item))]);
    expectClose(values, want, COUNTER_NORMAL);
    expect(Math.max(...values.subarray(0, 100000))).toBeGreaterThan(3);
  });
});
