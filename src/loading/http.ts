import { AbortedError, NetworkError, NotFoundError, throwIfAborted, type DaguerreError } from '../engine/errors.ts';
import { shortRead } from './source.ts';

/** How files behind http(s) are asked for. */
export interface UrlOptions {
  /** Sent with every request, e.g. an authorization token. */
  headers?: Readonly<Record<string, string>>;
  /** In place of the global fetch. */
  fetch?: (input: string, init: RequestInit) => Promise<Response>;
}

/** What one request asks for; by default the whole file. */
export interface RequestOptions {
  /** Bytes [start, end). */
  range?: readonly [number, number];
  method?: 'GET' | 'HEAD';
  signal?: AbortSignal;
}

/** One HTTP request, whatever the status. @throws NetworkError when no answer comes, AbortedError */
export async function send(
  url: string,
  name: string,
  options: UrlOptions,
  { range, method = 'GET', signal }: RequestOptions = {},
): Promise<Response> {
  throwIfAborted(signal, `read ${name}`);
  const headers: Record<string, string> = { ...options.headers };
  if (range) headers['range'] = `bytes=${range[0]}-${range[1] - 1}`;
  try {
    const init: RequestInit = { method, headers, signal };
    return await (options.fetch ? options.fetch(url, init) : fetch(url, init));
  } catch (cause) {
    throwIfAborted(signal, `read ${name}`);
    throw new NetworkError(
      `read ${name}: expected an answer from the server, got none (${reason(cause)}); check the address, the ` +
        'network and, in a page, that the server allows other origins (CORS), then try again',
      { cause },
    );
  }
}

/** As {@link send}, but only success comes back. @throws as {@link refused} and {@link send} */
export async function request(
  url: string,
  name: string,
  options: UrlOptions,
  more: RequestOptions = {},
): Promise<Response> {
  const response = await send(url, name, options, more);
  // 416 tells the size of a file that ends before the range.
  if (response.ok || response.status === 416) return response;
  await response.body?.cancel();
  throw refused(name, response);
}

/** Statuses besides 5xx that pass: the server gave up waiting, or wants fewer requests. */
const BUSY = [408, 429];

/** What the hub means by a status, in its header `X-Error-Code`, and what to do about it. */
const HUB: Readonly<Record<string, string>> = {
  RepoNotFound: 'there is no such model, or it is private: check its name, or pass a token',
  RevisionNotFound: 'there is no such revision of the model: check the branch, tag or commit',
  EntryNotFound: 'the model has no such file: check the subfolder and the variant',
  GatedRepo: 'the model is gated: accept its terms on its page, then pass a token',
};

/** What the hub says of the whole model; undefined where it speaks of one file, or where another server answers. */
export function hubReason({ headers }: Response): string | undefined {
  const code = headers.get('x-error-code') ?? '';
  return code === 'EntryNotFound' ? undefined : HUB[code];
}

/** The error for a status that brings no file: NetworkError for one that may pass, NotFoundError for the others. */
export function refused(name: string, { status, headers }: Response): DaguerreError {
  const where = `read ${name}: expected the file, got HTTP status ${status}`;
  if (status >= 500 || BUSY.includes(status)) {
    return new NetworkError(`${where}; the server is in trouble or busy: try again later`);
  }
  const advice =
    HUB[headers.get('x-error-code') ?? ''] ??
    (status === 401 || status === 403
      ? 'access is refused: pass a token, or accept the terms of the model on its page'
      : status === 404 || status === 410
        ? 'there is no such file: check the address'
        : 'the server does not give it like this: check the address, or download the file first');
  return new NotFoundError(`${where}; ${advice}`);
}

/** Content-Length, where it tells the size of the file. */
export function contentLength(response: Response): number | undefined {
  // The length of a compressed body says nothing about the file.
  const text = response.headers.get('content-encoding') ? null : response.headers.get('content-length');
  return text !== null && /^\d+$/.test(text) ? Number(text) : undefined;
}

function reason(cause: unknown): string {
  const inner = cause instanceof Error && cause.cause instanceof Error ? cause.cause : cause;
  return inner instanceof Error ? inner.message : String(inner);
}

/** A response body read forward, with the position that it has reached in the file. */
export class ForwardStream {
  position: number;
  private readonly reader: ReadableStreamDefaultReader<Uint8Array> | undefined;
  private rest: Uint8Array = new Uint8Array(0);

  constructor(response: Response, position: number) {
    this.reader = response.body?.getReader();
    this.position = position;
  }

  /** Up to `most` bytes; empty at the end of the body. @throws NetworkError when the connection breaks, AbortedError */
  async next(most: number, name: string, signal?: AbortSignal): Promise<Uint8Array> {
    while (this.rest.length === 0) {
      throwIfAborted(signal, `read ${name}`);
      const onAbort = (): void => void this.cancel();
      signal?.addEventListener('abort', onAbort, { once: true });
      try {
        const result = await this.reader?.read();
        throwIfAborted(signal, `read ${name}`);
        if (!result || result.done) return this.rest;
        this.rest = result.value;
      } catch (cause) {
        if (cause instanceof AbortedError) throw cause;
        throwIfAborted(signal, `read ${name}`);
        throw new NetworkError(
          `read ${name}: expected more data at byte ${this.position}, got a broken connection (${reason(cause)}); ` +
            'try again',
          { cause },
        );
      } finally {
        signal?.removeEventListener('abort', onAbort);
      }
    }
    const part = this.rest.subarray(0, most);
    this.rest = this.rest.subarray(part.length);
    this.position += part.length;
    return part;
  }

  /** Reads on to a byte of the file, or to the end of the body, and drops what it reads. @throws as {@link next} */
  async skipTo(position: number, name: string, signal?: AbortSignal): Promise<void> {
    while (this.position < position) {
      if ((await this.next(position - this.position, name, signal)).length === 0) return;
    }
  }

  /** Ends the connection. */
  async cancel(): Promise<void> {
    await this.reader?.cancel().catch(() => undefined);
  }
}

/**
 * Fills `into` with what the stream brings up to byte `end`, and cancels the stream unless it is to go on.
 * @throws FormatError when the body ends before; NetworkError, AbortedError
 */
export async function fill(
  stream: ForwardStream,
  end: number,
  into: Uint8Array,
  name: string,
  signal?: AbortSignal,
  keep = false,
): Promise<void> {
  const start = end - into.length;
  let done = false;
  try {
    while (stream.position < end) {
      const at = stream.position - start;
      const part = await stream.next(end - stream.position, name, signal);
      if (part.length === 0 || at < 0) throw shortRead(name, start, end, stream.position);
      into.set(part, at);
    }
    done = true;
  } finally {
    if (!keep || !done) await stream.cancel();
  }
}

/** The whole body; undefined when it is longer than `most` bytes. @throws NetworkError, AbortedError */
export async function readAll(
  response: Response,
  most: number,
  name: string,
  signal?: AbortSignal,
): Promise<Uint8Array | undefined> {
  const stream = new ForwardStream(response, 0);
  const parts: Uint8Array[] = [];
  while (stream.position <= most) {
    const part = await stream.next(Infinity, name, signal);
    if (part.length === 0) break;
    parts.push(part);
  }
  await stream.cancel();
  if (stream.position > most) return undefined;
  const bytes = new Uint8Array(stream.position);
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
