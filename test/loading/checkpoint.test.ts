import { describe, expect, test } from 'vitest';
import {
  AbortedError,
  FormatError,
  InvalidArgumentError,
  NotFoundError,
  WeightError,
} from '../../src/engine/errors.ts';
import { Checkpoint } from '../../src/loading/checkpoint.ts';
import { decode, encodeF16 } from '../../src/loading/convert.ts';
import { DTYPE_BYTES, type Dtype } from '../../src/loading/dtype.ts';
import { filesDirectory } from '../../src/loading/directory.ts';
import type { Rename } from '../../src/loading/rename.ts';
import { openSharded } from '../../src/loading/shardedCheckpoint.ts';
import { MemorySource, type ByteSource } from '../../src/loading/source.ts';
import { uniform } from '../support/random.ts';
import { count, expectError, f32, file, rawFile, source, u8, zeros, type Tensor } from './files.ts';

/** What loading may need beside the largest tensor, bytes. */
const HOST_MEMORY = 64 * 2 ** 20;

const open = (tensors: Record<string, Tensor>) => Checkpoint.open(source(file(tensors)));

/** Random finite bytes of a type. */
function random(dtype: Dtype, shape: number[], seed: number): Tensor {
  const u = uniform(seed);
  const bytes = Uint8Array.from({ length: DTYPE_BYTES[dtype] * count(shape) }, () => u() * 256);
  return { dtype, shape, bytes };
}

