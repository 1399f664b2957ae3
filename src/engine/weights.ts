/** Weights on the GPU: read tensor by tensor from wherever they are kept, repacked once for the kernels that use them. */
import type { Device } from './device.ts';
import { ShapeError, throwIfAborted, WeightError } from './errors.ts';
import { byteSize, formatShape, numel, storedElements, type Graph, type Tensor } from './graph.ts';
import { toHalf } from './half.ts';

/** Where weights come from; `Checkpoint` of `loading` is one. */
export interface WeightSource {
  readonly name: string;
  keys(): Iterable<string>;
  info(key: string): { dtype: string; shape: readonly number[] } | undefined;
  read(key: string, options?: { rows?: readonly [number, number]; signal?: AbortSignal }): Promise<Float32Array>;
}

export interface LoadProgress {
  status: 'weights';
  file: string;
  /** Bytes as stored on the GPU. */
  loaded: number;
  total: number;
  progress: number;
}

/** The packed weights of one model on one device; graphs of several shapes share them. */
export class Weights {
  private readonly buffers = new Map<string, GPUBuffer>();

  constructor(
    private readonly device: Device,
    readonly source: WeightSource,
  ) {}

  /** The buffer of a constant that {@link load} has brought. */
  buffer(t: Tensor): GPUBuffer {
    const buffer = this.buffers.get(idOf(t));
    if (!buffer) throw new WeightError(`weights: ${t.label} is not loaded; call load(graph) first`, [t.label]);
    return buffer;
  }

  /**
   * Brings every constant of the graph that is not here yet, one tensor at a time.
   * @throws WeightError for a missing, misshapen or non-finite weight; ShapeError for a packing that breaks its promise.
   */
  async load(
    graph: Graph,
    options: { signal?: AbortSignal; onProgress?: (p: LoadProgress) => void } = {},
  ): Promise<void> {
    const missing = [...graph.constants.values()].filter((t) => !this.buffers.has(idOf(t)));
    const total = missing.reduce((sum, t) => sum + byteSize(t), 0);
    let loaded = 0;
    let inFlight = 0;
    for (const t of missing) {
      throwIfAborted(options.signal, 'weights');
      const data = await this.read(t, options.signal);
      const bytes = byteSize(t);
      await this.device.scoped(`weights: ${t.label}`, () => {
        const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC;
        const buffer = this.device.createBuffer(bytes, usage, t.label);
        this.buffers.set(idOf(t), buffer);
        this.device.gpu.queue.writeBuffer(buffer, 0, data.buffer, data.byteOffset, data.byteLength);
      });
      loaded += bytes;
      inFlight += bytes;
      // writeBuffer keeps a copy until the GPU has taken it: let it drain, so that the host never holds the whole file.
      if (inFlight > 32 * 2 ** 20) {
        await this.device.idle();
        inFlight = 0;
      }
      options.onProgress?.({ status: 'weights', file: this.source.name, loaded, total, progress: loaded / total });
    }
  }

  private async read(t: Tensor, signal?: AbortSignal): Promise<ArrayBufferView<ArrayBuffer>> {
    const { key, shape, packing } = t.constant!;
    const info = this.source.info(key);
    if (!info)
      throw new WeightError(`${this.source.name}: expected weight ${key} ${formatShape(shape)}, got none`, [key]);
    if (numel(info.shape) !== numel(shape)) {
      throw new WeightError(
        `${this.source.name}: ${key} has shape ${formatShape(info.shape)}, the model expects ${formatShape(shape)}`,
        [key],
      );
    }
    const rows = packing.rows;
    const data = await this.source.read(key, { rows, signal });
    for (let i = 0; i < data.length; i++) {
      if (!Number.isFinite(data[i])) {
        throw new WeightError(`${this.source.name}: ${key} holds ${data[i]} at element ${i}; the file is damaged`, [
          key,
        ]);
      }
    }
    const part = rows ? [rows[1] - rows[0], ...shape.slice(1)] : shape;
    const packed = packing.pack(data, part);
    if (packed.length !== numel(t.shape)) {
      throw new ShapeError(`packing ${packing.id}: ${key} gave ${packed.length} elements for ${formatShape(t.shape)}`);
    }
    const stored = storedElements(t);
    if (t.dtype === 'f16') return toHalf(packed, stored);
    if (packed.length === stored) return packed as Float32Array<ArrayBuffer>;
    const padded = new Float32Array(stored);
    padded.set(packed);
    return padded;
  }

  /** Bytes of all weights here. */
  get bytes(): number {
    let sum = 0;
    for (const b of this.buffers.values()) sum += b.size;
    return sum;
  }

  dispose(): void {
    for (const buffer of this.buffers.values()) this.device.destroyBuffer(buffer);
    this.buffers.clear();
  }
}

function idOf(t: Tensor): string {
  return `${t.constant!.key}|${t.constant!.packing.id}|${t.dtype}`;
}
