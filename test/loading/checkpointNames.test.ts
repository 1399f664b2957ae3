/** Weights under other names, in several files, and cut out of what is stored. */
import { describe, expect, test } from 'vitest';
import { FormatError, InvalidArgumentError, NotFoundError, WeightError } from '../../src/engine/errors.ts';
import { Checkpoint } from '../../src/loading/checkpoint.ts';
import { filesDirectory } from '../../src/loading/directory.ts';
import type { Rename } from '../../src/loading/rename.ts';
import { openSharded } from '../../src/loading/shardedCheckpoint.ts';
import type { ByteSource } from '../../src/loading/source.ts';
import { expectError, f32, file, source, u8 } from './files.ts';

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
