/** Noise made where it is needed: standard normals by number, on the GPU, without an upload. */
import { defaultTunables, InvalidArgumentError, packParams, specialise, type Device } from '../../engine/index.ts';
import { philoxNormalKernel } from '../../kernels/philoxNormal.ts';
import { PLAIN_DRAW } from '../../sampler/noise/counterNormals.ts';
import { parseSeed } from '../../sampler/noise/seed.ts';
import type { Vec } from '../../sampler/vec.ts';
import type { GpuSpace } from './gpuSpace.ts';
import type { GpuVec } from './gpuVec.ts';

/** Where the noise stands; plain JSON. */
export interface GpuNoiseState {
  /** Decimal, one per item or one for all. */
  seeds: string[];
  /** Draws made. */
  draw: number;
}

/**
 * A source of noise for a sampler on the GPU. Every item has a seed, and its noise depends on that seed and on how many
 * draws came before, on nothing else: not on the batch, the adapter's workgroups or other items. The host's twin is
 * {@link CounterGenerator}; PyTorch's streams are other numbers ({@link TorchGenerator}, {@link PhiloxGenerator}).
 */
export class GpuNoise {
  private draw = 0;
  private scratch?: GPUBuffer;

  private constructor(
    private readonly space: GpuSpace,
    private readonly device: Device,
    private readonly pipeline: GPUComputePipeline,
    private readonly seeds: readonly bigint[],
    private readonly keys: GPUBuffer,
    private readonly uniform: GPUBuffer,
  ) {}

  /**
   * @param seed one per item, or one for the whole batch, which then counts as one item
   * @throws InvalidArgumentError unless the seeds are as {@link TorchGenerator}'s; DeviceLostError, OutOfMemoryError
   */
  static async open(space: GpuSpace, seed: number | bigint | readonly (number | bigint)[]): Promise<GpuNoise> {
    const seeds = [seed].flat().map((s) => parseSeed(s as number | bigint));
    if (seeds.length === 0) throw new InvalidArgumentError('GpuNoise: expected a seed per item, got none; pass one');
    const { device } = space;
    const { shader, name } = philoxNormalKernel;
    const code = specialise(shader, 'f32', defaultTunables(philoxNormalKernel));
    const pipeline = await device.pipelines.get(code, shader.bindings, name);
    return device.scoped(name, () => {
      const { STORAGE, UNIFORM, COPY_DST } = GPUBufferUsage;
      const words = Uint32Array.from(seeds.flatMap((s) => [Number(s & 0xffffffffn), Number(s >> 32n)]));
      const keys = device.createBuffer(Math.max(words.byteLength, 16), STORAGE | COPY_DST, `${name} keys`);
      device.gpu.queue.writeBuffer(keys, 0, words);
      const uniform = device.createBuffer(shader.paramsSize, UNIFORM | COPY_DST, `${name} params`);
      return new GpuNoise(space, device, pipeline, seeds, keys, uniform);
    });
  }

  /**
   * The next draw, a vector of the run with the shape of `like`; hand this to a solver as its NoiseSource.
   * @throws InvalidArgumentError unless there is one seed, or one per item; DeviceLostError
   */
  readonly source = (like: Vec): GpuVec => {
    const items = this.seeds.length;
    if (items !== 1 && items !== like.batch)
      throw new InvalidArgumentError(`GpuNoise: expected ${like.batch} seeds, one per item, or one, got ${items}`);
    this.device.check();
    const out = this.buffer(4 * like.length);
    const params = { batch: items, item: like.length / items, draw: this.draw++, stream: PLAIN_DRAW };
    const { gpu, pipelines } = this.device;
    const { shader, name, grid } = philoxNormalKernel;
    const resources: Record<string, GPUBuffer> = { keys: this.keys, out, p: this.uniform };
    gpu.queue.writeBuffer(this.uniform, 0, packParams(shader, params));
    const encoder = gpu.createCommandEncoder({ label: name });
    const pass = encoder.beginComputePass({ label: name });
    pass.setPipeline(this.pipeline);
    pass.setBindGroup(
      0,
      gpu.createBindGroup({
        label: name,
        layout: pipelines.layout(shader.bindings),
        entries: shader.bindings.map((b) => ({ binding: b.binding, resource: { buffer: resources[b.name] } })),
      }),
    );
    pass.dispatchWorkgroups(...grid(params, defaultTunables(philoxNormalKernel) as Record<string, number>));
    pass.end();
    gpu.queue.submit([encoder.finish()]);
    return this.space.copy(out, like.length, like.batch);
  };

  /** Where the noise stands; set it to go on from there. */
  get state(): GpuNoiseState {
    return { seeds: this.seeds.map(String), draw: this.draw };
  }

  /** @throws InvalidArgumentError if it is the state of other seeds, or no state of this kind */
  set state({ seeds, draw }: GpuNoiseState) {
    const own = this.seeds.map(String);
    if (seeds.join() !== own.join() || !Number.isInteger(draw) || draw < 0 || draw >= 2 ** 32)
      throw new InvalidArgumentError(
        `GpuNoise: expected a state of seeds ${own.join(', ')} with draw in 0 … 2³² − 1, got ${seeds.join(', ')} and ` +
          `${draw}; open it with the same seeds`,
      );
    this.draw = draw;
  }

  /** Releases its buffers; vectors that it made stay. */
  dispose(): void {
    for (const buffer of [this.keys, this.uniform, this.scratch]) if (buffer) this.device.destroyBuffer(buffer);
    this.scratch = undefined;
  }

  /** Where a draw is made before it is copied into the run. */
  private buffer(bytes: number): GPUBuffer {
    const size = 16 * Math.ceil(bytes / 16);
    if (this.scratch && this.scratch.size >= size) return this.scratch;
    if (this.scratch) this.device.destroyBuffer(this.scratch);
    const { STORAGE, COPY_SRC } = GPUBufferUsage;
    return (this.scratch = this.device.createBuffer(size, STORAGE | COPY_SRC, `${philoxNormalKernel.name} out`));
  }
}
