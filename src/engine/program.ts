/** A compiled graph: one flat list of (pipeline, bind group, grid), replayed without allocating. */
import type { Device } from './device.ts';
import { InvalidArgumentError, NonFiniteError, throwIfAborted, unlessAborted } from './errors.ts';
import { byteSize, formatShape, Graph, numel, rootOf, type Tensor } from './graph.ts';
import { fromHalf } from './half.ts';
import { packParams } from './kernel.ts';
import type { Dispatch } from './lower.ts';
import { planMemory } from './plan.ts';
import { EMPTY_REPORT, prepare, type Prepared, type PrepareOptions, type Report } from './prepare.ts';
import { specialise } from './shader.ts';
import type { Weights } from './weights.ts';

/** One entry of the replay list. */
interface Step {
  pipeline: GPUComputePipeline;
  bindGroup: GPUBindGroup;
  grid: readonly [number, number, number];
  cost: number;
  dispatch: Dispatch;
}

/** How far compiling has come, in distinct pipelines. */
export interface CompileProgress {
  status: 'compile';
  loaded: number;
  total: number;
  /** loaded / total, 0 … 1. */
  progress: number;
}

/** How to compile: which rewrites, when to stop, whom to tell. */
export interface CompileOptions extends PrepareOptions {
  signal?: AbortSignal;
  /** Called after each distinct pipeline, `progress` from 0 to 1. */
  onProgress?: (p: CompileProgress) => void;
}

/** A compiled graph on one device: inputs are written, {@link run} replays it, outputs are read. */
export class Program {
  private constructor(
    readonly device: Device,
    readonly graph: Graph,
    private readonly prepared: Prepared,
    private readonly steps: Step[],
    private readonly buffers: ReadonlyMap<number, GPUBuffer>,
    private readonly owned: GPUBuffer[],
  ) {}

  /**
   * Compiles a recorded graph; weights that are not loaded yet are brought.
   * @throws LimitError when it does not fit the device, OutOfMemoryError, ValidationError, AbortedError; what had been
   * allocated is released.
   */
  static async compile(
    device: Device,
    graph: Graph,
    weights: Weights | undefined,
    options: CompileOptions = {},
  ): Promise<Program> {
    device.check();
    const choices = options.choices ?? (await device.tuner.settle(graph, options));
    const prepared = prepare(graph, device.caps, { ...options, choices });
    const compiling = compilePipelines(device, prepared.dispatches, options);
    compiling.catch(() => undefined); // awaited in build; until then it must not count as unhandled
    await weights?.load(prepared.constants, { signal: options.signal });
    return Program.build(device, graph, prepared, weights, compiling, options.signal);
  }

  /**
   * A program of dispatches alone, on zeros in memory of their own: to time them.
   * @throws as {@link compile}
   */
  static ofDispatches(device: Device, dispatches: readonly Dispatch[]): Promise<Program> {
    const plan = planMemory(dispatches, new Set(), device.caps.limits);
    const report = { ...EMPTY_REPORT, dispatches: dispatches.length, peakBytes: plan.peakBytes };
    const prepared: Prepared = { dispatches: [...dispatches], constants: new Set(), plan, report };
    return Program.build(device, new Graph(), prepared, undefined, compilePipelines(device, dispatches, {}));
  }

  private static async build(
    device: Device,
    graph: Graph,
    prepared: Prepared,
    weights: Weights | undefined,
    compiling: Promise<GPUComputePipeline[]>,
    signal?: AbortSignal,
  ): Promise<Program> {
    const owned: GPUBuffer[] = [];
    try {
      const pipelines = await unlessAborted(compiling, signal, 'compile');
      return await device.scoped('compile', () => {
        const buffers = allocate(device, graph, prepared, weights, owned);
        const steps = bind(device, prepared, pipelines, buffers, owned);
        return new Program(device, graph, prepared, steps, buffers, owned);
      });
    } catch (error) {
      for (const buffer of owned) device.destroyBuffer(buffer);
      throw error;
    }
  }