describe('reading', () => {
  test('every type, whole and by rows, agrees with decoding the whole', async () => {
    const tensors: Record<string, Tensor> = {};
    Object.keys(DTYPE_BYTES).forEach((dtype, i) => (tensors[dtype] = random(dtype as Dtype, [5, 3, 2], i)));
    const checkpoint = await open(tensors);
    for (const [key, tensor] of Object.entries(tensors)) {
      const want = decode(tensor.dtype, tensor.bytes);
      expect(await checkpoint.read(key)).toEqual(want);
      expect(await checkpoint.readRaw(key)).toEqual(tensor.bytes);
      expect((await checkpoint.readF16(key)).bits).toEqual(encodeF16(want).bits);
      for (const rows of [
        [0, 5],
        [1, 4],
        [4, 5],
        [2, 2],
        [5, 5],
      ] as [number, number][]) {
        expect(await checkpoint.read(key, { rows })).toEqual(want.slice(rows[0] * 6, rows[1] * 6));
        const size = DTYPE_BYTES[tensor.dtype] * 6;
        expect(await checkpoint.readRaw(key, { rows })).toEqual(tensor.bytes.slice(rows[0] * size, rows[1] * size));
      }
    }
  });

  test('a tensor of several chunks, odd length, at an odd offset', async () => {
    const n = 4 * 2 ** 20 + 12345;
    const values = Uint16Array.from({ length: n }, (_, i) => (i * 31) & 0x7bff);
    const header = `{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"w":{"dtype":"F16","shape":[${n}],"data_offsets":[1,${2 * n + 1}]}}`;
    const data = new Uint8Array(2 * n + 1);
    data.set(new Uint8Array(values.buffer), 1);
    const checkpoint = await Checkpoint.open(source(rawFile(header, data)));
    let bytes = 0;
    const got = await checkpoint.read('w', { checkFinite: true, onBytes: (b) => (bytes += b) });
    expect(bytes).toBe(2 * n);
    const want = decode('F16', new Uint8Array(values.buffer));
    expect(Buffer.compare(Buffer.from(got.buffer), Buffer.from(want.buffer))).toBe(0);
    const half = await checkpoint.readF16('w', { checkFinite: true });
    expect(Buffer.compare(Buffer.from(half.bits.buffer), Buffer.from(values.buffer))).toBe(0);
    const rows = await checkpoint.read('w', { rows: [4 * 2 ** 20 - 2, 4 * 2 ** 20 + 3] });
    expect(rows).toEqual(want.slice(4 * 2 ** 20 - 2, 4 * 2 ** 20 + 3));
  });

  test('scalars, empty tensors, info, sizes', async () => {
    const checkpoint = await open({ s: f32([], [2.5]), e: zeros('F16', [0, 4]), m: u8([2, 2]) });
    expect(checkpoint.keys()).toEqual(['s', 'e', 'm']);
    expect([...(await checkpoint.read('s'))]).toEqual([2.5]);
    expect(await checkpoint.read('e')).toHaveLength(0);
    expect(await checkpoint.read('e', { rows: [0, 0] })).toHaveLength(0);
    expect(checkpoint.info('m')).toEqual({
      dtype: 'U8',
      shape: [2, 2],
      bytes: 4,
      storedKey: 'm',
      file: 'test.safetensors',
    });
    expect(checkpoint.totalBytes).toBe(8);
    expect(checkpoint.has('m')).toBe(true);
    expect(checkpoint.has('x')).toBe(false);
  });

  test('into given memory', async () => {
    const checkpoint = await open({ w: f32([3]), b: u8([3], [7, 8, 9]) });
    const out = new Float32Array(6);
    await checkpoint.read('w', { out: out.subarray(0, 3) });
    const same = await checkpoint.read('b', { out: out.subarray(3) });
    expect([...out]).toEqual([0, 1, 2, 7, 8, 9]);
    expect(same.buffer).toBe(out.buffer);
    await expectError(checkpoint.read('w', { out }), InvalidArgumentError, /room for 3 elements, got 6/);
  });

  test('what is returned belongs to the caller', async () => {
    const data = file({ w: f32([2]), b: u8([2], [7, 8]) });
    const checkpoint = await Checkpoint.open(source(data));
    (await checkpoint.read('w')).fill(9);
    (await checkpoint.readRaw('b')).fill(9);
    expect([...(await checkpoint.read('w'))]).toEqual([0, 1]);
    expect([...(await checkpoint.read('b'))]).toEqual([7, 8]);
  });

  test('reads at the same time do not disturb each other', async () => {
    const tensors: Record<string, Tensor> = {};
    for (let i = 0; i < 20; i++) tensors[`t${i}`] = random('F16', [100 + i], i);
    const bytes = file(tensors);
    const slow: ByteSource = {
      name: 'slow',
      size: async () => bytes.length,
      read: async (start, end) => {
        await new Promise((resolve) => setTimeout(resolve, (start * 7) % 5));
        return bytes.subarray(start, end);
      },
    };
    const checkpoint = await Checkpoint.open(slow);
    const got = await Promise.all(checkpoint.keys().map((key) => checkpoint.read(key)));
    checkpoint.keys().forEach((key, i) => expect(got[i]).toEqual(decode('F16', tensors[key].bytes)));
  });

  test('reads of several chunks at the same time have memory of their own', async () => {
    const n = 5 * 2 ** 20;
    const make = (code: number): Tensor => ({ dtype: 'U8', shape: [n], bytes: new Uint8Array(n).fill(code) });
    const header = JSON.stringify({
      a: { dtype: 'U8', shape: [n], data_offsets: [0, n] },
      b: { dtype: 'U8', shape: [n], data_offsets: [n, 2 * n] },
    });
    const data = new Uint8Array(2 * n);
    data.set(make(1).bytes);
    data.set(make(2).bytes, n);
    const bytes = rawFile(header, data);
    const slow: ByteSource = {
      name: 'slow',
      size: async () => bytes.length,
      read: async (start, end) => bytes.subarray(start, end),
      readInto: async (start, into) => {
        into.set(bytes.subarray(start, start + into.length));
        await new Promise((resolve) => setTimeout(resolve, 2));
      },
    };
    const checkpoint = await Checkpoint.open(slow);
    await checkpoint.read('a');
    const [a, b] = await Promise.all([checkpoint.read('a'), checkpoint.read('b')]);
    expect(a.every((x) => x === 1)).toBe(true);
    expect(b.every((x) => x === 2)).toBe(true);
  });

  test('memory: the result and little more, whatever the size of the file', async () => {
    // A source that makes its bytes up, so that only what the checkpoint asks for exists.
    const n = 24 * 2 ** 20;
    const header = JSON.stringify({
      a: { dtype: 'BF16', shape: [n], data_offsets: [0, 2 * n] },
      b: { dtype: 'BF16', shape: [n], data_offsets: [2 * n, 4 * n] },
    });
    const head = rawFile(header);
    let largest = 0;
    const endless: ByteSource = {
      name: 'made up',
      size: async () => head.length + 4 * n,
      read: async (start, end) => head.slice(start, end),
      readInto: async (_start, into) => {
        largest = Math.max(largest, into.length);
        into.fill(0x3f);
      },
    };
    const checkpoint = await Checkpoint.open(endless);
    const out = new Float32Array(n);
    const before = process.memoryUsage();
    let most = 0;
    const watch = (): void => {
      const now = process.memoryUsage();
      most = Math.max(most, now.heapUsed + now.arrayBuffers - before.heapUsed - before.arrayBuffers);
    };
    for (const key of ['a', 'b', 'a']) await checkpoint.read(key, { out, checkFinite: true, onBytes: watch });
    expect(largest).toBe(4 * 2 ** 20);
    expect(most).toBeLessThan(HOST_MEMORY);
    expect(out[n - 1]).toBe(decode('BF16', Uint8Array.of(0x3f, 0x3f))[0]);
  });
});

