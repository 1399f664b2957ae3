import { mkdtemp, mkdir, open, rm, symlink, writeFile, truncate, type FileHandle } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { AbortedError, FormatError, InvalidArgumentError, NotFoundError } from '../../src/engine/errors.ts';
import { filesDirectory, handleDirectory, normalisePath, type Directory } from '../../src/loading/directory.ts';
import { BlobSource, MemorySource, readInto, type ByteSource } from '../../src/loading/source.ts';
import { FileSource, pathDirectory } from '../../src/node/fileSource.ts';
import { expectError } from './files.ts';

const text = (s: string): Uint8Array<ArrayBuffer> => new Uint8Array(new TextEncoder().encode(s));
const FILES: Record<string, Uint8Array<ArrayBuffer>> = {
  'config.json': text('\ufeff{"a":1}'),
  'unet/config.json': text('{"b":{"c":2}}'),
  'unet/w.bin': Uint8Array.from({ length: 100 }, (_, i) => i),
  'bad/twice.json': text('{"a":1,"a":2}'),
  'bad/latin1.json': Uint8Array.of(0x22, 0xe9, 0x22),
  'bad/half.json': text('{"a":'),
};

/** A picked folder as a browser hands it over, over the same files. */
function fakeHandle(name: string, prefix = ''): FileSystemDirectoryHandle {
  const fail = (kind: string): never => {
    throw new DOMException(kind, kind);
  };
  const isFolder = (path: string): boolean => Object.keys(FILES).some((key) => key.startsWith(`${path}/`));
  const handle = {
    kind: 'directory',
    name,
    getDirectoryHandle: async (part: string) => {
      if (part === 'locked') return fail('NotAllowedError');
      if (prefix + part in FILES) return fail('TypeMismatchError');
      return isFolder(prefix + part) ? fakeHandle(part, `${prefix}${part}/`) : fail('NotFoundError');
    },
    getFileHandle: async (part: string) => {
      if (isFolder(prefix + part)) return fail('TypeMismatchError');
      const data = FILES[prefix + part] ?? fail('NotFoundError');
      return { kind: 'file', name: part, getFile: async () => new File([data], part) };
    },
    entries: async function* () {
      for (const key of new Set(
        Object.keys(FILES)
          .filter((k) => k.startsWith(prefix))
          .map((k) => k.slice(prefix.length)),
      )) {
        yield [key.split('/')[0], { kind: key.includes('/') ? 'directory' : 'file' }];
      }
    },
  };
  return handle as unknown as FileSystemDirectoryHandle;
}

function picked(path: string, data: Uint8Array<ArrayBuffer>): File {
  const file = new File([data], path.split('/').at(-1)!);
  Object.defineProperty(file, 'webkitRelativePath', { value: `my-model/${path}` });
  return file;
}

let root = '';
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'daguerre-'));
  for (const [path, data] of Object.entries(FILES)) {
    await mkdir(join(root, path, '..'), { recursive: true });
    await writeFile(join(root, path), data);
  }
});
afterAll(() => rm(root, { recursive: true }));

describe.each([
  ['path', () => pathDirectory(root)],
  ['picked files', () => filesDirectory(Object.entries(FILES).map(([path, data]) => picked(path, data)))],
  [
    'record',
    () => filesDirectory(Object.fromEntries(Object.entries(FILES).map(([k, v]) => [k, new Blob([v])])), 'rec'),
  ],
  ['handle', () => handleDirectory(fakeHandle('my-model'))],
] as [string, () => Directory][])('%s', (_name, make) => {
  test('open, has, list, text, json, folder', async () => {
    const directory = make();
    expect(await directory.json('config.json')).toEqual({ a: 1 });
    expect(await directory.text('./unet//config.json')).toBe('{"b":{"c":2}}');
    expect(await directory.list()).toEqual(['config.json']);
    expect([await directory.has('unet/w.bin'), await directory.has('unet'), await directory.has('x/y')]).toEqual([
      true,
      false,
      false,
    ]);
    const unet = directory.folder('unet');
    expect(unet.name).toBe(`${directory.name}/unet`);
    expect((await unet.list())?.sort()).toEqual(['config.json', 'w.bin']);
    expect(await unet.json('config.json')).toEqual({ b: { c: 2 } });
    const source = await unet.open('w.bin');
    expect(source.name).toBe(`${directory.name}/unet/w.bin`);
    expect(await source.size()).toBe(100);
    expect([...(await source.read(98, 100))]).toEqual([98, 99]);
    await source.close?.();
    expect(await directory.folder('none').list()).toEqual([]);
    expect(await directory.folder('unet').folder('x').has('y')).toBe(false);
  });

  test('missing files and folders name what was looked for', async () => {
    const directory = make();
    await expectError(
      directory.open('vae/config.json'),
      NotFoundError,
      /vae\/config\.json/,
      new RegExp(directory.name),
    );
    await expectError(directory.folder('vae').json('config.json'), NotFoundError, /vae\/config\.json/);
    await expectError(directory.open('unet'), NotFoundError);
    await expectError(directory.open('config.json/x'), NotFoundError);
  });

  test('bad texts', async () => {
    const bad = make().folder('bad');
    await expectError(bad.json('twice.json'), FormatError, /twice\.json/, /"a" twice/);
    await expectError(bad.json('latin1.json'), FormatError, /latin1\.json/, /UTF-8/);
    await expectError(bad.json('half.json'), FormatError, /half\.json/, /expected JSON/);
  });

  test.each(['../x', '/etc/passwd', '', '.', 'a/../../x', 'a\\b', 'file:x'])('no way out by %j', async (path) => {
    await expectError(() => make().open(path), InvalidArgumentError, /inside the folder/);
    await expectError(() => make().folder('unet').open(path), InvalidArgumentError);
  });
});

