import { throwIfAborted, AbortedError } from '../engine/errors.ts';
import { checkRange, readInto, type ByteSource } from './source.ts';

const WINDOW_BYTES = 2 * 2 ** 20;
const WINDOWS = 4;

interface Window {
  readonly bytes: Promise<Uint8Array>;
  readonly controller: AbortController;
  waiters: number;
  done: boolean;
}

/**
 * Serves small reads from a few aligned windows that are read whole, so that the hundreds of small tensors of a
 * checkpoint do not become as many HTTP requests; large reads go straight through.
 */
export class WindowedSource implements ByteSource {
  readonly name: string;
  private readonly inner: ByteSource;
  private readonly windowBytes: number;
  /** By window number, least recently used first. */
  private readonly windows = new Map<number, Window>();

  /** @param windowBytes bytes per window; a read of more than half of one goes straight to `inner` */
  constructor(inner: ByteSource, windowBytes = WINDOW_BYTES) {
    this.inner = inner;
    this.name = inner.name;
    this.windowBytes = windowBytes;
  }

  /** {@inheritDoc ByteSource.size} @throws as `inner` does. */
  size(signal?: AbortSignal): Promise<number> {
    return this.inner.size(signal);
  }

  /** {@inheritDoc ByteSource.read} @throws as `inner` does. */
  async read(start: number, end: number, signal?: AbortSignal): Promise<Uint8Array> {
    // Checked before the allocation, so that a wrong offset cannot ask for memory beyond the file.
    checkRange(this.name, start, end, await this.inner.size(signal));
    const bytes = new Uint8Array(end - start);
    await this.readInto(start, bytes, signal);
    return bytes;
  }

  /** {@inheritDoc ByteSource.readInto} @throws as `inner` does. */
  async readInto(start: number, into: Uint8Array, signal?: AbortSignal): Promise<void> {
    const size = await this.inner.size(signal);
    const end = start + into.length;
    checkRange(this.name, start, end, size);
    if (into.length > this.windowBytes / 2) return readInto(this.inner, start, into, signal);
    for (let at = start; at < end;) {
      const number = Math.floor(at / this.windowBytes);
      const from = number * this.windowBytes;
      const bytes = await this.window(number, from, Math.min(from + this.windowBytes, size), signal);
      const part = bytes.subarray(at - from, Math.min(end - from, bytes.length));
      into.set(part, at - start);
      at += part.length;
    }
  }

  /** Forgets the windows and closes `inner`. */
  async close(): Promise<void> {
    this.windows.clear();
    await this.inner.close?.();
  }

  private async window(number: number, start: number, end: number, signal?: AbortSignal): Promise<Uint8Array> {
    throwIfAborted(signal, `read ${this.name}`);
    const window = this.windows.get(number) ?? this.start(start, end);
    this.windows.delete(number);
    this.windows.set(number, window);
    for (const oldest of this.windows.keys()) {
      if (this.windows.size <= WINDOWS) break;
      this.windows.delete(oldest);
    }
    // Several readers may wait for one window: it is abandoned only when all of them have given up.
    const giveUp = (): void => {
      if (--window.waiters > 0 || window.done) return;
      this.forget(number, window);
      window.controller.abort(signal?.reason);
    };
    window.waiters++;
    signal?.addEventListener('abort', giveUp, { once: true });
    try {
      return await unlessAborted(window.bytes, signal, this.name);
    } catch (error) {
      // After a failure the next reader tries anew.
      if (!(error instanceof AbortedError)) this.forget(number, window);
      throw error;
    } finally {
      signal?.removeEventListener('abort', giveUp);
      if (!signal?.aborted) window.waiters--;
    }
  }

  private start(start: number, end: number): Window {
    const controller = new AbortController();
    const bytes = this.inner.read(start, end, controller.signal);
    const window: Window = { bytes, controller, waiters: 0, done: false };
    bytes.then(
      () => (window.done = true),
      () => undefined,
    );
    return window;
  }

  private forget(number: number, window: Window): void {
    if (this.windows.get(number) === window) this.windows.delete(number);
  }
}

/** The promise, or AbortedError as soon as the signal fires. */
function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined, name: string): Promise<T> {
  if (!signal) return promise;
  return new Promise((resolve, reject) => {
    const onAbort = (): void =>
      reject(new AbortedError(`read ${name}: aborted by the caller`, { cause: signal.reason }));
    signal.addEventListener('abort', onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}
