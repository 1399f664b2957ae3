import { InvalidArgumentError, WeightError, throwIfAborted } from '../engine/errors.ts';
import { decode, encodeF16, findNonFinite, type HalfBits } from './convert.ts';
import { DTYPE_BYTES, type Dtype } from './dtype.ts';
import { viewOf, type Located, type Rename } from './rename.ts';
import { readHeader } from './safetensors.ts';
import { readInto, type ByteSource } from './source.ts';

/** What is known of a tensor without reading it. */
export interface TensorInfo {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  /** As stored. */
  readonly bytes: number;
  /** The key in the file, before any renaming. */
  readonly storedKey: string;
  /** The file that holds it. */
  readonly file: string;
}

/** How to open a checkpoint. */
export interface CheckpointOptions {
  /** Names of a view; by default those in the files. */
  rename?: Rename;
  signal?: AbortSignal;
}

/** Which part of a tensor to read, and how. */
export interface ReadOptions {
  /** Part of the first dimension, [start, end). */
  rows?: readonly [number, number];
  signal?: AbortSignal;
  /** Throws WeightError on the first NaN or infinity. */
  checkFinite?: boolean;
  /** Receives the elements; allocated where absent. */
  out?: Float32Array;
  /** Called with the number of stored bytes after each chunk. */
  onBytes?: (bytes: number) => void;
}

/** Tensors are read and decoded in chunks of this many bytes, so that loading needs little beside the result. */
const CHUNK = 4 * 2 ** 20;

/**
 * The tensors of one or several safetensors files under the names that a model asks for. Opening reads headers only;
 * a read brings one tensor, or some rows of one, and needs no more memory than the result and two chunks of 4 MiB.
 */
export class Checkpoint {
  readonly name: string;
  private readonly stored: ReadonlyMap<string, Located>;
  private readonly tensors: ReadonlyMap<string, Located>;
  private readonly sources: readonly ByteSource[];
  /** Chunk buffers that no read is using, shared by all views. */
  private readonly scratch: Uint8Array[];

  private constructor(
    name: string,
    stored: ReadonlyMap<string, Located>,
    sources: readonly ByteSource[],
    rename: Rename | undefined,
    scratch: Uint8Array[],
  ) {
    this.name = name;
    this.stored = stored;
    this.tensors = rename ? viewOf(stored, rename, name) : stored;
    this.sources = sources;
    this.scratch = scratch;
  }

  /**
   * Reads the headers of the files; no key may occur in two of them.
   * @throws FormatError, UnsupportedError, and WeightError when a key occurs twice (after renaming, too)
   */
  static async open(files: ByteSource | readonly ByteSource[], options: CheckpointOptions = {}): Promise<Checkpoint> {
    const sources = 'read' in files ? [files] : files;
    const name = sources.map((s) => s.name).join(', ');
    const stored = new Map<string, Located>();
    for (const source of sources) {
      const { tensors } = await readHeader(source, options.signal);
      for (const [storedKey, entry] of tensors) {
        const other = stored.get(storedKey);
        if (other) {
          throw new WeightError(
            `checkpoint: expected every key in one file, got ${storedKey} in ${other.source.name} and in ` +
              `${source.name}; leave one of the files out`,
            [storedKey],
          );
        }
        stored.set(storedKey, { ...entry, storedKey, source });
      }
    }
    return new Checkpoint(name, stored, sources, options.rename, []);
  }

  /**
   * The same files under other names, without reading them again (one component of a single-file checkpoint).
   * @throws WeightError when two tensors would get one name
   */
  view(rename: Rename): Checkpoint {
    return new Checkpoint(this.name, this.stored, this.sources, rename, this.scratch);
  }

  /** Names, in file order: reading in this order is fastest, and the only good one on a server without ranges. */
  keys(): string[] {
    return [...this.tensors.keys()];
  }

  /** Whether this view has a tensor of that name. */
  has(key: string): boolean {
    return this.tensors.has(key);
  }

  /** Keys as the files have them, in file order. */
  storedKeys(): string[] {
    return [...this.stored.keys()];
  }

