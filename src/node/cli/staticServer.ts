/** A web server for files on disk: what the demo page needs, and nothing that could reach beyond its folders. */
import { createReadStream } from 'node:fs';
import { realpath, stat } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { extname, join, sep } from 'node:path';
import type { AddressInfo } from 'node:net';
import { UsageError } from './exit.ts';

/** Requests whose path starts with `prefix` (which ends in a slash) are answered from `folder`. */
export interface Mount {
  prefix: string;
  folder: string;
}

export interface StaticServer {
  /** Address of the page, ending in a slash. */
  url: string;
  close(): Promise<void>;
}

const TYPES: Record<string, string> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.mjs': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.json': 'application/json; charset=utf-8',
  '.map': 'application/json; charset=utf-8',
  '.md': 'text/markdown; charset=utf-8',
  '.png': 'image/png',
  '.svg': 'image/svg+xml',
  '.ico': 'image/x-icon',
  '.wasm': 'application/wasm',
};

/** First byte and the byte after the last, of one `bytes=` range; undefined when the header asks for anything else. */
export function parseRange(header: string | undefined, size: number): [number, number] | 'beyond' | undefined {
  const match = /^bytes=(\d*)-(\d*)$/.exec(header ?? '');
  if (!match || (match[1] === '' && match[2] === '')) return undefined;
  if (match[1] === '') {
    const length = Math.min(size, Number(match[2]));
    return length > 0 ? [size - length, size] : 'beyond';
  }
  const start = Number(match[1]);
  const end = match[2] === '' ? size : Math.min(size, Number(match[2]) + 1);
  if (match[2] !== '' && Number(match[2]) < start) return undefined;
  return start < size ? [start, end] : 'beyond';
}

/** The file that a request path names, or undefined: nothing outside the mounts, no folder but its index.html. */
async function locate(path: string, mounts: readonly Mount[]): Promise<string | undefined> {
  let decoded: string;
  try {
    decoded = decodeURIComponent(path);
  } catch {
    return undefined;
  }
  if (!decoded.startsWith('/') || /[\0\\]/.test(decoded) || decoded.split('/').includes('..')) return undefined;
  const mount = mounts.find(({ prefix }) => decoded.startsWith(prefix));
  if (!mount) return undefined;
  const rest = decoded.slice(mount.prefix.length);
  const name = rest === '' || rest.endsWith('/') ? `${rest}index.html` : rest;
  if (name.split('/').some((part) => part.startsWith('.'))) return undefined;
  try {
    // A link may not lead out of its folder.
    const [root, file] = await Promise.all([realpath(mount.folder), realpath(join(mount.folder, name))]);
    return file.startsWith(root + sep) && (await stat(file)).isFile() ? file : undefined;
  } catch {
    return undefined;
  }
}

function refuse(response: ServerResponse, status: number, reason: string): void {
  response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8' });
  response.end(`${reason}\n`);
}

async function answer(request: IncomingMessage, response: ServerResponse, mounts: readonly Mount[]): Promise<void> {
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    response.setHeader('allow', 'GET, HEAD');
    return refuse(response, 405, 'only GET and HEAD');
  }
  const file = await locate((request.url ?? '/').replace(/[?#].*$/s, ''), mounts);
  if (!file) return refuse(response, 404, 'not found');
  const { size, mtimeMs } = await stat(file);
  const etag = `"${size.toString(36)}-${Math.round(mtimeMs).toString(36)}"`;
  const headers: Record<string, string> = {
    'content-type': TYPES[extname(file)] ?? 'application/octet-stream',
    'accept-ranges': 'bytes',
    // Always asked again, so that a new build is never mixed with an old one; unchanged files cost one 304.
    'cache-control': 'no-cache',
    'x-content-type-options': 'nosniff',
    etag,
  };
  if (request.headers['if-none-match'] === etag) {
    response.writeHead(304, headers);
    response.end();
    return;
  }
  const condition = request.headers['if-range'];
  const range = condition === undefined || condition === etag ? parseRange(request.headers.range, size) : undefined;
  if (range === 'beyond') {
    response.writeHead(416, { ...headers, 'content-range': `bytes */${size}`, 'content-length': '0' });
    response.end();
    return;
  }
  const [start, end] = range ?? [0, size];
  headers['content-length'] = String(end - start);
  if (range) headers['content-range'] = `bytes ${start}-${end - 1}/${size}`;
  response.writeHead(range ? 206 : 200, headers);
  if (request.method === 'HEAD' || start === end) {
    response.end();
    return;
  }
  const stream = createReadStream(file, { start, end: end - 1 });
  stream.on('error', () => response.destroy());
  response.on('close', () => stream.destroy());
  stream.pipe(response);
}

/** Answers one request from the folders; never rejects. */
export async function answerFrom(
  mounts: readonly Mount[],
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  try {
    await answer(request, response, mounts);
  } catch {
    if (response.headersSent) response.destroy();
    else refuse(response, 500, 'the file could not be read');
  }
}

function listen(server: Server, port: number, host: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      const why: Record<string, string> = {
        EADDRINUSE: `port ${port} is in use`,
        EACCES: `port ${port} needs more rights than this user has`,
        EADDRNOTAVAIL: `${host} is no address of this machine`,
        ENOTFOUND: `${host} is not known`,
      };
      const reason = why[cause.code ?? ''] ?? cause.message;
      reject(
        new UsageError(`demo: expected to serve on ${host}:${port}, but ${reason}; choose another --port or --host`),
      );
    });
    server.listen(port, host, resolve);
  });
}

/**
 * Serves folders over HTTP with byte ranges; on this machine only unless another host is named.
 * @param options.port 0 takes any free one
 * @throws UsageError when the port or host cannot be had
 */
export async function serveFolders(
  mounts: readonly Mount[],
  options: { port?: number; host?: string } = {},
): Promise<StaticServer> {
  const { port = 0, host = '127.0.0.1' } = options;
  const server = createServer((request, response) => void answerFrom(mounts, request, response));
  await listen(server, port, host);
  const actual = (server.address() as AddressInfo).port;
  const shown = host.includes(':') ? `[${host}]` : host;
  return {
    url: `http://${shown}:${actual}/`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
