/**
 * Runs a recorded graph the plain way, for kernel tests: every tensor in a buffer of its own with guard words before
 * and after, inside the binding's reach, so that a write out of bounds is seen; padding lanes are checked to be zero.
 */
import {
  byteSize,
  Device,
  formatShape,
  fromHalf,
  lowerNodes,
  numel,
  packedFrom,
  packParams,
  rewriteGraph,
  rootOf,
  specialise,
  storedElements,
  toHalf,
  type Capabilities,
  type Choices,
  type DeviceOptions,
  type Dispatch,
  type Graph,
  type Rewrite,
  type Tensor,
  type Tunables,
} from '../../src/engine/index.ts';
import { adapters, getGpu } from './gpu.ts';

const devices = new Map<string, Promise<Device>>();

/** A device on a named adapter, one per process and option set. */
export function openDevice(adapter: string, options: Omit<DeviceOptions, 'gpu'> = {}): Promise<Device> {
  const key = `${adapter} ${JSON.stringify(options)}`;
  let device = devices.get(key);
  if (!device) {
    device = getGpu(adapter).then((gpu) => Device.open({ ...options, gpu }));
    devices.set(key, device);
  }
  return device;
}

export interface RunOptions {
  inputs?: Record<string, Float32Array | Uint32Array>;
  /** Weight data by key, in checkpoint shape. */
  weights?: Record<string, Float32Array>;
  /** Tunables to force, by kernel name. Only names the kernel declares are taken. */
  tunables?: Record<string, Tunables>;
  rewrites?: readonly Rewrite[];
  /** Ways to force where an op has several: `{ get: () => way }` for all. */
  choices?: Choices;
  /** What to tell ops of the device instead of what it is: to see ways that are for other devices. */
  caps?: Partial<Capabilities>;
}

export interface RunResult {
  outputs: Record<string, Float32Array>;
  dispatches: Dispatch[];
}

const GUARD = 256;
const GUARD_WORD = 0x5a5a5a5a;

/** The device's bytes for host values: padded rows, halves. */
export function toDevice(t: Tensor, data: Float32Array | Uint32Array): ArrayBufferView<ArrayBuffer> {
  if (data.length !== numel(t.shape)) {
    throw new Error(`${t.label}: ${data.length} values for ${formatShape(t.shape)}`);
  }
  if (t.dtype === 'u32') return Uint32Array.from(data);
  const width = t.layout === 'dense' ? numel(t.shape) : t.shape.at(-1)!;
  const stride = t.layout === 'dense' ? width : 4 * Math.ceil(width / 4);
  const padded = new Float32Array(storedElements(t));
  for (let row = 0; row * width < data.length; row++) {
    padded.set(data.subarray(row * width, row * width + width), row * stride);
  }
  return t.dtype === 'f16' ? toHalf(padded) : padded;
}

/** Host values of the device's bytes; throws where padding is not zero. */
export function fromDevice(t: Tensor, bytes: ArrayBuffer): Float32Array {
  const stored = t.dtype === 'f16' ? fromHalf(new Uint16Array(bytes)) : new Float32Array(bytes);
  if (t.layout === 'dense') return stored.slice(0, numel(t.shape));
  const width = t.shape.at(-1)!;
  const stride = 4 * Math.ceil(width / 4);
  const out = new Float32Array(numel(t.shape));
  for (let row = 0; row * width < out.length; row++) {
    for (let i = width; i < stride; i++) {
      if (stored[row * stride + i] !== 0) {
        throw new Error(`${t.label}: padding lane ${i} of row ${row} is ${stored[row * stride + i]}, expected 0`);
      }
    }
    out.set(stored.subarray(row * stride, row * stride + width), row * width);
  }
  return out;
}