  /** Memory, dispatches and rewrites of this program. */
  get report(): Report {
    return this.prepared.report;
  }

  /**
   * The buffer of an input, dense f32 or u32; write to it, or copy into it on the GPU.
   * @throws InvalidArgumentError when there is no such input.
   */
  inputBuffer(name: string): GPUBuffer {
    return this.buffers.get(rootOf(this.find(this.graph.inputs, name, 'input')).id)!;
  }

  /** The buffer of an output, in the layout the graph gave it. @throws InvalidArgumentError when there is none such. */
  outputBuffer(name: string): GPUBuffer {
    return this.buffers.get(rootOf(this.find(this.graph.outputs, name, 'output')).id)!;
  }

  /** Uploads an input. @throws InvalidArgumentError when there is none such, or type or number of elements differs. */
  write(name: string, data: Float32Array | Uint32Array): void {
    const t = this.find(this.graph.inputs, name, 'input');
    if (data.length !== numel(t.shape)) {
      throw new InvalidArgumentError(
        `input ${name}: expected ${formatShape(t.shape)} = ${numel(t.shape)} elements, got ${data.length}`,
      );
    }
    if (byteSize(t) !== Math.ceil(data.length / 4) * 16) {
      throw new InvalidArgumentError(`input ${name}: expected a dense f32 or u32 input, got ${t.layout} of ${t.dtype}`);
    }
    if ((t.dtype === 'u32') !== data instanceof Uint32Array) {
      const given = data instanceof Uint32Array ? 'Uint32Array' : 'Float32Array';
      throw new InvalidArgumentError(`input ${name}: expected ${t.dtype}, got a ${given}; bits are not converted`);
    }
    this.device.gpu.queue.writeBuffer(this.inputBuffer(name), 0, data.buffer, data.byteOffset, data.byteLength);
  }

  /**
   * Reads an output back as row-major f32, padding taken off.
   * @throws InvalidArgumentError when there is no such output; DeviceLostError
   */
  async read(name: string): Promise<Float32Array> {
    const t = this.find(this.graph.outputs, name, 'output');
    return unpad(await this.device.read(this.outputBuffer(name), byteSize(t)), t);
  }

  /**
   * Replays the list in bounded submits. Resolves when all of it is submitted and all but the last piece is done, or
   * the last few, where they are small.
   * @throws AbortedError between submits, DeviceLostError; NonFiniteError with `checkFinite`, which waits after every
   * op.
   */
  async run(options: { signal?: AbortSignal; checkFinite?: boolean } = {}): Promise<void> {
    this.device.check();
    if (options.checkFinite) return this.runChecked(options.signal);
    const { pacer, gpu } = this.device;
    for (let i = 0; i < this.steps.length;) {
      throwIfAborted(options.signal, 'run');
      const encoder = gpu.createCommandEncoder({ label: this.steps[i].dispatch.label });
      const pass = encoder.beginComputePass({ label: this.steps[i].dispatch.label });
      const budget = pacer.budget;
      let cost = 0;
      do {
        const step = this.steps[i++];
        pass.setPipeline(step.pipeline);
        pass.setBindGroup(0, step.bindGroup);
        pass.dispatchWorkgroups(step.grid[0], step.grid[1], step.grid[2]);
        cost += step.cost;
      } while (i < this.steps.length && cost + this.steps[i].cost <= budget);
      pass.end();
      await pacer.submit(encoder.finish(), cost);
    }
  }