  /** What is known of a tensor without reading it. @throws WeightError when there is no such key */
  info(key: string): TensorInfo {
    const { dtype, shape, start, end, storedKey, source } = this.locate(key);
    return { dtype, shape, bytes: end - start, storedKey, file: source.name };
  }

  /** Bytes of all tensors of this view, each once. */
  get totalBytes(): number {
    let bytes = 0;
    for (const tensor of new Set(this.tensors.values())) bytes += tensor.end - tensor.start;
    return bytes;
  }

  /**
   * A tensor (row-major), or some of its rows, as f32.
   * @throws WeightError on an unknown key, or on a NaN or infinity where asked to look; FormatError on a short read;
   * InvalidArgumentError on rows that it does not have; AbortedError
   */
  async read(key: string, options: ReadOptions = {}): Promise<Float32Array> {
    const part = this.part(key, options.rows);
    const out = options.out ?? new Float32Array(part.elements);
    if (out.length !== part.elements) {
      throw new InvalidArgumentError(
        `read ${key}: expected room for ${part.elements} elements, got ${out.length}; pass an array of that length or none`,
      );
    }
    if (part.tensor.transposed) decode(part.tensor.dtype, await this.readTransposed(part, options), out);
    else await this.readElements(part, 0, out, options);
    if (part.tensor.transposed && options.checkFinite) checkFinite(key, part.tensor, out, 0);
    return out;
  }

  /**
   * A tensor, or some of its rows, as half-precision bits: the stored ones of F16, else rounded from f32.
   * @throws as {@link read}
   */
  async readF16(key: string, options: Omit<ReadOptions, 'out'> = {}): Promise<HalfBits> {
    const part = this.part(key, options.rows);
    const bits = new Uint16Array(part.elements);
    if (part.tensor.transposed) return { bits, overflowed: encodeF16(await this.read(key, options), bits).overflowed };
    if (part.tensor.dtype === 'F16' && !options.checkFinite) {
      await this.readBytes(part, 0, new Uint8Array(bits.buffer), options);
      return { bits, overflowed: 0 };
    }
    // Piece by piece, so that the f32 form never exists as a whole.
    const buffer = new Float32Array(Math.min(CHUNK / 4, part.elements));
    let overflowed = 0;
    for (let at = 0; at < part.elements; at += buffer.length) {
      const values = buffer.subarray(0, Math.min(buffer.length, part.elements - at));
      await this.readElements(part, at, values, options);
      overflowed += encodeF16(values, bits.subarray(at, at + values.length)).overflowed;
    }
    return { bits, overflowed };
  }

  /**
   * The stored little-endian bytes of a tensor or of some of its rows; the type is that of {@link info}.
   * @throws WeightError, FormatError, InvalidArgumentError, AbortedError as {@link read}
   */
  async readRaw(key: string, options: Pick<ReadOptions, 'rows' | 'signal' | 'onBytes'> = {}): Promise<Uint8Array> {
    const part = this.part(key, options.rows);
    if (part.tensor.transposed) return this.readTransposed(part, options);
    const bytes = new Uint8Array(part.elements * part.size);
    await this.readBytes(part, 0, bytes, options);
    return bytes;
  }

  /** Lets go of all files; views share them. */
  async close(): Promise<void> {
    this.scratch.length = 0;
    for (const source of this.sources) await source.close?.();
  }

  /** Elements [first, first + out.length) of a part, as f32. */
  private async readElements(part: Part, first: number, out: Float32Array, options: ReadOptions): Promise<void> {
    const { tensor, size, key } = part;
    // f32 needs no decoding: its bytes are read straight into the result.
    const direct = tensor.dtype === 'F32';
    const step = CHUNK / size;
    const chunk = direct ? undefined : this.borrow(Math.min(CHUNK, out.length * size));
    try {
      for (let at = 0; at < out.length; at += step) {
        const values = out.subarray(at, at + step);
        const bytes =
          chunk?.subarray(0, values.length * size) ??
          new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
        await this.readBytes(part, (first + at) * size, bytes, options);
        if (chunk) decode(tensor.dtype, bytes, values);
        if (options.checkFinite) checkFinite(key, tensor, values, (part.start - tensor.start) / size + first + at);
      }
    } finally {
      if (chunk?.length === CHUNK && this.scratch.length < 2) this.scratch.push(chunk);
    }
  }