/** Lowers and runs `graph`; returns its outputs as row-major f32. */
export async function runGraph(device: Device, graph: Graph, options: RunOptions = {}): Promise<RunResult> {
  const { nodes } = rewriteGraph(graph, options.rewrites ?? []);
  const lowered = lowerNodes(graph, nodes, { ...device.caps, ...options.caps }, options);
  const dispatches = lowered.map((d) => forceTunables(d, options.tunables?.[d.kernel.name]));
  const buffers = new Map<number, GPUBuffer>();
  const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC;
  const bufferOf = (t: Tensor) => {
    const root = rootOf(t);
    let buffer = buffers.get(root.id);
    if (!buffer) {
      const bytes = byteSize(root);
      buffer = device.createBuffer(bytes + 2 * GUARD, usage, root.label);
      const fill = new Uint32Array(buffer.size / 4).fill(GUARD_WORD);
      device.gpu.queue.writeBuffer(buffer, 0, fill);
      buffers.set(root.id, buffer);
    }
    return buffer;
  };
  const upload = (t: Tensor, data: Float32Array | Uint32Array) => {
    const bytes = toDevice(t, data);
    device.gpu.queue.writeBuffer(bufferOf(t), GUARD, bytes.buffer, bytes.byteOffset, bytes.byteLength);
  };
  const temporary: GPUBuffer[] = [];
  try {
    for (const [name, t] of graph.inputs) upload(t, options.inputs![name]);
    const bound = dispatches.flatMap((d) => Object.values(d.bindings)).map((t) => t && rootOf(t));
    for (const t of new Set(bound)) if (t?.constant) upload(t, packConstant(t, options.weights ?? {}));
    const dummy = device.createBuffer(16, usage, 'dummy');
    temporary.push(dummy);
    await device.scoped('runGraph', async () => {
      const pipelines = await Promise.all(
        dispatches.map((d) =>
          device.pipelines.get(specialise(d.kernel.shader, d.storage, d.tunables), d.kernel.shader.bindings, d.label),
        ),
      );
      const encoder = device.gpu.createCommandEncoder();
      dispatches.forEach((d, i) => {
        const entries = d.kernel.shader.bindings.map((b): GPUBindGroupEntry => {
          if (b.access === 'uniform') {
            const block = packParams(d.kernel.shader, d.params);
            const buffer = device.createBuffer(block.byteLength, usage | GPUBufferUsage.UNIFORM, 'params');
            temporary.push(buffer);
            device.gpu.queue.writeBuffer(buffer, 0, block);
            return { binding: b.binding, resource: { buffer } };
          }
          const t = d.bindings[b.name];
          if (!t) return { binding: b.binding, resource: { buffer: dummy } };
          const limit = device.caps.limits.maxStorageBufferBindingSize;
          const size = Math.min(byteSize(rootOf(t)) + GUARD, Math.max(limit, byteSize(rootOf(t))));
          return { binding: b.binding, resource: { buffer: bufferOf(t), offset: GUARD, size } };
        });
        const bindGroup = device.gpu.createBindGroup({
          layout: device.pipelines.layout(d.kernel.shader.bindings),
          entries,
        });
        const pass = encoder.beginComputePass();
        pass.setPipeline(pipelines[i]);
        pass.setBindGroup(0, bindGroup);
        pass.dispatchWorkgroups(...d.grid);
        pass.end();
      });
      device.gpu.queue.submit([encoder.finish()]);
    });
    const outputs: Record<string, Float32Array> = {};
    const written = new Map<number, Tensor>();
    for (const d of dispatches) {
      for (const b of d.kernel.shader.bindings) {
        const t = d.bindings[b.name];
        if (t && b.access === 'write') written.set(rootOf(t).id, rootOf(t));
      }
    }
    const bytesOf = new Map<number, ArrayBuffer>();
    for (const [id, t] of written) {
      const all = await device.read(bufferOf(t));
      const words = new Uint32Array(all);
      const size = byteSize(t);
      for (let i = 0; i < words.length; i++) {
        const guard = i < GUARD / 4 || i >= (GUARD + size) / 4;
        if (guard && words[i] !== GUARD_WORD) {
          throw new Error(
            `${t.label} ${formatShape(t.shape)}: guard word ${i - GUARD / 4} overwritten (${size / 4} words)`,
          );
        }
      }
      bytesOf.set(id, all.slice(GUARD, GUARD + size));
    }
    for (const [name, t] of graph.outputs) outputs[name] = fromDevice(t, bytesOf.get(rootOf(t).id)!);
    return { outputs, dispatches };
  } finally {
    for (const buffer of [...buffers.values(), ...temporary]) device.destroyBuffer(buffer);
  }
}

/** A weight, or several in one tensor, as loading lays them out. */
function packConstant({ shape, constant }: Tensor, weights: Record<string, Float32Array>): Float32Array {
  const out = new Float32Array(numel(shape));
  for (const part of constant!.parts ?? [{ constant: constant!, at: 0, stride: 0 }]) {
    const { key, packing, shape: whole } = part.constant;
    const data = weights[key];
    if (!data) throw new Error(`runGraph: no data for weight ${key}`);
    const inner = numel(whole.slice(1));
    const [first, end] = packing.rows ?? [0, whole[0]];
    const from = packedFrom(part.constant);
    const blocks = packing.blocks(from);
    const packed = new Float32Array(numel(packing.shape(whole)));
    packing.pack(data.subarray(first * inner, end * inner), from, 0, blocks, packed);
    const size = packed.length / blocks;
    for (let b = 0; b < blocks; b++) {
      out.set(packed.subarray(b * size, (b + 1) * size), part.at + b * (part.stride || size));
    }
  }
  return out;
}

function forceTunables(d: Dispatch, forced: Tunables | undefined): Dispatch {
  if (!forced) return d;
  const tunables = { ...d.tunables, ...forced };
  const grid = d.kernel.grid(d.params as Record<string, number>, tunables as Record<string, number>);
  return { ...d, tunables, grid };
}

/** The storage forms an adapter is tested with: name, dtype, device options. */
export function storages(adapter: string): [string, 'f32' | 'f16', { without?: GPUFeatureName[] }][] {
  const forms: ReturnType<typeof storages> = [['f32', 'f32', {}]];
  if (adapter !== 'swiftshader') forms.push(['f16', 'f16', {}]);
  forms.push(['packed halves', 'f16', { without: ['shader-f16'] }]);
  return forms;
}

/** An adapter and a storage form on it: one factor of the cases of a kernel. */
export interface Form {
  adapter: string;
  storage: string;
  dtype: 'f32' | 'f16';
  options: { without?: GPUFeatureName[] };
}

/** All of them, on every adapter. */
export function forms(): Form[] {
  return adapters().flatMap((adapter) =>
    storages(adapter).map(([storage, dtype, options]) => ({ adapter, storage, dtype, options })),
  );
}

/** The options for the kernels that do without subgroups. */
export function withoutSubgroups(options: { without?: GPUFeatureName[] }): { without: GPUFeatureName[] } {
  return { without: [...(options.without ?? []), 'subgroups' as GPUFeatureName] };
}
