import { FormatError, InvalidArgumentError, NotFoundError, throwIfAborted } from '../engine/errors.ts';

/** Bytes that can be read by ranges: a file, a blob, a URL, memory. Offsets and sizes are in bytes. */
export interface ByteSource {
  /** What error messages call it: a path, a URL, a file name. */
  readonly name: string;
  /** Length of the whole in bytes. */
  size(signal?: AbortSignal): Promise<number>;
  /**
   * Exactly the bytes of [start, end); may be a view of shared memory, so not to be written to.
   * @throws FormatError when the source ends before `end`; InvalidArgumentError unless 0 ≤ start ≤ end; AbortedError
   */
  read(start: number, end: number, signal?: AbortSignal): Promise<Uint8Array>;
  /** As {@link read}, into the caller's memory: what large tensors use. @throws as read does */
  readInto?(start: number, into: Uint8Array, signal?: AbortSignal): Promise<void>;
  /** Lets go of what the source holds (a file handle, a connection); reading again afterwards is allowed. */
  close?(): Promise<void>;
}

/** Fills `into` with the bytes from `start` on, by the source's own readInto where it has one. */
export async function readInto(
  source: ByteSource,
  start: number,
  into: Uint8Array,
  signal?: AbortSignal,
): Promise<void> {
  if (source.readInto) return source.readInto(start, into, signal);
  const end = start + into.length;
  const bytes = await source.read(start, end, signal);
  if (bytes.length !== into.length) throw shortRead(source.name, start, end, start + bytes.length);
  into.set(bytes);
}

/** The error of every source that ends too early. */
export function shortRead(name: string, start: number, end: number, size: number): FormatError {
  return new FormatError(
    `read ${name}: expected bytes ${start}..${end}, got only ${Math.max(0, size - start)} of ${end - start} ` +
      `(the file ends at ${size}); the file is truncated: download or copy it again`,
  );
}

/** @throws InvalidArgumentError on a range that no file has, FormatError on one that ends after `size` */
export function checkRange(name: string, start: number, end: number, size: number): void {
  if (!Number.isSafeInteger(start) || !Number.isSafeInteger(end) || start < 0 || end < start) {
    throw new InvalidArgumentError(
      `read ${name}: expected a byte range 0 <= start <= end, got ${start}..${end}; pass whole numbers in that order`,
    );
  }
  if (end > size) throw shortRead(name, start, end, size);
}

/** Bytes that are in memory already. */
export class MemorySource implements ByteSource {
  readonly name: string;
  private readonly bytes: Uint8Array;

  /** @param bytes seen, not copied */
  constructor(bytes: Uint8Array | ArrayBuffer, name = 'memory') {
    this.bytes = bytes instanceof Uint8Array ? bytes : new Uint8Array(bytes);
    this.name = name;
  }

  /** {@inheritDoc ByteSource.size} */
  async size(): Promise<number> {
    return this.bytes.length;
  }

  /**
   * A view of the bytes [start, end).
   * @throws FormatError when they end before `end`; InvalidArgumentError, AbortedError
   */
  async read(start: number, end: number, signal?: AbortSignal): Promise<Uint8Array> {
    throwIfAborted(signal, `read ${this.name}`);
    checkRange(this.name, start, end, this.bytes.length);
    return this.bytes.subarray(start, end);
  }

  /** {@inheritDoc ByteSource.readInto} @throws as {@link MemorySource.read}. */
  async readInto(start: number, into: Uint8Array, signal?: AbortSignal): Promise<void> {
    into.set(await this.read(start, start + into.length, signal));
  }
}

/** A Blob, or a File that a user picked or dropped; only the range that is asked for enters memory. */
export class BlobSource implements ByteSource {
  readonly name: string;
  private readonly blob: Blob;

  /** @param name by default that of a File */
  constructor(blob: Blob, name?: string) {
    this.blob = blob;
    this.name = name ?? ('name' in blob && typeof blob.name === 'string' ? blob.name : 'blob');
  }

  /** {@inheritDoc ByteSource.size} */
  async size(): Promise<number> {
    return this.blob.size;
  }

  /**
   * A copy of the bytes [start, end).
   * @throws NotFoundError when the file has changed since it was picked; FormatError when it ends before `end`;
   * InvalidArgumentError, AbortedError
   */
  async read(start: number, end: number, signal?: AbortSignal): Promise<Uint8Array> {
    throwIfAborted(signal, `read ${this.name}`);
    checkRange(this.name, start, end, this.blob.size);
    let bytes: Uint8Array;
    try {
      bytes = new Uint8Array(await this.blob.slice(start, end).arrayBuffer());
    } catch (cause) {
      // Browsers refuse a File whose file on disk was changed, moved or removed since it was picked.
      throw new NotFoundError(
        `read ${this.name}: expected bytes ${start}..${end}, got an unreadable file; pick the file again`,
        { cause },
      );
    }
    throwIfAborted(signal, `read ${this.name}`);
    if (bytes.length !== end - start) throw shortRead(this.name, start, end, start + bytes.length);
    return bytes;
  }
}
