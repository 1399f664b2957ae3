import { afterEach, describe, expect, it } from 'vitest';
import {
  AbortedError,
  AdapterError,
  chromeTrace,
  Device,
  DeviceLostError,
  Graph,
  InvalidArgumentError,
  NonFiniteError,
  profile,
  profileTable,
  Program,
  ValidationError,
  WeightError,
  Weights,
  type WeightSource,
} from '../../src/engine/index.ts';
import { add, unary } from '../../src/kernels/elementwise.ts';
import { embedding } from '../../src/kernels/embedding.ts';
import { fromNchw, toNchw } from '../../src/kernels/layout.ts';
import { linear } from '../../src/kernels/matmul.ts';
import { linearReference } from '../reference/linear.ts';
import { dotTolerance, expectClose } from '../support/close.ts';
import { adapters, getGpu } from '../support/gpu.ts';
import { normals } from '../support/random.ts';

const source = (tensors: Record<string, { shape: number[]; data: Float32Array }>): WeightSource => ({
  name: 'memory',
  keys: () => Object.keys(tensors),
  info: (key) => tensors[key] && { dtype: 'F32', shape: tensors[key].shape },
  read: async (key) => tensors[key].data,
});

const w = normals(1, 6 * 5, { std: 0.4 });
const b = normals(2, 6);
const tensors = { w: { shape: [6, 5], data: w }, b: { shape: [6], data: b } };

/** x [2,5,3,4] → a 1×1 layer on its channels → [2,6,3,4]. */
function record(): Graph {
  const g = new Graph();
  const x = fromNchw(g.input('x', [2, 5, 3, 4]));
  g.output('y', toNchw(linear(x, { key: 'w', shape: [6, 5] }, { key: 'b', shape: [6] }, { act: 'silu' })));
  return g;
}