describe('errors', () => {
  test('an unknown key', async () => {
    const checkpoint = await open({ w: f32([2]) });
    const error = await expectError(checkpoint.read('v'), WeightError, /weight v/, /test\.safetensors/);
    expect(error.keys).toEqual(['v']);
    await expectError(() => checkpoint.info('toString'), WeightError);
  });

  test.each([[[0, 3]], [[-1, 1]], [[1, 0]], [[0.5, 1]]] as [[number, number]][])('rows %j of [2,3]', async (rows) => {
    const checkpoint = await open({ w: f32([2, 3]) });
    await expectError(checkpoint.read('w', { rows }), InvalidArgumentError, /rows/, /\[2,3\]/);
  });

  test('rows of a scalar', async () => {
    const checkpoint = await open({ s: f32([], [1]) });
    await expectError(checkpoint.read('s', { rows: [0, 1] }), InvalidArgumentError, /none of a scalar/);
  });

  test.each([
    ['F32', new Uint8Array(Float32Array.of(1, 2, 3, NaN, 5, 6).buffer), 'NaN'],
    ['F16', new Uint8Array(Uint16Array.of(0, 0, 0, 0xfc00, 0, 0).buffer), '-Infinity'],
    ['BF16', new Uint8Array(Uint16Array.of(0, 0, 0, 0x7f80, 0, 0).buffer), 'Infinity'],
  ] as [Dtype, Uint8Array, string][])('a weight of %s that is not finite', async (dtype, bytes, got) => {
    const checkpoint = await open({ good: f32([2]), bad: { dtype, shape: [2, 3], bytes } });
    await checkpoint.read('good', { checkFinite: true });
    await checkpoint.read('bad');
    const message = new RegExp(`read bad: .* got ${got} at \\[1,0\\] of \\[2,3\\]`);
    const error = await expectError(checkpoint.read('bad', { checkFinite: true }), WeightError, message);
    expect(error.keys).toEqual(['bad']);
    await expectError(checkpoint.read('bad', { checkFinite: true, rows: [1, 2] }), WeightError, message);
    await expectError(checkpoint.readF16('bad', { checkFinite: true }), WeightError, message);
    await checkpoint.read('bad', { checkFinite: true, rows: [0, 1] });
  });

  test('a NaN far inside is named by its place', async () => {
    const n = 3 * 2 ** 20;
    const values = new Uint16Array(2 * n);
    values[n + 2_500_000] = 0x7e00;
    const header = JSON.stringify({ w: { dtype: 'F16', shape: [2, n], data_offsets: [0, 4 * n] } });
    const checkpoint = await Checkpoint.open(source(rawFile(header, new Uint8Array(values.buffer))));
    for (const rows of [undefined, [1, 2]] as ([number, number] | undefined)[]) {
      await expectError(checkpoint.read('w', { checkFinite: true, rows }), WeightError, /at \[1,2500000\]/);
      await expectError(checkpoint.readF16('w', { checkFinite: true, rows }), WeightError, /at \[1,2500000\]/);
    }
  });

  test('a file that got shorter after its header was read', async () => {
    const data = file({ w: f32([4]) });
    const size = data.length;
    const cut = new MemorySource(data.slice(0, -4), 'cut.safetensors');
    const shrunk: ByteSource = { name: 'cut.safetensors', size: async () => size, read: (s, e) => cut.read(s, e) };
    const checkpoint = await Checkpoint.open(shrunk);
    await expectError(checkpoint.read('w'), FormatError, /cut\.safetensors/, /got only 12 of 16/);
    const stingy: ByteSource = { ...shrunk, read: async (s, e) => data.subarray(s, e === size ? e - 1 : e) };
    const second = await Checkpoint.open(stingy);
    await expectError(second.read('w'), FormatError, /cut\.safetensors/);
  });

  test('aborted before and between chunks; usable afterwards', async () => {
    const n = 3 * 2 ** 20;
    const header = JSON.stringify({ w: { dtype: 'F32', shape: [n], data_offsets: [0, 4 * n] } });
    const checkpoint = await Checkpoint.open(source(rawFile(header, new Uint8Array(4 * n))));
    await expectError(checkpoint.read('w', { signal: AbortSignal.abort() }), AbortedError);
    const controller = new AbortController();
    let chunks = 0;
    const options = { signal: controller.signal, onBytes: () => ++chunks && controller.abort() };
    await expectError(checkpoint.read('w', options), AbortedError, /read w/);
    expect(chunks).toBe(1);
    expect(await checkpoint.read('w')).toHaveLength(n);
    await expectError(Checkpoint.open(source(file({})), { signal: AbortSignal.abort() }), AbortedError);
  });

  test('a key in two files', async () => {
    const files = [source(file({ w: u8([1]) }), 'a.safetensors'), source(file({ w: u8([1]) }), 'b.safetensors')];
    await expectError(Checkpoint.open(files), WeightError, /w in a\.safetensors and in b\.safetensors/);
  });
});

