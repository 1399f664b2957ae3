import { afterEach, describe, expect, test } from 'vitest';
import {
  AbortedError,
  FormatError,
  InvalidArgumentError,
  NetworkError,
  NotFoundError,
  UnsupportedError,
} from '../../src/engine/errors.ts';
import { Checkpoint } from '../../src/loading/checkpoint.ts';
import { urlDirectory, urlSource } from '../../src/loading/urlDirectory.ts';
import { UrlSource } from '../../src/loading/urlSource.ts';
import { expectError, f32, file, rawFile, type Tensor } from './files.ts';
import { serve, type Served, type ServerOptions } from './server.ts';

let server: Served | undefined;
afterEach(async () => {
  await server?.close();
  server = undefined;
});
const start = async (files: Record<string, Uint8Array>, options?: ServerOptions): Promise<Served> =>
  (server = await serve(files, options));

/** Bytes that tell where they are from. */
function pattern(n: number): Uint8Array {
  const bytes = new Uint8Array(n);
  for (let i = 0; i < n; i++) bytes[i] = (i * 7 + (i >> 8)) & 255;
  return bytes;
}
const same = (got: Uint8Array, want: Uint8Array): void => expect(Buffer.compare(got, want)).toBe(0);

describe.each([
  ['with ranges', { ranges: true }],
  ['without ranges', { ranges: false }],
  ['without ranges and lengths', { ranges: false, lengths: false }],
] as [string, ServerOptions][])('a server %s', (_name, options) => {
  test('ranges forward and backward, size, empty reads, the end', async () => {
    const data = pattern(300_000);
    const { url } = await start({ 'a b.bin': data }, options);
    const source = new UrlSource(`${url}/a%20b.bin?token=secret`);
    expect(source.name).toBe(`${url}/a%20b.bin`);
    for (const [from, to] of [
      [10, 20],
      [200_000, 300_000],
      [0, 1],
      [5, 5],
      [0, 300_000],
    ]) {
      same(await source.read(from, to), data.subarray(from, to));
    }
    expect(await source.size()).toBe(data.length);
    const into = new Uint8Array(100);
    await source.readInto(100, into);
    same(into, data.subarray(100, 200));
    await expectError(source.read(299_990, 300_010), FormatError, /a%20b\.bin/, /299990\.\.300010, got only 10 of 20/);
    await expectError(source.read(20, 10), InvalidArgumentError);
    await source.close();
  });

  test('a checkpoint', async () => {
    const tensors: Record<string, Tensor> = {};
    for (let i = 0; i < 40; i++) tensors[`t${i}`] = f32([i + 1]);
    const { url } = await start({ 'model.safetensors': file(tensors) }, options);
    const checkpoint = await Checkpoint.open(urlSource(`${url}/model.safetensors`));
    for (const key of checkpoint.keys().reverse()) {
      expect(await checkpoint.read(key)).toEqual(Float32Array.from({ length: Number(key.slice(1)) + 1 }, (_, i) => i));
    }
    // Forty small tensors, and a handful of requests.
    expect(server!.log.length).toBeLessThan(6);
  });

  test('an empty file, a missing one', async () => {
    const { url } = await start({ empty: new Uint8Array(0) }, options);
    const empty = new UrlSource(`${url}/empty`);
    expect(await empty.size()).toBe(0);
    expect(await empty.read(0, 0)).toHaveLength(0);
    await expectError(empty.read(0, 1), FormatError);
    const missing = new UrlSource(`${url}/missing.safetensors`);
    await expectError(missing.size(), NotFoundError, /missing\.safetensors/, /HTTP status 404; there is no such file/);
    await expectError(missing.readInto(0, new Uint8Array(4)), NotFoundError, /404/);
  });

  test('aborted before and during; usable afterwards', async () => {
    let stall = false;
    const data = pattern(20 * 2 ** 20);
    const { url } = await start(
      { x: data },
      {
        ...options,
        hook: (request, response) => {
          if (!stall || request.method === 'HEAD') return false;
          response.writeHead(200, { 'content-length': data.length });
          response.write(data.subarray(0, 1000));
          return true;
        },
      },
    );
    const source = new UrlSource(`${url}/x`);
    await expectError(source.read(0, 10, AbortSignal.abort()), AbortedError);
    await source.size();
    stall = true;
    const pending = source.read(500, 5000, AbortSignal.timeout(50));
    await expectError(pending, AbortedError, /\/x/);
    stall = false;
    same(await source.read(500, 5000), data.subarray(500, 5000));
    await source.close();
  });
});