describe.each(adapters())('program on %s', (adapter) => {
  let device: Device | undefined;
  afterEach(() => device?.dispose());
  const open = async (options = {}) => (device = await Device.open({ gpu: await getGpu(adapter), ...options }));

  it('runs a recorded graph and releases all it took', async () => {
    const d = await open();
    const g = record();
    const weights = new Weights(d, source(tensors));
    const seen: number[] = [];
    await weights.load(g, { onProgress: (p) => seen.push(p.progress) });
    const program = await Program.compile(d, g, weights);
    const x = normals(3, 2 * 5 * 12);
    program.write('x', x);
    await program.run();
    const y = await program.read('y');
    // The same in NCHW by hand.
    const want = new Float64Array(2 * 6 * 12);
    for (let n = 0; n < 2; n++) {
      for (let p = 0; p < 12; p++) {
        const row = Array.from({ length: 5 }, (_, c) => x[(n * 5 + c) * 12 + p]);
        linearReference(row, w, { M: 1, N: 6, K: 5 }, { bias: b, act: 'silu' }).forEach(
          (v, o) => (want[(n * 6 + o) * 12 + p] = v),
        );
      }
    }
    expectClose(y, want, dotTolerance('f32', 5, 4));
    expect(seen.at(-1)).toBe(1);
    await program.run({ checkFinite: true });
    program.dispose();
    weights.dispose();
    expect(d.held).toEqual({ bytes: 0, buffers: 0 });
  });

  it('uses each pipeline once while weights are on their way, where the driver translates it at its first use', async () => {
    const d = await open();
    const order: string[] = [];
    const { queue } = d.gpu;
    const submit = queue.submit.bind(queue);
    queue.submit = (buffers) => {
      order.push('submit');
      submit(buffers);
    };
    const slow: WeightSource = {
      ...source(tensors),
      read: async (key) => {
        while (order.length < d.pipelines.size) await new Promise((tick) => setTimeout(tick, 1));
        order.push(key);
        return tensors[key as keyof typeof tensors].data;
      },
    };
    const weights = new Weights(d, slow);
    const first = await Program.compile(d, record(), weights);
    expect(d.pipelines.size).toBeGreaterThan(1);
    expect(order.indexOf('w')).toBe(d.pipelines.size);
    const again = await Program.compile(d, record(), weights);
    expect(order.filter((what) => what === 'submit').length).toBe(d.pipelines.size);
    for (const program of [first, again]) program.dispose();
    weights.dispose();
    expect(d.held).toEqual({ bytes: 0, buffers: 0 });
  });

  it('replays without allocating: buffers and pipelines stay as they are', async () => {
    const d = await open();
    const weights = new Weights(d, source(tensors));
    const g = record();
    await weights.load(g);
    const program = await Program.compile(d, g, weights);
    program.write('x', normals(3, 120));
    await program.run();
    const before = { ...d.held, pipelines: d.pipelines.size };
    const made: string[] = [];
    const noting = (name: string) => [name, () => made.push(name)];
    const makers = ['createBuffer', 'createBindGroup', 'createShaderModule', 'createComputePipelineAsync'];
    Object.assign(d.gpu, Object.fromEntries(makers.map(noting)));
    Object.assign(d.gpu.queue, Object.fromEntries([noting('writeBuffer')]));
    for (let i = 0; i < 5; i++) await program.run();
    expect(made).toEqual([]);
    expect({ ...d.held, pipelines: d.pipelines.size }).toEqual(before);
  });

  it('has all pipelines compiled at the same time', async () => {
    const d = await open();
    const compile = d.gpu.createComputePipelineAsync.bind(d.gpu);
    let [now, most] = [0, 0];
    d.gpu.createComputePipelineAsync = async (descriptor) => {
      most = Math.max(most, ++now);
      await new Promise((tick) => setTimeout(tick, 5));
      now--;
      return compile(descriptor);
    };
    await Program.compile(d, record(), new Weights(d, source(tensors)));
    expect(d.pipelines.size).toBeGreaterThan(1);
    expect(most).toBe(d.pipelines.size);
  });

  it('cuts work into bounded submits and gives the same result', async () => {
    const d = await open();
    const g = new Graph();
    let x = fromNchw(g.input('x', [1, 4, 8, 8]));
    for (let i = 0; i < 12; i++) x = unary(x, { act: 'tanh', alpha: 1.1 });
    g.output('y', toNchw(x));
    const program = await Program.compile(d, g, undefined);
    program.write('x', normals(1, 256));
    const submit = d.gpu.queue.submit.bind(d.gpu.queue);
    let submits = 0;
    d.gpu.queue.submit = (list) => (submits++, submit(list));
    d.pacer.budgetMs = 1e6;
    d.pacer.rate = 1e9;
    await program.run();
    expect(submits).toBe(1);
    const whole = await program.read('y');
    submits = 0;
    d.pacer.budgetMs = 0;
    await program.run();
    expect(submits).toBe(program.report.dispatches);
    expect(await program.read('y')).toEqual(whole);
  });

  it('stops between submits when aborted, and stays usable', async () => {
    const d = await open();
    const g = new Graph();
    let x = fromNchw(g.input('x', [1, 4, 8, 8]));
    for (let i = 0; i < 8; i++) x = unary(x, { act: 'tanh' });
    g.output('y', toNchw(x));
    const program = await Program.compile(d, g, undefined);
    program.write('x', normals(1, 256));
    await program.run();
    const want = await program.read('y');
    const controller = new AbortController();
    d.pacer.budgetMs = 0;
    const running = program.run({ signal: controller.signal });
    controller.abort();
    await expect(running).rejects.toThrow(AbortedError);
    await program.run();
    expect(await program.read('y')).toEqual(want);
  });

  it('gives up compiling at once when aborted, and leaves nothing', async () => {
    const d = await open();
    const weights = new Weights(d, source(tensors));
    const g = record();
    await weights.load(g);
    const before = { ...d.held };
    d.pipelines.get = () => new Promise(() => undefined); // a compiler that never ends
    const controller = new AbortController();
    const compiling = Program.compile(d, g, weights, { signal: controller.signal });
    controller.abort();
    await expect(compiling).rejects.toThrow(AbortedError);
    expect(d.held).toEqual(before);
  });

  it('names the first op that made a non-finite value', async () => {
    const d = await open();
    const g = new Graph();
    const x = fromNchw(g.input('x', [1, 4, 2, 2]));
    const huge = g.scope('block.3', () => unary(x, { alpha: 3e38 }));
    g.output('y', toNchw(add(huge, huge, { beta: -1 })));
    const program = await Program.compile(d, g, undefined);
    program.write('x', new Float32Array(16).fill(1e30));
    const error = await program.run({ checkFinite: true }).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(NonFiniteError);
    expect((error as NonFiniteError).op).toBe('block.3/elementwise');
  });

  it('takes what is not written yet for no such value', async () => {
    const d = await open();
    const g = new Graph('f16');
    const ids = g.input('ids', [4], { dtype: 'u32' });
    // Each of the two parts of the table writes the rows of its own ids.
    g.output('y', embedding(ids, { key: 'table', shape: [8, 4] }, { maxBytes: 32 }));
    const weights = new Weights(d, source({ table: { shape: [8, 4], data: normals(3, 32) } }));
    const program = await Program.compile(d, g, weights);
    expect(program.report.dispatches).toBe(2);
    program.write('ids', Uint32Array.of(1, 6, 2, 5));
    const nan = new Uint16Array(16).fill(0x7e00);
    d.gpu.queue.writeBuffer(program.outputBuffer('y'), 0, nan);
    await program.run({ checkFinite: true });
    expect((await program.read('y')).every(Number.isFinite)).toBe(true);
    program.dispose();
    weights.dispose();
  });

  it('profiles every dispatch', async () => {
    const d = await open();
    const weights = new Weights(d, source(tensors));
    const g = record();
    await weights.load(g);
    const program = await Program.compile(d, g, weights);
    const p = await profile(program);
    expect(p.rows.map((r) => r.kernel)).toEqual(['fromNchw', expect.stringMatching(/^matmul/), 'toNchw']);
    expect(p.rows.every((r) => r.ms >= 0 && Number.isFinite(r.start))).toBe(true);
    expect(profileTable(p)).toMatch(/matmul\w* +[\d.]+ +[\d.]+% +1/);
    expect(JSON.parse(chromeTrace(p)).traceEvents).toHaveLength(3);
  });

  it('says what is wrong with inputs and weights', async () => {
    const d = await open();
    const g = record();
    const late = new Weights(d, source(tensors));
    (await Program.compile(d, g, late)).dispose();
    late.dispose();
    const missing = new Weights(d, source({ w: tensors.w }));
    await expect(missing.load(g)).rejects.toThrow(/expected weight b \[6\], got none/);
    const bad = new Weights(d, source({ ...tensors, b: { shape: [7], data: normals(1, 7) } }));
    await expect(bad.load(g)).rejects.toThrow(/b has shape \[7\], the model expects \[6\]/);
    const poison = Float32Array.from(b);
    poison[4] = NaN;
    const nan = new Weights(d, source({ ...tensors, b: { shape: [6], data: poison } }));
    await expect(nan.load(g)).rejects.toThrow(WeightError);
    await expect(nan.load(g)).rejects.toThrow(/b holds NaN at element 4/);
    for (const weights of [missing, bad, nan]) weights.dispose();
    const weights = new Weights(d, source(tensors));
    await weights.load(g);
    const program = await Program.compile(d, g, weights);
    expect(() => program.write('x', new Float32Array(3))).toThrow(InvalidArgumentError);
    expect(() => program.write('z', new Float32Array(3))).toThrow(/no input z; it has x/);
    expect(() => program.write('x', new Uint32Array(2 * 5 * 3 * 4))).toThrow(/expected f32, got a Uint32Array/);
    program.dispose();
    weights.dispose();
    expect(d.held.buffers).toBe(0);
  });

  it('reports a shader that does not compile with the compiler’s line', async () => {
    const d = await open();
    const compiling = d.pipelines.get('@compute @workgroup_size(1) fn main() { let x: u32 = 1.5; }', [], 'broken');
    await expect(compiling).rejects.toThrow(ValidationError);
    await expect(d.pipelines.get('fn main( {', [], 'broken')).rejects.toThrow(/compile broken/);
  });

  it('turns a lost device into a typed error, once and for all', async () => {
    const d = await open();
    const program = await Program.compile(
      d,
      (() => {
        const g = new Graph();
        g.output('y', toNchw(fromNchw(g.input('x', [1, 4, 2, 2]))));
        return g;
      })(),
      undefined,
    );
    d.gpu.destroy();
    await d.gpu.lost;
    await expect(program.run()).rejects.toThrow(DeviceLostError);
    await expect(program.read('y')).rejects.toThrow(/lost .*open a new device/);
  });

  it('names the feature that an adapter lacks', async () => {
    const gpu = await getGpu(adapter);
    const opening = Device.open({ gpu, require: ['no-such-feature' as GPUFeatureName] });
    await expect(opening).rejects.toThrow(AdapterError);
    await expect(opening).rejects.toThrow(/no-such-feature/);
  });

  it('asks for default limits unless told otherwise', async () => {
    expect((await open()).caps.limits.maxStorageBufferBindingSize).toBe(128 * 2 ** 20);
    device!.dispose();
    expect((await open({ limits: 'raised' })).caps.limits.maxStorageBufferBindingSize).toBeGreaterThanOrEqual(
      128 * 2 ** 20,
    );
  });

  it.each([
    ['auto', 'software', 'default'],
    ['auto', 'hardware', 'raised'],
    ['default', 'hardware', 'default'],
    ['raised', 'software', 'raised'],
  ] as const)('with limits %s, %s gets %s ones', async (limits, kind, got) => {
    const gpu = await getGpu(adapter);
    const { features, limits: offered } = (await gpu.requestAdapter())!;
    let asked: Record<string, unknown> = {};
    const requestDevice = async ({ requiredLimits }: GPUDeviceDescriptor) => {
      asked = { ...requiredLimits };
      throw new AdapterError('seen');
    };
    const description = kind === 'hardware' ? 'a card' : 'llvmpipe';
    const made = { info: { vendor: 'nobody', description }, features, limits: offered, requestDevice };
    const opening = Device.open({ gpu: { requestAdapter: async () => made } as unknown as GPU, limits });
    await expect(opening).rejects.toThrow('seen');
    expect(asked.maxBufferSize).toBe(got === 'raised' ? offered.maxBufferSize : undefined);
  });
});

it('without WebGPU or without an adapter the error says what to do', async () => {
  await expect(Device.open({ gpu: undefined })).rejects.toThrow(AdapterError);
  const none = { requestAdapter: async () => null } as unknown as GPU;
  await expect(Device.open({ gpu: none })).rejects.toThrow(/offers no adapter/);
});