describe('renaming', () => {
  const tensors = { 'attn.query.weight': u8([1], [1]), 'attn.norm.weight': u8([1], [2]), 'other.weight': u8([1], [3]) };

  test('one to one, and keys left out', async () => {
    const checkpoint = await Checkpoint.open(source(file(tensors)), {
      rename: (key) => (key.startsWith('attn.') ? key.replace('query', 'to_q') : undefined),
    });
    expect(checkpoint.keys()).toEqual(['attn.to_q.weight', 'attn.norm.weight']);
    expect(checkpoint.storedKeys()).toEqual(Object.keys(tensors));
    expect(checkpoint.info('attn.to_q.weight').storedKey).toBe('attn.query.weight');
    expect([...(await checkpoint.read('attn.to_q.weight'))]).toEqual([1]);
    expect(checkpoint.has('attn.query.weight')).toBe(false);
    expect(checkpoint.totalBytes).toBe(2);
  });

  test('aliases, and a tensor whose own name is somebody else’s alias', async () => {
    const tied = { shared: u8([1], [1]), head: u8([1], [2]) };
    const checkpoint = await Checkpoint.open(source(file(tied)), {
      rename: (key) => (key === 'shared' ? ['shared', 'encoder.embed', 'head'] : key),
    });
    expect([...(await checkpoint.read('encoder.embed'))]).toEqual([1]);
    expect([...(await checkpoint.read('head'))]).toEqual([2]);
    expect(checkpoint.totalBytes).toBe(2);
  });

  test('two weights of one name', async () => {
    const both = { 'a.query': u8([1]), 'a.to_q': u8([1]) };
    const rename = (key: string): string => key.replace('query', 'to_q');
    const error = await expectError(
      Checkpoint.open(source(file(both)), { rename }),
      WeightError,
      /one weight for a\.to_q/,
    );
    expect(error.keys).toEqual(['a.query', 'a.to_q']);
  });

  test('a view of the same file reads no header again', async () => {
    let reads = 0;
    const memory = source(file(tensors));
    const counted: ByteSource = {
      name: 'x',
      size: () => memory.size(),
      read: (s, e) => (reads++, memory.read(s, e)),
    };
    const checkpoint = await Checkpoint.open(counted);
    const before = reads;
    const view = checkpoint.view((key) => /^attn\.(.*)/.exec(key)?.[1]);
    expect(reads).toBe(before);
    expect(view.keys()).toEqual(['query.weight', 'norm.weight']);
    expect([...(await view.read('norm.weight'))]).toEqual([2]);
  });
});

