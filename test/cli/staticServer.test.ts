import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { UsageError } from '../../src/node/cli/exit.ts';
import { parseRange, serveFolders, type StaticServer } from '../../src/node/cli/staticServer.ts';

let folder: string;
let server: StaticServer;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'daguerre-serve-'));
  mkdirSync(join(folder, 'page', 'sub'), { recursive: true });
  mkdirSync(join(folder, 'model'));
  writeFileSync(join(folder, 'secret.txt'), 'secret');
  writeFileSync(join(folder, 'page', 'index.html'), '<!doctype html>');
  writeFileSync(join(folder, 'page', 'main.js'), 'let a;');
  writeFileSync(join(folder, 'page', '.hidden'), 'hidden');
  writeFileSync(join(folder, 'page', 'empty.json'), '');
  writeFileSync(join(folder, 'model', 'a b.safetensors'), '0123456789');
  symlinkSync(join(folder, 'secret.txt'), join(folder, 'page', 'link.txt'));
  const mounts = [
    { prefix: '/weights/', folder: join(folder, 'model') },
    { prefix: '/', folder: join(folder, 'page') },
  ];
  server = await serveFolders(mounts);
});

afterAll(async () => {
  await server.close();
  rmSync(folder, { recursive: true, force: true });
});

const get = (path: string, init: RequestInit = {}): Promise<Response> => fetch(server.url.slice(0, -1) + path, init);

/** `fetch` tidies paths up before it sends them; an attacker does not. */
function rawStatus(path: string): Promise<number> {
  const { port } = new URL(server.url);
  return new Promise((resolve, reject) => {
    request({ port, host: '127.0.0.1', path }, (response) => {
      response.resume();
      resolve(response.statusCode!);
    })
      .on('error', reject)
      .end();
  });
}

test('is on this machine only and says where', () => {
  expect(server.url).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/$/);
});

describe('files', () => {
  test.each([
    ['/', 'text/html; charset=utf-8', '<!doctype html>'],
    ['/?x=1', 'text/html; charset=utf-8', '<!doctype html>'],
    ['/main.js', 'text/javascript; charset=utf-8', 'let a;'],
    ['/empty.json', 'application/json; charset=utf-8', ''],
    ['/weights/a%20b.safetensors', 'application/octet-stream', '0123456789'],
  ])('%s', async (path, type, body) => {
    const response = await get(path);
    expect(response.status).toBe(200);
    expect(response.headers.get('content-type')).toBe(type);
    expect(response.headers.get('content-length')).toBe(String(body.length));
    expect(await response.text()).toBe(body);
  });

  test('HEAD tells the size and sends nothing', async () => {
    const response = await get('/weights/a%20b.safetensors', { method: 'HEAD' });
    expect([response.status, response.headers.get('content-length')]).toEqual([200, '10']);
    expect(await response.text()).toBe('');
  });

  test('an unchanged file is not sent again', async () => {
    const etag = (await get('/main.js')).headers.get('etag')!;
    expect((await get('/main.js', { headers: { 'if-none-match': etag } })).status).toBe(304);
    expect((await get('/main.js', { headers: { 'if-none-match': '"other"' } })).status).toBe(200);
  });

  test.each([
    '/nothing',
    '/sub',
    '/sub/',
    '/link.txt',
    '/.hidden',
    '/../secret.txt',
    '/%2e%2e/secret.txt',
    '/..%2fsecret.txt',
    '/weights/..%2f..%2fsecret.txt',
    '/..%5csecret.txt',
    '/%00',
    '/%ff',
    '//etc/passwd',
  ])('%s is not found', async (path) => expect(await rawStatus(path)).toBe(404));

  test('nothing can be written', async () => {
    const response = await get('/main.js', { method: 'PUT', body: 'x' });
    expect([response.status, response.headers.get('allow')]).toEqual([405, 'GET, HEAD']);
  });
});

describe('ranges', () => {
  test.each([
    ['bytes=2-4', 206, 'bytes 2-4/10', '234'],
    ['bytes=7-', 206, 'bytes 7-9/10', '789'],
    ['bytes=-3', 206, 'bytes 7-9/10', '789'],
    ['bytes=8-99', 206, 'bytes 8-9/10', '89'],
    ['bytes=10-', 416, 'bytes */10', ''],
    ['bytes=0-1,4-5', 200, null, '0123456789'],
    ['bytes=4-2', 200, null, '0123456789'],
    ['lines=1-2', 200, null, '0123456789'],
  ])('%s', async (range, status, contentRange, body) => {
    const response = await get('/weights/a%20b.safetensors', { headers: { range } });
    expect(response.status).toBe(status);
    expect(response.headers.get('content-range')).toBe(contentRange);
    expect(await response.text()).toBe(body);
  });

  test('a range of another version of the file brings the whole one', async () => {
    const headers = { range: 'bytes=2-4', 'if-range': '"old"' };
    expect((await get('/weights/a%20b.safetensors', { headers })).status).toBe(200);
  });

  test('the last bytes of an empty file are beyond it', () => {
    expect(parseRange('bytes=-5', 0)).toBe('beyond');
    expect(parseRange('bytes=0-0', 0)).toBe('beyond');
  });
});

test('a port in use is a usage error that names it', async () => {
  const port = Number(new URL(server.url).port);
  await expect(serveFolders([], { port })).rejects.toThrow(UsageError);
  await expect(serveFolders([], { port })).rejects.toThrow(new RegExp(`port ${port} is in use; choose another --port`));
});
