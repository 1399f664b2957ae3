/**
 * Weights on the GPU: read tensor by tensor from wherever they are kept, repacked once for the kernels that use them.
 */
import type { Device } from './device.ts';
import { ShapeError, throwIfAborted, WeightError } from './errors.ts';
import {
  byteSize,
  formatShape,
  Graph,
  numel,
  packedFrom,
  type Constant,
  type ConstantPart,
  type Tensor,
} from './graph.ts';
import { encodeF16 } from './half.ts';
import { boundConstants, type PrepareOptions } from './prepare.ts';

/** Where weights come from; `Checkpoint` of `loading` is one. */
export interface WeightSource {
  readonly name: string;
  /** Keys of all weights. */
  keys(): Iterable<string>;
  /** What is known of a weight without reading it; undefined or an error where there is none. */
  info(key: string): { dtype: string; shape: readonly number[] } | undefined;
  /**
   * A weight, or its rows [start, end) along the first dimension, row-major; into `out` where it can. @throws
   * AbortedError
   */
  read(
    key: string,
    options?: { rows?: readonly [number, number]; signal?: AbortSignal; out?: Float32Array },
  ): Promise<Float32Array>;
}

/** How far the loading of weights has come. */
export interface LoadProgress {
  status: 'weights';
  file: string;
  /** Bytes as stored on the GPU. */
  loaded: number;
  /** Bytes of all weights to load. */
  total: number;
  /** loaded / total, 0 … 1. */
  progress: number;
}

/** A change made to weights on their way from the file to the GPU, such as a LoRA. */
export interface WeightChange {
  /** The weights that it is about. */
  readonly keys: ReadonlySet<string>;
  /** Changes values in place; `rows` where only those of the first dimension were read. */
  apply(key: string, data: Float32Array, rows: readonly [number, number] | undefined): Promise<void>;
}

/** A weight that is here: what it was recorded as, without its graph. */
type Kept = Pick<Tensor, 'shape' | 'dtype' | 'layout' | 'label'> & { constant: Constant; buffer: GPUBuffer };

/** The packed weights of one model on one device; graphs of several shapes share them. */
export class Weights {
  private readonly buffers = new Map<string, Kept>();
  private changed: WeightChange | undefined;
  /** Weights that are not on the GPU as {@link changed} wants them. */
  private readonly stale = new Set<string>();

  constructor(
    private readonly device: Device,
    readonly source: WeightSource,
  ) {}

  /** The buffer of a constant that {@link load} has brought. @throws WeightError for one that it has not. */
  buffer(t: Tensor): GPUBuffer {
    const kept = this.buffers.get(idOf(t));
    if (!kept) throw new WeightError(`weights: ${t.label} is not loaded; call load(graph) first`, [t.label]);
    return kept.buffer;
  }

  /**
   * Brings weights that are not here yet, one tensor at a time: those given, or those that the dispatches of a graph
   * bind under these rewrites and choices.
   * @throws WeightError for a missing, misshapen or non-finite weight, or one that is stored in halves and too large
   * for them; ShapeError for a packing that breaks its promise; OutOfMemoryError, DeviceLostError, AbortedError, after
   * which {@link dispose} releases what had come.
   */
  async load(
    of: Graph | Iterable<Tensor>,
    options: PrepareOptions & { signal?: AbortSignal; onProgress?: (p: LoadProgress) => void } = {},
  ): Promise<void> {
    const wanted = of instanceof Graph ? boundConstants(of, this.device.caps, options) : of;
    const missing = together([...wanted].filter((t) => !this.buffers.has(idOf(t))));
    const total = missing.reduce((sum, t) => sum + byteSize(t), 0);
    let loaded = 0;
    let inFlight = 0;
    const most = this.device.caps.software ? 2 * BATCH : BATCH;
    let drained: Promise<void> = Promise.resolve();
    const scratch = new Scratch();
    let read: { constant: Constant; data: Float32Array } | undefined;
    for (const t of missing) {
      throwIfAborted(options.signal, 'weights');
      const bytes = byteSize(t);
      const { shape, dtype, layout, label, constant } = t;
      let kept: Kept | undefined;
      try {
        for (const part of partsOf(constant!)) {
          // What several packings take parts of, one behind the other, is read once.
          const known = read && sameElements(read.constant, part.constant) ? read.data : undefined;
          const data = known ?? (await this.read(part.constant, scratch, options.signal));
          read = { constant: part.constant, data };
          await this.device.scoped(`weights: ${label}`, () => {
            const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC;
            const buffer = kept?.buffer ?? this.device.createBuffer(bytes, usage, label);
            kept = { shape, dtype, layout, label, constant: constant!, buffer };
            inFlight += this.pack(kept, part, data, scratch);
          });
          // writeBuffer keeps a copy until the GPU has taken it: let it drain, so that the host never holds the whole
          // file. Only what came before the last batch is waited for; to wait for that batch too would leave this
          // thread or the GPU idle.
          if (inFlight > most) {
            await drained;
            drained = this.device.idle();
            drained.catch(() => undefined); // thrown where it is awaited, or by the next call that looks at the device
            inFlight = 0;
          }
        }
      } catch (error) {
        if (kept) this.device.destroyBuffer(kept.buffer);
        throw error;
      }
      this.buffers.set(idOf(t), kept!);
      loaded += bytes;
      options.onProgress?.({ status: 'weights', file: this.source.name, loaded, total, progress: loaded / total });
    }
  }

