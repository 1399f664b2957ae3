import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Served {
  /** Address without trailing slash. */
  readonly url: string;
  /** `METHOD path range` of every request so far. */
  readonly log: string[];
  /** Bytes of bodies handed to the network so far. */
  sent: number;
  close(): Promise<void>;
}

export interface ServerOptions {
  /** Answers Range requests with 206; otherwise always 200 and the whole file. */
  ranges?: boolean;
  /** Content-Length on whole files; otherwise chunked. */
  lengths?: boolean;
  /** Sees every request first; true when it has answered. */
  hook?: (request: IncomingMessage, response: ServerResponse) => boolean;
}

/** A file server on 127.0.0.1 that can be made to behave badly. */
export async function serve(
  files: Record<string, Uint8Array>,
  { ranges = true, lengths = true, hook }: ServerOptions = {},
): Promise<Served> {
  const server = createServer((request, response) => {
    const path = decodeURIComponent(new URL(request.url ?? '/', 'http://x').pathname.slice(1));
    const range = request.headers.range;
    served.log.push(`${request.method} ${path}${range ? ` ${range}` : ''}`);
    if (hook?.(request, response)) return;
    const data = Object.hasOwn(files, path) ? files[path] : undefined;
    if (!data) return void response.writeHead(404).end('no such file');
    const part = ranges ? /^bytes=(\d+)-(\d+)$/.exec(range ?? '') : null;
    if (part) {
      const start = Number(part[1]);
      const end = Math.min(Number(part[2]) + 1, data.length);
      if (start >= data.length) {
        return void response.writeHead(416, { 'content-range': `bytes */${data.length}` }).end();
      }
      response.writeHead(206, {
        'content-range': `bytes ${start}-${end - 1}/${data.length}`,
        'content-length': end - start,
      });
      served.sent += end - start;
      return void response.end(data.subarray(start, end));
    }
    response.writeHead(200, lengths ? { 'content-length': data.length } : {});
    if (request.method === 'HEAD') return void response.end();
    void trickle(response, data);
  });
  /** In pieces, and only as fast as they are taken, so that `sent` tells what the reader let through. */
  const trickle = async (response: ServerResponse, data: Uint8Array): Promise<void> => {
    const closed = once(response, 'close');
    for (let at = 0; at < data.length && !response.destroyed; at += 65536) {
      const piece = data.subarray(at, at + 65536);
      served.sent += piece.length;
      if (response.write(piece)) continue;
      await Promise.race([once(response, 'drain'), closed]);
    }
    response.end();
  };
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const served: Served = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    log: [],
    sent: 0,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
  return served;
}