  /** Encodes dispatches [from, to) into an encoder, each in a pass of its own with `passFor`'s descriptor. */
  encodeSeparately(
    encoder: GPUCommandEncoder,
    from: number,
    to: number,
    passFor: (i: number) => GPUComputePassDescriptor,
  ) {
    for (let i = from; i < to; i++) {
      const { pipeline, bindGroup, grid } = this.steps[i];
      const pass = encoder.beginComputePass(passFor(i));
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, bindGroup);
      pass.dispatchWorkgroups(grid[0], grid[1], grid[2]);
      pass.end();
    }
  }

  /** What one run dispatches, in order. */
  get dispatches(): readonly Dispatch[] {
    return this.prepared.dispatches;
  }

  private async runChecked(signal?: AbortSignal): Promise<void> {
    for (let i = 0; i < this.steps.length; i++) {
      throwIfAborted(signal, 'run');
      const { dispatch } = this.steps[i];
      const encoder = this.device.gpu.createCommandEncoder({ label: dispatch.label });
      this.encodeSeparately(encoder, i, i + 1, () => ({ label: dispatch.label }));
      this.device.gpu.queue.submit([encoder.finish()]);
      for (const t of writtenBy(dispatch)) {
        // The result of a node that takes several dispatches is complete only after the last of them.
        const isPart = this.dispatches
          .slice(i + 1)
          .some((later) => later.label === dispatch.label && writtenBy(later).includes(t));
        if (t.dtype === 'u32' || isPart) continue;
        const { buffer, offset } = this.place(t);
        const values = unpad(await this.device.read(buffer, byteSize(t), offset), t);
        const bad = values.findIndex((v) => !Number.isFinite(v));
        if (bad >= 0) {
          throw new NonFiniteError(
            `${dispatch.label}: ${dispatch.kernel.name} wrote ${values[bad]} at element ${bad} of ` +
              `${formatShape(t.shape)} ${t.dtype}; every op before it was finite`,
            dispatch.label,
          );
        }
      }
    }
  }

  private place(t: Tensor): { buffer: GPUBuffer; offset: number } {
    const root = rootOf(t);
    const at = this.prepared.plan.places.get(root.id);
    return { buffer: this.buffers.get(root.id)!, offset: at?.offset ?? 0 };
  }

  private find(map: ReadonlyMap<string, Tensor>, name: string, kind: string): Tensor {
    const t = map.get(name);
    if (!t) throw new InvalidArgumentError(`program: no ${kind} ${name}; it has ${[...map.keys()].join(', ')}`);
    return t;
  }

  /** Releases every buffer of this program; the weights stay. */
  dispose(): void {
    for (const buffer of this.owned.splice(0)) this.device.destroyBuffer(buffer);
  }
}

async function compilePipelines(
  device: Device,
  dispatches: readonly Dispatch[],
  options: CompileOptions,
): Promise<GPUComputePipeline[]> {
  const codes = dispatches.map((d) => specialise(d.kernel.shader, d.storage, d.tunables));
  const distinct = new Map(codes.map((code, i) => [code, dispatches[i]]));
  let loaded = 0;
  const total = distinct.size;
  await Promise.all(
    [...distinct].map(async ([code, d]) => {
      const pipeline = await device.pipelines.get(code, d.kernel.shader.bindings, d.kernel.name);
      if (options.signal?.aborted) return;
      await device.warmUp.use(pipeline, d);
      options.onProgress?.({ status: 'compile', loaded: ++loaded, total, progress: loaded / total });
    }),
  );
  return Promise.all(codes.map((code, i) => device.pipelines.get(code, dispatches[i].kernel.shader.bindings, '')));
}

/** Buffers by tensor id: inputs and outputs of their own, weights as loaded, everything else in the arenas. */
function allocate(
  device: Device,
  graph: Graph,
  { plan, constants }: Prepared,
  weights: Weights | undefined,
  owned: GPUBuffer[],
): Map<number, GPUBuffer> {
  const buffers = new Map<number, GPUBuffer>();
  const own = (size: number, label: string) => {
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC;
    const buffer = device.createBuffer(size, usage, label);
    owned.push(buffer);
    return buffer;
  };
  for (const [name, t] of graph.inputs) buffers.set(t.id, own(byteSize(t), `input ${name}`));
  for (const [name, t] of graph.outputs) {
    const root = rootOf(t);
    if (!buffers.has(root.id)) buffers.set(root.id, own(byteSize(root), `output ${name}`));
  }
  for (const t of constants) if (weights) buffers.set(t.id, weights.buffer(t));
  const arenas = plan.arenas.map((size, i) => own(size, `arena ${i}`));
  for (const [id, { arena }] of plan.places) buffers.set(id, arenas[arena]);
  return buffers;
}