  /**
   * From now on weights pass through `change`, none where undefined; {@link refresh} brings it to those that are here.
   */
  change(change: WeightChange | undefined): void {
    for (const keys of [this.changed?.keys, change?.keys]) keys?.forEach((key) => this.stale.add(key));
    this.changed = change;
  }

  /**
   * Reads again what has changed, into the buffers it has: programs need not be made anew. What an error or an abort
   * leaves undone, the next call does.
   * @throws as {@link load}
   */
  async refresh({ signal }: { signal?: AbortSignal } = {}): Promise<void> {
    const scratch = new Scratch();
    for (const key of this.stale) {
      for (const kept of this.buffers.values()) {
        for (const part of partsOf(kept.constant)) {
          if (part.constant.key !== key) continue;
          throwIfAborted(signal, 'weights');
          this.pack(kept, part, await this.read(part.constant, scratch, signal), scratch);
          await this.device.idle();
        }
      }
      this.stale.delete(key);
    }
  }

  /** The checkpoint's values, changed and checked, in memory that the next call reuses. */
  private async read(constant: Constant, scratch: Scratch, signal?: AbortSignal): Promise<Float32Array> {
    const { key, shape, packing } = constant;
    const { name } = this.source;
    const info = this.source.info(key);
    if (!info) throw new WeightError(`${name}: expected weight ${key} ${formatShape(shape)}, got none`, [key]);
    if (numel(info.shape) !== numel(shape)) {
      throw new WeightError(
        `${name}: ${key} has shape ${formatShape(info.shape)}, the model expects ${formatShape(shape)}`,
        [key],
      );
    }
    const { rows } = packing;
    const out = scratch.data(numel(packedFrom(constant)));
    const data = await this.source.read(key, { rows, signal, out });
    if (this.changed?.keys.has(key)) await this.changed.apply(key, data, rows);
    for (let i = 0; i < data.length; i++) {
      if (data[i] - data[i] === 0) continue; // 0 for every finite number, NaN for all others
      throw new WeightError(`${name}: ${key} holds ${data[i]} at element ${i}; the file is damaged`, [key]);
    }
    return data;
  }

  /** Packs a few blocks at a time, so that no second copy of a large tensor exists; returns the bytes uploaded. */
  private pack(kept: Kept, { constant, at, stride }: ConstantPart, data: Float32Array, scratch: Scratch): number {
    const { packing } = constant;
    const { queue } = this.device.gpu;
    const from = packedFrom(constant);
    const blocks = packing.blocks(from);
    const size = blockSize(constant);
    if (!Number.isInteger(size)) {
      throw new ShapeError(`packing ${packing.id}: ${blocks} blocks do not divide ${formatShape(kept.shape)}`);
    }
    const step = Math.max(1, Math.floor(SLAB / size));
    const bytes = kept.dtype === 'f16' ? 2 : 4;
    for (let first = 0; first < blocks; first += step) {
      const last = Math.min(blocks, first + step);
      const slab = scratch.slab((last - first) * size);
      packing.pack(data, from, first, last, slab);
      const { buffer, byteOffset, byteLength } = kept.dtype === 'f16' ? this.halves(constant, slab, scratch) : slab;
      const start = (block: number) => (at + block * stride) * bytes;
      if (stride === size) {
        queue.writeBuffer(kept.buffer, start(first), buffer, byteOffset, byteLength);
        continue;
      }
      const each = size * bytes;
      for (let b = first; b < last; b++) {
        queue.writeBuffer(kept.buffer, start(b), buffer, byteOffset + (b - first) * each, each);
      }
    }
    return blocks * size * bytes;
  }

