/**
 * First uses of pipelines, ahead of time. A driver that computes on the processor translates a shader when it is first
 * dispatched, one shader after the other, and most of a first run is that. It needs no weights, so it begins as soon as
 * a pipeline is there, and goes on while weights are read, packed and uploaded.
 */
import type { Device } from './device.ts';
import { packParams } from './kernel.ts';
import type { Dispatch } from './lower.ts';
import type { ShaderSource } from './shader.ts';

/**
 * So many may be submitted and not done: the driver always has a next one, and uploads never wait for more than these.
 */
const UNDER_WAY = 2;

/** Bytes between two bindings of one buffer, as much as any adapter's alignment asks for. */
const STEP = 256;

/** Uses pipelines for the first time, on a device whose driver waits for that. */
export class WarmUp {
  private readonly used = new WeakSet<GPUComputePipeline>();
  private readonly turns: Promise<void>[] = [];

  constructor(private readonly device: Device) {}

  /**
   * Dispatches one workgroup of a pipeline, on zeros, with the parameters of a dispatch that it serves; once per
   * pipeline. Resolves when that is done. Never throws: what is wrong with a pipeline or the device shows where they
   * are used.
   */
  use(pipeline: GPUComputePipeline, dispatch: Dispatch): Promise<void> {
    if (!this.device.caps.software || this.used.has(pipeline)) return Promise.resolve();
    this.used.add(pipeline);
    const before = this.turns.at(-UNDER_WAY) ?? Promise.resolve();
    const turn = before.then(() => this.run(pipeline, dispatch)).catch(() => undefined);
    this.turns.push(turn);
    if (this.turns.length > UNDER_WAY) this.turns.shift();
    return turn;
  }

  private async run(pipeline: GPUComputePipeline, { kernel: { shader }, params }: Dispatch): Promise<void> {
    const { device } = this;
    const { queue } = device.gpu;
    device.check();
    const of = (size: number, usage: GPUBufferUsageFlags) => device.createBuffer(size, usage, 'first use');
    const zeros = of(STEP, GPUBufferUsage.STORAGE);
    const written = of(STEP * shader.bindings.length, GPUBufferUsage.STORAGE);
    const uniforms = of(shader.paramsSize, GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST);
    try {
      if (shader.paramsSize > 0) queue.writeBuffer(uniforms, 0, packParams(shader, params));
      this.submit(pipeline, shader, { zeros, written, uniforms });
      await queue.onSubmittedWorkDone();
    } finally {
      for (const buffer of [zeros, written, uniforms]) device.destroyBuffer(buffer);
    }
  }

  private submit(
    pipeline: GPUComputePipeline,
    { name, bindings }: ShaderSource,
    { zeros, written, uniforms }: Record<'zeros' | 'written' | 'uniforms', GPUBuffer>,
  ): void {
    const { gpu, pipelines } = this.device;
    const entries = bindings.map(({ access, binding }, i) => ({
      binding,
      resource: {
        uniform: { buffer: uniforms },
        read: { buffer: zeros },
        write: { buffer: written, offset: i * STEP, size: STEP },
      }[access],
    }));
    gpu.pushErrorScope('validation');
    try {
      const bindGroup = gpu.createBindGroup({ label: 'first use', layout: pipelines.layout(bindings), entries });
      const encoder = gpu.createCommandEncoder({ label: 'first use' });
      const pass = encoder.beginComputePass({ label: `first use of ${name}` });
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, bindGroup);
      pass.dispatchWorkgroups(1);
      pass.end();
      gpu.queue.submit([encoder.finish()]);
    } finally {
      void gpu.popErrorScope().catch(() => undefined);
    }
  }
}
