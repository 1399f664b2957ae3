import { spawnSync } from 'node:child_process';
import { describe, expect, test } from 'vitest';
import { AdapterError } from '../../src/engine/errors.ts';
import { isSoftware, openGpu } from '../../src/node/adapter.ts';
import { softwareEnvironment } from '../../src/node/softwareAdapter.ts';
import { adapters, getGpu } from '../support/gpu.ts';

const SQUARES = `
@group(0) @binding(0) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x < arrayLength(&y)) { y[id.x] = f32(id.x * id.x); }
}`;

async function squares(device: GPUDevice, count: number): Promise<number[]> {
  const size = 4 * count;
  const y = device.createBuffer({ size, usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC });
  const read = device.createBuffer({ size, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST });
  const module = device.createShaderModule({ code: SQUARES });
  const pipeline = await device.createComputePipelineAsync({ layout: 'auto', compute: { module } });
  const bindings = device.createBindGroup({
    layout: pipeline.getBindGroupLayout(0),
    entries: [{ binding: 0, resource: { buffer: y } }],
  });
  const encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  pass.setPipeline(pipeline);
  pass.setBindGroup(0, bindings);
  pass.dispatchWorkgroups(Math.ceil(count / 64));
  pass.end();
  encoder.copyBufferToBuffer(y, 0, read, 0, size);
  device.queue.submit([encoder.finish()]);
  await read.mapAsync(GPUMapMode.READ);
  return [...new Float32Array(read.getMappedRange())];
}

describe.each(adapters())('openGpu %s', (name) => {
  test('computes', async () => {
    const adapter = await (await getGpu(name)).requestAdapter();
    const device = await adapter!.requestDevice();
    expect(await squares(device, 100)).toEqual(Array.from({ length: 100 }, (_, i) => i * i));
    device.destroy();
  });

  test('is the adapter asked for, on every later request too', async () => {
    const gpu = await getGpu(name);
    for (let i = 0; i < 2; i++) {
      const { info } = (await gpu.requestAdapter())!;
      if (name === 'swiftshader') expect(info.description + info.device).toMatch(/swiftshader/i);
      if (name === 'lavapipe') expect(info.description + info.device).toMatch(/llvmpipe/i);
    }
    expect(await getGpu(name)).toBe(gpu);
  });
});

test('lavapipe offers f16 and the default binding limit, SwiftShader no f16', async () => {
  const lavapipe = (await (await getGpu('lavapipe')).requestAdapter())!;
  const swiftshader = (await (await getGpu('swiftshader')).requestAdapter())!;
  expect(lavapipe.features.has('shader-f16')).toBe(true);
  expect(swiftshader.features.has('shader-f16')).toBe(false);
  expect(lavapipe.limits.maxStorageBufferBindingSize).toBe(128 * 1024 * 1024);
  expect([isSoftware(lavapipe), isSoftware(swiftshader)]).toEqual([true, true]);
});

test('the null backend validates without a driver', async () => {
  const { gpu, name } = await openGpu({ adapter: 'null' });
  const device = await (await gpu.requestAdapter())!.requestDevice();
  device.pushErrorScope('validation');
  device.createShaderModule({ code: 'fn main() { let x: i32 = 1.5; }' });
  expect(name).toBe('null');
  expect((await device.popErrorScope())?.message).toMatch(/i32/);
});

test('auto opens one of the others', async () => {
  const { gpu, name } = await openGpu({ adapter: 'auto' });
  expect(['hardware', 'lavapipe', 'swiftshader']).toContain(name);
  expect(await gpu.requestAdapter()).not.toBeNull();
});

test('an unknown adapter is a typed error that says what is possible', async () => {
  const opening = openGpu({ adapter: 'no such card' });
  await expect(opening).rejects.toThrow(AdapterError);
  await expect(opening).rejects.toThrow(/lavapipe, swiftshader/);
});

test.runIf(process.platform === 'linux')(
  'another program finds both drivers by the environment we give it',
  async () => {
    const program = `import { create } from 'webgpu';
    globalThis.gpus = ['llvmpipe', 'SwiftShader'].map((name) => create(['adapter=' + name]));
    for (const gpu of globalThis.gpus) console.log((await gpu.requestAdapter()).info.vendor);
    process.exit(0);`;
    const env = { ...process.env, ...(await softwareEnvironment(['lavapipe', 'swiftshader'])) };
    const { stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', program], { env, encoding: 'utf8' });
    expect(stdout.trim().split('\n')).toEqual(['mesa', 'google']);
  },
);