  /** Stored bytes of a part from byte `first` of it on, chunk by chunk so that an abort is soon noticed. */
  private async readBytes(part: Part, first: number, into: Uint8Array, options: ReadOptions): Promise<void> {
    for (let at = 0; at < into.length; at += CHUNK) {
      throwIfAborted(options.signal, `read ${part.key}`);
      const bytes = into.subarray(at, at + CHUNK);
      await readInto(part.tensor.source, part.start + first + at, bytes, options.signal);
      options.onBytes?.(bytes.length);
    }
  }

  /** The bytes of some rows of a matrix whose columns the file has as rows; the whole matrix passes through memory. */
  private async readTransposed(
    { tensor, size, start, elements, key }: Part,
    options: ReadOptions,
  ): Promise<Uint8Array> {
    const [rows, columns] = tensor.shape;
    const all = new Uint8Array(rows * columns * size);
    await this.readBytes({ key, tensor, size, start: tensor.start, elements: rows * columns }, 0, all, options);
    const first = (start - tensor.start) / size;
    const out = new Uint8Array(elements * size);
    for (let i = 0; i < elements; i++) {
      const [row, column] = [Math.floor((first + i) / columns), (first + i) % columns];
      const at = (column * rows + row) * size;
      for (let byte = 0; byte < size; byte++) out[i * size + byte] = all[at + byte];
    }
    return out;
  }

  private borrow(bytes: number): Uint8Array {
    return (bytes === CHUNK ? this.scratch.pop() : undefined) ?? new Uint8Array(bytes);
  }

  private locate(key: string): Located {
    const tensor = this.tensors.get(key);
    if (tensor) return tensor;
    throw new WeightError(
      `checkpoint ${this.name}: expected a weight ${key}, got none among ${this.tensors.size}; check that the ` +
        'checkpoint is of this architecture',
      [key],
    );
  }

  private part(key: string, rows: readonly [number, number] | undefined): Part {
    const tensor = this.locate(key);
    const { dtype, shape, start, end } = tensor;
    const size = DTYPE_BYTES[dtype];
    if (!rows) return { key, tensor, size, start, elements: (end - start) / size };
    const [from, to] = rows;
    const whole = Number.isInteger(from) && Number.isInteger(to) && shape.length > 0;
    if (!whole || from < 0 || to < from || to > shape[0]) {
      throw new InvalidArgumentError(
        `read ${key}: expected rows 0 <= start <= end <= ${shape[0] ?? 'none of a scalar'}, got ${from}..${to} ` +
          `(shape [${shape.join(',')}]); ask for rows that it has`,
      );
    }
    const perRow = shape[0] === 0 ? 0 : (end - start) / size / shape[0];
    return { key, tensor, size, start: start + from * perRow * size, elements: (to - from) * perRow };
  }
}

/** A run of elements of one tensor; `start` is its byte offset in the file. */
interface Part {
  readonly key: string;
  readonly tensor: Located;
  /** Bytes per element. */
  readonly size: number;
  readonly start: number;
  readonly elements: number;
}

function checkFinite(key: string, tensor: Located, values: Float32Array, offset: number): void {
  const at = findNonFinite(values);
  if (at < 0) return;
  const index: number[] = [];
  let rest = offset + at;
  for (const n of [...tensor.shape].reverse()) {
    index.unshift(rest % n);
    rest = Math.floor(rest / n);
  }
  throw new WeightError(
    `read ${key}: expected finite weights, got ${values[at]} at [${index.join(',')}] of [${tensor.shape.join(',')}] ` +
      `(${tensor.dtype} in ${tensor.source.name}); the checkpoint is damaged or its training diverged`,
    [key],
  );
}