test('a folder on disk that is not there, or is a file', async () => {
  await expectError(pathDirectory(join(root, 'none')).open('config.json'), NotFoundError, /none: expected a folder/);
  await expectError(pathDirectory(join(root, 'none')).has('config.json'), NotFoundError);
  await expectError(pathDirectory(join(root, 'none')).list(), NotFoundError);
  await expectError(pathDirectory(join(root, 'config.json')).open('a'), NotFoundError, /expected a folder, got a file/);
});

test('links in a folder on disk count as files', async () => {
  await symlink(join(root, 'unet/w.bin'), join(root, 'bad/link.bin'));
  const bad = pathDirectory(root).folder('bad');
  expect(await bad.list()).toContain('link.bin');
  expect(await (await bad.open('link.bin')).size()).toBe(100);
});

test('a folder that the page may not read any more', async () => {
  await expectError(
    handleDirectory(fakeHandle('m')).has('locked/x'),
    NotFoundError,
    /NotAllowedError/,
    /allow reading/,
  );
});

test('two files of one path', async () => {
  const files = [new File(['a'], 'config.json'), new File(['b'], 'config.json')];
  await expectError(() => filesDirectory(files), InvalidArgumentError, /config\.json twice/);
});

test('normalisePath', () => {
  expect(normalisePath('a//./b/')).toBe('a/b');
});

describe.each([
  ['memory', () => new MemorySource(FILES['unet/w.bin'], 'w.bin')],
  ['blob', () => new BlobSource(new Blob([FILES['unet/w.bin']]), 'w.bin')],
  ['file of a page', () => new BlobSource(new File([FILES['unet/w.bin']], 'w.bin'))],
  ['file on disk', () => new FileSource(join(root, 'unet/w.bin'))],
] as [string, () => ByteSource][])('source: %s', (_name, make) => {
  test('ranges', async () => {
    const source = make();
    expect(source.name).toMatch(/w\.bin$/);
    expect(await source.size()).toBe(100);
    expect([...(await source.read(0, 3))]).toEqual([0, 1, 2]);
    expect(await source.read(50, 50)).toHaveLength(0);
    const into = new Uint8Array(4);
    await readInto(source, 96, into);
    expect([...into]).toEqual([96, 97, 98, 99]);
    await expectError(source.read(90, 101), FormatError, /w\.bin: expected bytes 90\.\.101, got only 10 of 11/);
    await expectError(readInto(source, 99, new Uint8Array(2)), FormatError);
    await expectError(source.read(200, 300), FormatError, /got only 0 of 100/);
    for (const [start, end] of [
      [-1, 2],
      [3, 2],
      [0.5, 2],
      [0, NaN],
    ]) {
      await expectError(source.read(start, end), InvalidArgumentError);
    }
    await expectError(source.read(0, 1, AbortSignal.abort('why')), AbortedError);
    await source.close?.();
    expect([...(await source.read(7, 8))]).toEqual([7]);
    await source.close?.();
  });
});

test('a file on disk that is missing, a folder, or cut while it is open', async () => {
  await expectError(new FileSource(join(root, 'none')).size(), NotFoundError, /none: expected a file, got nothing/);
  await expectError(new FileSource(root).read(0, 1), NotFoundError, /got a folder/);
  const path = join(root, 'cut.bin');
  await writeFile(path, new Uint8Array(50));
  const source = new FileSource(path);
  expect(await source.size()).toBe(50);
  await truncate(path, 20);
  await expectError(source.read(10, 40), FormatError, /cut\.bin: expected bytes 10\.\.40, got only 10 of 30/);
  await source.close();
});

test('a file on disk that nobody reads any more is let go, and may be read again', async () => {
  const path = join(root, 'idle.bin');
  await writeFile(
    path,
    Uint8Array.from({ length: 50 }, (_, i) => i),
  );
  const handles: FileHandle[] = [];
  const source = new FileSource(path, async (name) => {
    handles.push(await open(name));
    return handles.at(-1)!;
  });
  const openNow = () => handles.filter(({ fd }) => fd >= 0).length;
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  try {
    for (const reads of [1, 2]) {
      const [a, b] = await Promise.all([source.read(3, 4), source.read(7, 8)]);
      expect([...a, ...b]).toEqual([3, 7]);
      expect([handles.length, openNow()]).toEqual([reads, 1]);
      vi.runAllTimers();
      await vi.waitFor(() => expect(openNow()).toBe(0));
    }
  } finally {
    vi.useRealTimers();
  }
});

test('a file of a page that changed on disk since it was picked', async () => {
  const gone = {
    name: 'w.bin',
    size: 10,
    slice: () => ({ arrayBuffer: () => Promise.reject(new DOMException('', 'NotReadableError')) }),
  };
  await expectError(new BlobSource(gone as unknown as File).read(0, 5), NotFoundError, /pick the file again/);
});