/** The uniform arena, written once, and one static bind group per dispatch. */
function bind(
  device: Device,
  { dispatches, plan: { places } }: Prepared,
  pipelines: readonly GPUComputePipeline[],
  buffers: ReadonlyMap<number, GPUBuffer>,
  owned: GPUBuffer[],
): Step[] {
  const { gpu, caps } = device;
  const align = caps.limits.minUniformBufferOffsetAlignment;
  const blocks: ArrayBuffer[] = [];
  const slots = new Map<string, number>();
  const slotOf = dispatches.map((d) => {
    if (d.kernel.shader.paramsSize === 0) return -1;
    const block = packParams(d.kernel.shader, d.params);
    const id = new Uint32Array(block).join();
    if (!slots.has(id)) slots.set(id, blocks.push(block) - 1);
    return slots.get(id)!;
  });
  const strides = blocks.map((b) => Math.ceil(b.byteLength / align) * align);
  const starts = strides.map((_, i) => strides.slice(0, i).reduce((a, b) => a + b, 0));
  const bytes = new Uint8Array(strides.reduce((a, b) => a + b, 0));
  blocks.forEach((block, i) => bytes.set(new Uint8Array(block), starts[i]));
  const uniforms = device.createBuffer(bytes.length, GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST, 'params');
  const dummy = device.createBuffer(16, GPUBufferUsage.STORAGE, 'dummy');
  owned.push(uniforms, dummy);
  gpu.queue.writeBuffer(uniforms, 0, bytes);
  return dispatches.map((dispatch, i) => {
    const { shader } = dispatch.kernel;
    const entries = shader.bindings.map((b): GPUBindGroupEntry => {
      if (b.access === 'uniform') {
        const slot = slotOf[i];
        return {
          binding: b.binding,
          resource: { buffer: uniforms, offset: starts[slot], size: blocks[slot].byteLength },
        };
      }
      const t = dispatch.bindings[b.name];
      if (!t) return { binding: b.binding, resource: { buffer: dummy } };
      const root = rootOf(t);
      const buffer = buffers.get(root.id)!;
      return {
        binding: b.binding,
        resource: { buffer, offset: places.get(root.id)?.offset ?? 0, size: byteSize(root) },
      };
    });
    const bindGroup = gpu.createBindGroup({
      label: dispatch.label,
      layout: device.pipelines.layout(shader.bindings),
      entries,
    });
    const touched = Object.values(dispatch.bindings).reduce((sum, t) => sum + (t ? byteSize(rootOf(t)) : 0), 0);
    return {
      pipeline: pipelines[i],
      bindGroup,
      grid: dispatch.grid,
      cost: Math.max(dispatch.flops, touched),
      dispatch,
    };
  });
}

/** Tensors that a dispatch binds for writing. */
function writtenBy({ kernel, bindings }: Dispatch): Tensor[] {
  return kernel.shader.bindings.flatMap(({ name, access }) => (access === 'write' ? (bindings[name] ?? []) : []));
}

/** Host values of a tensor's bytes, row padding taken off. */
function unpad(bytes: ArrayBuffer, t: Tensor): Float32Array {
  const stored = t.dtype === 'f16' ? fromHalf(new Uint16Array(bytes)) : new Float32Array(bytes);
  const width = t.shape.at(-1) ?? 1;
  if (t.layout === 'dense') return stored.slice(0, numel(t.shape));
  const stride = 4 * Math.ceil(width / 4);
  const out = new Float32Array(numel(t.shape));
  for (let row = 0; row * width < out.length; row++) {
    out.set(stored.subarray(row * stride, row * stride + width), row * width);
  }
  return out;
}