describe('a server without ranges, large file', () => {
  const n = 24 * 2 ** 20;
  const data = pattern(n);

  test('is downloaded once when it is read forward, and only as far as asked', async () => {
    const { log } = await start({ x: data }, { ranges: false });
    const source = new UrlSource(`${server!.url}/x`);
    expect(await source.size()).toBe(n);
    const before = log.length;
    for (let at = 0; at + 10_000 <= 12 * 2 ** 20; at += 2 ** 20) {
      same(await source.read(at, at + 10_000), data.subarray(at, at + 10_000));
    }
    expect(log.length - before).toBe(1);
    // An abort signal of a read that is over does not touch the connection.
    const controller = new AbortController();
    await source.read(13 * 2 ** 20, 13 * 2 ** 20 + 5, controller.signal);
    controller.abort();
    same(await source.read(14 * 2 ** 20, 14 * 2 ** 20 + 5), data.subarray(14 * 2 ** 20, 14 * 2 ** 20 + 5));
    expect(log.length - before).toBe(1);
    // Going back starts over.
    same(await source.read(3, 9), data.subarray(3, 9));
    expect(log.length - before).toBe(2);
    await source.close();
  });

  test('reads at the same time wait for each other', async () => {
    await start({ x: data }, { ranges: false });
    const source = new UrlSource(`${server!.url}/x`);
    await source.size();
    const starts = [0, 2 ** 20, 5, 7 * 2 ** 20];
    const parts = await Promise.all(starts.map((at) => source.read(at, at + 1000)));
    starts.forEach((at, i) => same(parts[i], data.subarray(at, at + 1000)));
    // One that asks for the size, one stream, and one more for the step back.
    expect(server!.log.length).toBe(3);
    await source.close();
  });

  test('read backwards too often is refused with what to do', async () => {
    await start({ x: data }, { ranges: false });
    const source = new UrlSource(`${server!.url}/x`);
    const backwards = async (): Promise<void> => {
      for (let at = 100; at > 0; at--) await source.read(at, at + 1);
    };
    await expectError(backwards(), UnsupportedError, /serve the file with range support/, /25165824 bytes each time/);
    await source.close();
  });
});

describe('a server that misbehaves', () => {
  const data = pattern(1000);
  const answer =
    (status: number, headers: Record<string, string>, body: Uint8Array | string): ServerOptions['hook'] =>
    (_request, response) => {
      response.writeHead(status, headers).end(body);
      return true;
    };

  test.each([
    [401, NotFoundError, /401; access is refused: pass a token/],
    [403, NotFoundError, /403; access is refused/],
    [410, NotFoundError, /410; there is no such file/],
    [400, NotFoundError, /400; .* check the address/],
    [408, NetworkError, /408; .* try again later/],
    [429, NetworkError, /429; .* try again later/],
    [500, NetworkError, /500; .* try again later/],
    [503, NetworkError, /503; .* try again later/],
  ])('status %d', async (status, type, message) => {
    const { url } = await start({}, { hook: answer(status, {}, 'no') });
    await expectError(new UrlSource(`${url}/x`).read(0, 1), type, message);
    await expectError(urlDirectory(url).text('config.json'), type, message, /config\.json/);
  });

  test.each([
    ['the wrong start', { 'content-range': 'bytes 5-9/1000' }, data.subarray(5, 10), /got bytes 5\.\.10/],
    ['the wrong range', { 'content-range': 'bytes 1-10/1000' }, data.subarray(1, 11), /got bytes 1\.\.11/],
    ['too few bytes', { 'content-range': 'bytes 0-9/1000' }, data.subarray(0, 5), /bytes 0\.\.10, got only 5 of 10/],
    ['a smaller file', { 'content-range': 'bytes 0-4/5' }, data.subarray(0, 5), /the file ends at 5/],
    [
      'compressed parts',
      { 'content-range': 'bytes 0-9/1000', 'content-encoding': 'x-own' },
      data.subarray(0, 10),
      /x-own/,
    ],
  ])('%s', async (_name, headers, body, message) => {
    const { url } = await start({}, { hook: answer(206, headers, body) });
    await expectError(new UrlSource(`${url}/x`).readInto(0, new Uint8Array(10)), FormatError, message);
  });

  test('another version of the file in between', async () => {
    let etag = '"one"';
    const { url } = await start(
      { x: data },
      {
        hook: (_request, response) => {
          response.setHeader('etag', etag);
          return false;
        },
      },
    );
    const source = new UrlSource(`${url}/x`);
    await source.read(0, 10);
    etag = '"two"';
    await expectError(source.read(0, 10), FormatError, /another version/);
  });

  test('a connection that breaks', async () => {
    const { url } = await start(
      {},
      {
        hook: (_request, response) => {
          response.writeHead(206, { 'content-range': 'bytes 0-999/1000', 'content-length': 1000 });
          response.write(data.subarray(0, 100), () => response.destroy());
          return true;
        },
      },
    );
    await expectError(
      new UrlSource(`${url}/x`).readInto(0, new Uint8Array(1000)),
      NetworkError,
      /broken connection/,
      /try again/,
    );
  });

  test('no server at all', async () => {
    const { url, close } = await start({});
    await close();
    await expectError(new UrlSource(`${url}/x`).size(), NetworkError, /got none/, /check the address/, /try again/);
  });

  test('a size that scripts of another origin may not see is asked for by HEAD', async () => {
    const { url, log } = await start(
      { x: data },
      {
        hook: (request, response) => {
          const part = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '');
          if (!part) return false;
          response.writeHead(206).end(data.subarray(Number(part[1]), Number(part[2]) + 1));
          return true;
        },
      },
    );
    const source = new UrlSource(`${url}/x`);
    expect(await source.size()).toBe(1000);
    expect(log.at(-1)).toBe('HEAD x');
    same(await source.read(10, 20), data.subarray(10, 20));
  });

  test('a size that nobody tells', async () => {
    const { url } = await start({}, { hook: answer(206, { 'transfer-encoding': 'chunked' }, 'x') });
    await expectError(new UrlSource(`${url}/x`).size(), FormatError, /neither Content-Range nor Content-Length/);
  });
});