describe('shards', () => {
  const INDEX = 'model.safetensors.index.json';
  const shard1 = file({ a: f32([2]), b: f32([1], [5]) });
  const shard2 = file({ c: u8([3]) });
  const map = { a: 's1.safetensors', b: 's1.safetensors', c: 's2.safetensors' };
  const folder = (
    index: unknown,
    files: Record<string, Uint8Array> = { 's1.safetensors': shard1, 's2.safetensors': shard2 },
  ) =>
    filesDirectory(
      Object.fromEntries(
        Object.entries({ ...files, [INDEX]: typeof index === 'string' ? index : JSON.stringify(index) }).map(
          ([name, content]) => [name, new Blob([content as BlobPart])],
        ),
      ),
      'sharded',
    );

  test('one checkpoint of two files', async () => {
    const checkpoint = await openSharded(folder({ metadata: { total_size: 15 }, weight_map: map }), INDEX);
    expect(checkpoint.keys()).toEqual(['a', 'b', 'c']);
    expect([...(await checkpoint.read('b'))]).toEqual([5]);
    expect(checkpoint.info('c').file).toBe('sharded/s2.safetensors');
    const view = await openSharded(folder({ weight_map: map }), INDEX, { rename: (key) => `x.${key}` });
    expect([...(await view.read('x.c'))]).toEqual([0, 1, 2]);
  });

  test('a shard that is missing', async () => {
    const incomplete = folder({ weight_map: map }, { 's1.safetensors': shard1 });
    await expectError(openSharded(incomplete, INDEX), NotFoundError, /s2\.safetensors/, /holds c/, /add the missing/);
  });

  test.each([
    ['a key that no shard has', { ...map, d: 's2.safetensors' }, [/d in s2\.safetensors, got no such key/]],
    ['a key in another shard', { ...map, a: 's2.safetensors' }, [/a in s2\.safetensors, got it in sharded\/s1/]],
    ['a key that the index lacks', { a: map.a, c: map.c }, [/got b only in sharded\/s1/]],
    ['a shard outside the folder', { ...map, a: '../s1.safetensors' }, [/"\.\.\/s1\.safetensors"/]],
    ['an absolute shard', { ...map, a: '/etc/s1.safetensors' }, [/"\/etc\/s1\.safetensors"/]],
    ['a pickle shard', { ...map, a: 's1.bin' }, [/"s1\.bin"/]],
    ['a shard that is no string', { ...map, a: 3 }, [/got 3/]],
  ] as [string, Record<string, unknown>, RegExp[]][])('%s', async (_name, weightMap, patterns) => {
    await expectError(
      openSharded(folder({ weight_map: weightMap }), INDEX),
      FormatError,
      /sharded\/model/,
      ...patterns,
    );
  });

  test.each([
    ['not JSON', '{"weight_map":'],
    ['an array', '[]'],
    ['no weight_map', '{"metadata":{}}'],
    ['a weight_map that is an array', '{"weight_map":[]}'],
    ['a key twice', '{"weight_map":{"a":"s1.safetensors","a":"s2.safetensors"}}'],
  ])('an index that is %s', async (_name, text) => {
    await expectError(openSharded(folder(text), INDEX), FormatError, /sharded\/model/);
  });
});