  /** Values as halves. @throws WeightError for one that no half can hold: it would be infinite */
  private halves({ key }: Constant, values: Float32Array, scratch: Scratch): Uint16Array<ArrayBuffer> {
    const { bits, overflowed } = scratch.halves(values);
    if (overflowed === 0) return bits;
    const { name } = this.source;
    throw new WeightError(
      `${name}: expected ${key} in halves, which end at 65504, got ${overflowed} values beyond; use dtype: 'f32'`,
      [key],
    );
  }

  /** Bytes of all weights here. */
  get bytes(): number {
    let sum = 0;
    for (const { buffer } of this.buffers.values()) sum += buffer.size;
    return sum;
  }

  /** Releases every buffer; programs that use them may not run afterwards. */
  dispose(): void {
    for (const { buffer } of this.buffers.values()) this.device.destroyBuffer(buffer);
    this.buffers.clear();
  }
}

/** Whether two constants want the same elements of the checkpoint. */
function sameElements(a: Constant, b: Constant): boolean {
  return a.key === b.key && String(a.packing.rows) === String(b.packing.rows);
}

/** The weights that a tensor holds; most hold one. */
function partsOf(constant: Constant): readonly ConstantPart[] {
  return constant.parts ?? [{ constant, at: 0, stride: blockSize(constant) }];
}

/** The constants in the order given, but those made of the same elements one right after the other. */
function together(constants: readonly Tensor[]): Tensor[] {
  const groups = new Map<string, Tensor[]>();
  for (const t of constants) {
    const { key } = partsOf(t.constant!)[0].constant;
    groups.set(key, [...(groups.get(key) ?? []), t]);
  }
  return [...groups.values()].flat();
}

/** Elements of one block of a packed weight. */
function blockSize(constant: Constant): number {
  const from = packedFrom(constant);
  return numel(constant.packing.shape(constant.shape)) / constant.packing.blocks(from);
}

/** Bytes of a batch of uploads; twice as many where the driver translates shaders between them, and takes long. */
const BATCH = 2 ** 25;

/** Elements that are packed at a time. */
const SLAB = 2 ** 21;

/** Host memory of a load, reused for every tensor: garbage would pile up faster than it is collected. */
class Scratch {
  private buffers: Record<string, ArrayBuffer> = {};

  data(length: number): Float32Array<ArrayBuffer> {
    return new Float32Array(this.memory('data', 4 * length), 0, length);
  }

  /** Zeros. */
  slab(length: number): Float32Array<ArrayBuffer> {
    return new Float32Array(this.memory('slab', 4 * length), 0, length).fill(0);
  }

  /** `values` as halves; an odd number of them gets a zero behind, since uploads are whole words. */
  halves(values: Float32Array): { bits: Uint16Array<ArrayBuffer>; overflowed: number } {
    const length = 2 * Math.ceil(values.length / 2);
    const bits = new Uint16Array(this.memory('halves', 2 * length), 0, length);
    const { overflowed } = encodeF16(values, bits.subarray(0, values.length));
    return { bits, overflowed };
  }

  private memory(name: string, bytes: number): ArrayBuffer {
    if (!(this.buffers[name]?.byteLength >= bytes)) this.buffers[name] = new ArrayBuffer(bytes);
    return this.buffers[name];
  }
}

function idOf(t: Pick<Tensor, 'constant' | 'dtype'>): string {
  return `${t.constant!.key}|${t.constant!.packing.id}|${t.dtype}`;
}