describe('directory', () => {
  test('open, has, text, json, folder, token', async () => {
    const seen: (string | undefined)[] = [];
    const files = { 'm/config.json': new TextEncoder().encode('{"a":1}'), 'm/unet/w #1.bin': pattern(10) };
    const { url } = await start(files, {
      hook: (request) => {
        seen.push(request.headers.authorization);
        return false;
      },
    });
    const directory = urlDirectory(`${url}/m/?download=true`, { headers: { authorization: 'Bearer t' } });
    expect(directory.name).toBe(`${url}/m`);
    expect(await directory.json('config.json')).toEqual({ a: 1 });
    expect(await directory.has('config.json')).toBe(true);
    expect(await directory.has('other.json')).toBe(false);
    expect(await directory.list()).toBeUndefined();
    const unet = directory.folder('unet');
    expect(await unet.has('w #1.bin')).toBe(true);
    const source = await unet.open('w #1.bin');
    same(await source.read(2, 5), pattern(10).subarray(2, 5));
    expect(source.name).toBe(`${url}/m/unet/w%20%231.bin`);
    await expectError(directory.open('none.bin'), NotFoundError, /m\/none\.bin/, /404/);
    expect(new Set(seen)).toEqual(new Set(['Bearer t']));
  });

  test('a server that does not know HEAD', async () => {
    const { url } = await start(
      { x: pattern(3) },
      {
        hook: (request, response) => {
          if (request.method === 'HEAD') response.writeHead(405).end();
          return request.method === 'HEAD';
        },
      },
    );
    expect(await urlDirectory(url).has('x')).toBe(true);
    expect(await urlDirectory(url).has('y')).toBe(false);
  });

  test('asking where nobody may look is an error, not a no', async () => {
    const { url } = await start({}, { hook: (_q, response) => !!response.writeHead(401).end() });
    await expectError(urlDirectory(url).has('x'), NotFoundError, /401/);
  });

  test('an address that is none', async () => {
    await expectError(() => urlDirectory('models/x'), InvalidArgumentError, /absolute address/);
  });

  test('a text without end is not taken into memory', async () => {
    const { url } = await start(
      {},
      {
        hook: (_request, response) => {
          response.writeHead(200);
          const more = (): void => {
            while (!response.destroyed && response.write(Buffer.alloc(2 ** 20, 32)));
          };
          response.on('drain', more);
          more();
          return true;
        },
      },
    );
    await expectError(urlDirectory(url).json('config.json'), FormatError, /at most 67108864 bytes/);
  });
});

test('windows: small neighbours share a request, large tensors get their own, and a failure is not kept', async () => {
  let fail = false;
  const big = 3 * 2 ** 20;
  const data = rawFile(
    JSON.stringify({
      a: { dtype: 'U8', shape: [5], data_offsets: [0, 5] },
      big: { dtype: 'U8', shape: [big], data_offsets: [5, 5 + big] },
      b: { dtype: 'U8', shape: [5], data_offsets: [5 + big, 10 + big] },
    }),
    pattern(10 + big),
  );
  const { url, log } = await start(
    { x: data },
    {
      hook: (_request, response) => {
        if (fail) response.writeHead(500).end();
        return fail;
      },
    },
  );
  const checkpoint = await Checkpoint.open(urlSource(`${url}/x`));
  const before = log.length;
  same(await checkpoint.readRaw('a'), pattern(5));
  expect(log.length).toBe(before);
  same(await checkpoint.readRaw('big'), pattern(5 + big).subarray(5));
  expect(log.length).toBe(before + 1);
  fail = true;
  await expectError(checkpoint.readRaw('b'), NetworkError, /500/);
  fail = false;
  same(await checkpoint.readRaw('b'), pattern(10 + big).subarray(5 + big));
});