describe('pieces', () => {
  const stored = { qkv: f32([6, 2]), bias: f32([6]), right: f32([2, 3]), tap: f32([2, 2, 1, 1]) };
  const split: Rename = (key) => {
    if (key === 'right') return { name: 'left', transposed: true };
    if (key === 'tap') return ['tap', { name: 'matrix', squeezed: true }];
    return ['q', 'k', 'v'].map((n, i) => ({ name: `${n}.${key}`, part: [i, 3] as const }));
  };

  test('parts of a matrix, a transposed one, one without its trailing ones', async () => {
    const checkpoint = await Checkpoint.open(source(file(stored)), { rename: split });
    expect(checkpoint.keys().sort()).toEqual(
      ['k.bias', 'k.qkv', 'left', 'matrix', 'q.bias', 'q.qkv', 'tap', 'v.bias', 'v.qkv'].sort(),
    );
    expect([...(await checkpoint.read('k.qkv'))]).toEqual([4, 5, 6, 7]);
    expect([...(await checkpoint.read('v.qkv', { rows: [1, 2] }))]).toEqual([10, 11]);
    expect([...(await checkpoint.read('q.bias'))]).toEqual([0, 1]);
    expect(checkpoint.info('v.qkv')).toMatchObject({ shape: [2, 2], bytes: 16, storedKey: 'qkv' });
    expect(checkpoint.info('matrix').shape).toEqual([2, 2]);
    expect(checkpoint.info('tap').shape).toEqual([2, 2, 1, 1]);
    expect(checkpoint.info('left').shape).toEqual([3, 2]);
    expect([...(await checkpoint.read('left', { checkFinite: true }))]).toEqual([0, 3, 1, 4, 2, 5]);
    expect([...(await checkpoint.read('left', { rows: [1, 3] }))]).toEqual([1, 4, 2, 5]);
    expect([...new Float32Array((await checkpoint.readRaw('left', { rows: [2, 3] })).buffer)]).toEqual([2, 5]);
    const { bits } = await checkpoint.readF16('left');
    expect([...bits]).toEqual([0, 0x4200, 0x3c00, 0x4400, 0x4000, 0x4500]);
    await expectError(checkpoint.read('left', { rows: [0, 4] }), InvalidArgumentError, /<= 3/);
  });

  test('a transposed matrix that is not finite', async () => {
    const checkpoint = await Checkpoint.open(source(file({ right: f32([2, 3], [0, 1, 2, 3, NaN, 5]) })), {
      rename: split,
    });
    await expectError(checkpoint.read('left', { checkFinite: true }), WeightError, /NaN at \[1,1\] of \[3,2\]/);
  });

  test('a piece that there is not', async () => {
    const odd = Checkpoint.open(source(file({ qkv: f32([4, 2]) })), { rename: split });
    await expectError(odd, WeightError, /qkv to be 3 equal parts for q\.qkv, got \[4,2\]/);
    const flat = Checkpoint.open(source(file({ right: f32([4]) })), { rename: split });
    await expectError(flat, WeightError, /right to be a matrix for left, got \[4\]/);
    const twice = Checkpoint.open(source(file({ qkv: f32([3]), bias: f32([3]) })), {
      rename: (key) => ({ name: 'one', part: [key === 'qkv' ? 0 : 1, 3] }),
    });
    await expectError(twice, WeightError, /one weight for one, got two/);
  });
});
