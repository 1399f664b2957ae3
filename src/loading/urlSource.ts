import { FormatError, UnsupportedError, throwIfAborted } from '../engine/errors.ts';
import { ForwardStream, contentLength, fill, refused, request, type UrlOptions } from './http.ts';
import { MemorySource, checkRange, shortRead, type ByteSource } from './source.ts';

/** Without range support, files up to this size are kept in memory after one download. */
const KEEP_BYTES = 16 * 2 ** 20;

/** Without range support, a larger file may be downloaded over again this many times before it becomes an error. */
const MAX_RESTARTS = 8;

/**
 * A file behind http(s), read by Range requests. A server that ignores them (and answers 200 with the whole file) is
 * read as one forward stream: reading in file order downloads it once, and never more than a chunk is in memory.
 */
export class UrlSource implements ByteSource {
  /** The address without query string. */
  readonly name: string;
  private readonly url: string;
  private readonly options: UrlOptions;
  private total: number | undefined;
  private etag: string | null = null;
  private whole: MemorySource | undefined;
  private ranges = true;
  private stream: ForwardStream | undefined;
  private restarts = 0;
  private queue: Promise<unknown> = Promise.resolve();

  /** @param url absolute, or in a page relative to it; its query string stays out of messages */
  constructor(url: string | URL, options: UrlOptions = {}) {
    this.url = String(url);
    // Tokens in a query string do not belong into error messages.
    this.name = this.url.replace(/[?#].*$/s, '');
    this.options = options;
  }

  /**
   * Bytes of the whole file; asks the server the first time.
   * @throws NotFoundError when the server refuses or lacks the file; NetworkError when it cannot be reached or is in
   * trouble; FormatError when it does not tell the size; AbortedError
   */
  async size(signal?: AbortSignal): Promise<number> {
    if (this.total === undefined) await this.learnSize(signal);
    return this.total!;
  }

  /** {@inheritDoc ByteSource.read} @throws as {@link readInto}, and as {@link size}. */
  async read(start: number, end: number, signal?: AbortSignal): Promise<Uint8Array> {
    // Checked before the allocation, so that a wrong offset cannot ask for memory beyond the file.
    checkRange(this.name, start, end, await this.size(signal));
    const bytes = new Uint8Array(end - start);
    await this.readInto(start, bytes, signal);
    return bytes;
  }

  /**
   * {@inheritDoc ByteSource.readInto}
   * @throws FormatError when the file ends before, has changed in between, or the server answers ranges wrongly;
   * UnsupportedError when a server without ranges would have to send a large file over and over; NotFoundError,
   * NetworkError, InvalidArgumentError, AbortedError
   */
  async readInto(start: number, into: Uint8Array, signal?: AbortSignal): Promise<void> {
    const end = start + into.length;
    checkRange(this.name, start, end, this.total ?? Infinity);
    if (into.length === 0) return;
    if (this.ranges) {
      const response = await request(this.url, this.name, this.options, { range: [start, end], signal });
      if (await this.isPartial(response)) {
        this.checkPart(response, start, end);
        return fill(new ForwardStream(response, start), end, into, this.name, signal);
      }
      await response.body?.cancel();
    }
    await this.readForward(start, into, signal);
  }

  /** Ends the connection; reading again opens another. */
  async close(): Promise<void> {
    await this.queue.catch(() => undefined);
    await this.stream?.cancel();
    this.stream = undefined;
  }

  private async learnSize(signal?: AbortSignal): Promise<void> {
    const response = await request(this.url, this.name, this.options, { range: [0, 1], signal });
    const partial = await this.isPartial(response);
    await response.body?.cancel();
    if (this.total !== undefined) return;
    if (partial) {
      // Another origin may hide Content-Range from scripts; Content-Length of a HEAD is always shown.
      const head = await request(this.url, this.name, this.options, { method: 'HEAD', signal });
      this.total = contentLength(head);
      if (this.total !== undefined) return;
      throw new FormatError(
        `read ${this.name}: expected the server to tell the file's size, got neither Content-Range nor ` +
          'Content-Length; expose these headers (Access-Control-Expose-Headers) or download the file first',
      );
    }
    await this.countBytes(signal);
  }

  /** Whether a response to a range request is a part; notes what else it says about the file. */
  private async isPartial(response: Response): Promise<boolean> {
    if (response.status === 206) {
      const total = /\/(\d+)\s*$/.exec(response.headers.get('content-range') ?? '')?.[1];
      if (total !== undefined) this.learn(Number(total), response);
      return true;
    }
    if (response.status === 416) {
      const total = /\*\/(\d+)\s*$/.exec(response.headers.get('content-range') ?? '')?.[1];
      await response.body?.cancel();
      if (total === undefined) throw refused(this.name, response);
      this.learn(Number(total), response);
      return true;
    }
    this.ranges = false;
    const length = contentLength(response);
    if (length !== undefined) this.learn(length, response);
    return false;
  }

  private learn(total: number, response: Response): void {
    const etag = response.headers.get('etag');
    const changed = this.etag !== null && etag !== null && !etag.startsWith('W/') && etag !== this.etag;
    if (changed || (this.total !== undefined && this.total !== total)) {
      throw new FormatError(
        `read ${this.name}: expected one and the same file throughout, got another version of it (${total} bytes, ` +
          `before ${this.total}); load it again`,
      );
    }
    this.total = total;
    if (etag !== null && !etag.startsWith('W/')) this.etag = etag;
  }

  private checkPart(response: Response, start: number, end: number): void {
    const fail = (error: Error): never => {
      void response.body?.cancel();
      throw error;
    };
    if (this.total !== undefined && end > this.total) fail(shortRead(this.name, start, end, this.total));
    const sent = /^bytes (\d+)-(\d+)\//.exec(response.headers.get('content-range') ?? '');
    const encoding = response.headers.get('content-encoding') ?? 'identity';
    if ((sent && (Number(sent[1]) !== start || Number(sent[2]) !== end - 1)) || encoding !== 'identity') {
      const got = encoding === 'identity' ? `bytes ${sent?.[1]}..${Number(sent?.[2]) + 1}` : `${encoding}-coded bytes`;
      fail(
        new FormatError(
          `read ${this.name}: expected bytes ${start}..${end} as they are, got ${got}; the server answers range ` +
            'requests wrongly: download the file first',
        ),
      );
    }
  }

  /** The way without ranges: one reader at a time, forward; kept in memory when the file is small. */
  private async readForward(start: number, into: Uint8Array, signal?: AbortSignal): Promise<void> {
    const turn = this.queue.then(async () => {
      throwIfAborted(signal, `read ${this.name}`);
      if (this.total === undefined) await this.countBytes(signal);
      checkRange(this.name, start, start + into.length, this.total!);
      if (!this.whole && this.total! <= KEEP_BYTES) {
        const bytes = new Uint8Array(this.total!);
        await fill(await this.openStream(signal), this.total!, bytes, this.name, signal);
        this.whole = new MemorySource(bytes, this.name);
      }
      if (this.whole) return this.whole.readInto(start, into, signal);
      if (!this.stream || this.stream.position > start) {
        await this.stream?.cancel();
        this.stream = undefined;
        if (this.restarts++ > MAX_RESTARTS) {
          throw new UnsupportedError(
            `read ${this.name}: expected a server that answers Range requests, got one that sends all ${this.total} ` +
              'bytes each time; serve the file with range support, or download it and pass the file',
          );
        }
        this.stream = await this.openStream(signal);
      }
      const stream = this.stream;
      // A stream that failed or was aborted halfway is at no known position any more.
      this.stream = undefined;
      await stream.skipTo(start, this.name, signal);
      await fill(stream, start + into.length, into, this.name, signal, true);
      this.stream = stream;
    });
    this.queue = turn.catch(() => undefined);
    return turn;
  }

  private async openStream(signal?: AbortSignal): Promise<ForwardStream> {
    // The connection outlives this read, so the caller's signal ends only the wait for its first byte.
    const controller = new AbortController();
    const onAbort = (): void => controller.abort(signal?.reason);
    signal?.addEventListener('abort', onAbort, { once: true });
    try {
      const response = await request(this.url, this.name, this.options, { signal: controller.signal });
      return new ForwardStream(response, 0);
    } finally {
      signal?.removeEventListener('abort', onAbort);
    }
  }

  /** Finds the size of a file whose server does not tell it, by reading it once and keeping nothing. */
  private async countBytes(signal?: AbortSignal): Promise<void> {
    const stream = await this.openStream(signal);
    await stream.skipTo(Infinity, this.name, signal);
    this.total = stream.position;
  }
}
