/** What a GPU vector space stands on: buffers that come back, and kernels that are submitted as they are called. */
import { defaultTunables, packParams, specialise, type Device, type Kernel, type Params } from '../../engine/index.ts';
import {
  VEC_LIMITS,
  vecMatchStdKernel,
  vecNormRatioKernel,
  vecProgramKernel,
  vecProjectKernel,
  vecQuantileKernel,
  vecStatsKernel,
} from '../../kernels/vec.ts';
import type { Program } from './vecProgram.ts';

const KERNELS = [
  vecProgramKernel,
  vecStatsKernel,
  vecMatchStdKernel,
  vecNormRatioKernel,
  vecQuantileKernel,
  vecProjectKernel,
];

/** Bind groups kept for buffers that meet again, as they do in every step of a loop. */
const MAX_BIND_GROUPS = 512;

/** Storage buffers by size, each used again once given back. */
export class BufferPool {
  private readonly free = new Map<number, GPUBuffer[]>();
  private readonly all = new Set<GPUBuffer>();

  constructor(private readonly device: Device) {}

  /** A buffer of exactly `size` bytes, a multiple of 16; its contents are whatever was there. */
  take(size: number): GPUBuffer {
    const { STORAGE, COPY_SRC, COPY_DST } = GPUBufferUsage;
    return this.free.get(size)?.pop() ?? this.create(size, STORAGE | COPY_SRC | COPY_DST, 'vec');
  }

  /** For another use: the queue runs what was submitted with it before what is submitted next. */
  give(buffer: GPUBuffer): void {
    const list = this.free.get(buffer.size);
    if (list) list.push(buffer);
    else this.free.set(buffer.size, [buffer]);
  }

  owns(buffer: GPUBuffer): boolean {
    return this.all.has(buffer);
  }

  /** A buffer that is never given out again, released with the others. */
  create(size: number, usage: GPUBufferUsageFlags, label: string): GPUBuffer {
    const buffer = this.device.createBuffer(size, usage, label);
    this.all.add(buffer);
    return buffer;
  }

  get held(): { bytes: number; buffers: number } {
    let bytes = 0;
    for (const buffer of this.all) bytes += buffer.size;
    return { bytes, buffers: this.all.size };
  }

  dispose(): void {
    for (const buffer of this.all) this.device.destroyBuffer(buffer);
    this.all.clear();
    this.free.clear();
  }
}

interface Compiled {
  pipeline: GPUComputePipeline;
  uniform: GPUBuffer;
}

/** The vector kernels, compiled; one submit per call. */
export class VecQueue {
  /** Dispatches so far. */
  dispatches = 0;
  private readonly bindGroups = new Map<string, GPUBindGroup>();
  private readonly ids = new WeakMap<GPUBuffer, number>();
  private nextId = 0;

  private constructor(
    private readonly device: Device,
    private readonly compiled: ReadonlyMap<Kernel, Compiled>,
    private readonly dummy: GPUBuffer,
    private readonly tape: GPUBuffer,
  ) {}

  static async open(device: Device, memory: BufferPool): Promise<VecQueue> {
    const pipelines = await Promise.all(
      KERNELS.map((k) =>
        device.pipelines.get(specialise(k.shader, 'f32', defaultTunables(k)), k.shader.bindings, k.name),
      ),
    );
    return device.scoped('vec', () => {
      const usage = GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST;
      const compiled = KERNELS.map((kernel, i): [Kernel, Compiled] => {
        const uniform = memory.create(kernel.shader.paramsSize, usage, `${kernel.name} params`);
        return [kernel, { pipeline: pipelines[i], uniform }];
      });
      const dummy = memory.create(16, GPUBufferUsage.STORAGE, 'vec dummy');
      return new VecQueue(device, new Map(compiled), dummy, memory.create(16 * VEC_LIMITS.tape, usage, 'vec tape'));
    });
  }

  /** Runs a program; its stored results go to `out`. */
  run(program: Program, out: GPUBuffer): void {
    const { params, tape } = program.call;
    this.device.gpu.queue.writeBuffer(this.tape, 0, tape);
    const inputs = program.buffers.map((buffer, i) => [`t${i}`, { buffer }] as const);
    const bindings = { ...Object.fromEntries(inputs), out: { buffer: out }, tape: { buffer: this.tape } };
    this.dispatch(vecProgramKernel, params, bindings);
  }

  /**
   * Runs a kernel on buffers by binding name. The device's queue keeps writes and submits in order, so the parameters
   * of a kernel may live in one place however many of its dispatches are in flight.
   */
  dispatch(
    kernel: Kernel,
    params: Params,
    bindings: Readonly<Record<string, { buffer: GPUBuffer } | undefined>>,
  ): void {
    const { gpu } = this.device;
    this.device.check();
    const { pipeline, uniform } = this.compiled.get(kernel)!;
    gpu.queue.writeBuffer(uniform, 0, packParams(kernel.shader, params));
    const tunables = defaultTunables(kernel) as Record<string, number>;
    const encoder = gpu.createCommandEncoder({ label: kernel.name });
    const pass = encoder.beginComputePass({ label: kernel.name });
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, this.bindGroup(kernel, uniform, bindings));
    pass.dispatchWorkgroups(...kernel.grid(params as Record<string, number>, tunables));
    pass.end();
    gpu.queue.submit([encoder.finish()]);
    this.dispatches++;
  }

  private bindGroup(
    kernel: Kernel,
    uniform: GPUBuffer,
    bindings: Readonly<Record<string, { buffer: GPUBuffer } | undefined>>,
  ): GPUBindGroup {
    const { bindings: declared } = kernel.shader;
    const buffers = declared.map((b) => bindings[b.name]?.buffer ?? (b.access === 'uniform' ? uniform : this.dummy));
    const key = `${kernel.name} ${buffers.map((b) => this.idOf(b)).join(' ')}`;
    let group = this.bindGroups.get(key);
    if (!group) {
      if (this.bindGroups.size >= MAX_BIND_GROUPS) this.bindGroups.clear();
      group = this.device.gpu.createBindGroup({
        label: kernel.name,
        layout: this.device.pipelines.layout(declared),
        entries: declared.map((b, i) => ({ binding: b.binding, resource: { buffer: buffers[i] } })),
      });
      this.bindGroups.set(key, group);
    }
    return group;
  }

  private idOf(buffer: GPUBuffer): number {
    let id = this.ids.get(buffer);
    if (id === undefined) this.ids.set(buffer, (id = this.nextId++));
    return id;
  }
}
