import { describe, expect, test } from 'vitest';
import { DaguerreError, FormatError, UnsupportedError } from '../../src/engine/errors.ts';
import { DTYPE_BYTES, type Dtype } from '../../src/loading/dtype.ts';
import { duplicateKey } from '../../src/loading/json.ts';
import { byteLength, readHeader } from '../../src/loading/safetensors.ts';
import { pick, uniform } from '../support/random.ts';
import { count, expectError, f32, file, rawFile, source, u8, zeros, type Tensor } from './files.ts';

const bytes = (n: number): Uint8Array => new Uint8Array(n);
const read = (data: Uint8Array) => readHeader(source(data));
const entry = (dtype: unknown, shape: unknown, offsets: unknown): string =>
  JSON.stringify({ dtype, shape, data_offsets: offsets });

describe('good files', () => {
  test('every type, scalars, empty tensors and metadata', async () => {
    const tensors: Record<string, Tensor> = { scalar: f32([], [3]), empty: zeros('F16', [0, 7]) };
    for (const dtype of Object.keys(DTYPE_BYTES) as Dtype[]) tensors[dtype] = zeros(dtype, [2, 3]);
    const header = await read(file(tensors, { format: 'pt' }));
    expect([...header.metadata]).toEqual([['format', 'pt']]);
    expect(header.tensors.size).toBe(Object.keys(tensors).length);
    for (const [name, tensor] of Object.entries(tensors)) {
      const got = header.tensors.get(name)!;
      expect(got).toMatchObject({ dtype: tensor.dtype, shape: tensor.shape });
      expect(got.end - got.start).toBe(tensor.bytes.length);
    }
  });

  test('no tensors at all; trailing spaces; the order of the data', async () => {
    expect((await read(rawFile('{}  '))).tensors.size).toBe(0);
    const text = `{"b":${entry('U8', [2], [1, 3])},"a":${entry('U8', [1], [0, 1])}}    `;
    const header = await read(rawFile(text, bytes(3)));
    expect([...header.tensors.keys()]).toEqual(['a', 'b']);
    expect(header.tensors.get('a')!.start).toBe(8 + text.length);
  });

  test('an empty tensor lies where its neighbour begins, in whatever order they are named', async () => {
    const text = `{"a":${entry('U8', [4], [0, 4])},"e":${entry('U8', [0], [0, 0])}}`;
    expect([...(await read(rawFile(text, bytes(4)))).tensors.keys()]).toEqual(['e', 'a']);
  });

  test('keys that objects treat specially stay keys', async () => {
    const text = `{"__proto__":${entry('U8', [1], [0, 1])},"constructor":${entry('U8', [1], [1, 2])}}`;
    const { tensors } = await read(rawFile(text, bytes(2)));
    expect([...tensors.keys()]).toEqual(['__proto__', 'constructor']);
  });

  test('a header as long as a pickle marker or a zip marker would read is still a header', async () => {
    // 0x0280 bytes: the first two bytes of the file are those of a Python pickle.
    const good = rawFile('{}'.padEnd(0x280, ' '));
    expect([good[0], good[1]]).toEqual([0x80, 0x02]);
    expect((await read(good)).tensors.size).toBe(0);
  });
});

describe('bad files', () => {
  const cases: [string, Uint8Array, RegExp[]][] = [
    ['empty', bytes(0), [/at least 8 bytes, got 0/]],
    ['shorter than the length field', bytes(5), [/at least 8 bytes, got 5/]],
    ['header longer than the file', rawFile('{}', bytes(0), 100n), [/header of 100 bytes, got a file of 10/]],
    ['header beyond the bound', rawFile('{}', bytes(0), 100_000_001n), [/at most 100000000 bytes, got 100000001/]],
    ['header length of 2^64 - 1', rawFile('{}', bytes(0), 2n ** 64n - 1n), [/at most 100000000/]],
    ['empty header', rawFile(''), [/begin with '\{', got nothing/]],
    ['header with leading space', rawFile(' {}'), [/begin with '\{', got byte 32/]],
    ['header that is an array', rawFile('[]'), [/begin with '\{'/]],
    ['header that is not JSON', rawFile('{"a":'), [/expected JSON/]],
    ['header padded with zero bytes', rawFile('{}\0\0'), [/expected JSON/]],
    ['header that is not UTF-8', rawFile(Uint8Array.of(0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d)), [/UTF-8/]],
    ['metadata that is no object', rawFile('{"__metadata__":[]}'), [/__metadata__ to be an object, got an array/]],
    ['metadata that is no string', rawFile('{"__metadata__":{"a":1}}'), [/__metadata__ "a" to be a string/]],
    ['entry that is no object', rawFile('{"w":[1]}'), [/the entry of tensor "w"/]],
    [
      'entry with another field',
      rawFile('{"w":{"dtype":"U8","shape":[],"data_offsets":[0,1],"scale":2}}', bytes(1)),
      [/"scale"/],
    ],
    ['no dtype', rawFile('{"w":{"shape":[1],"data_offsets":[0,1]}}', bytes(1)), [/dtype of tensor "w"/]],
    ['unknown dtype', rawFile(`{"w":${entry('F31', [1], [0, 4])}}`, bytes(4)), [/one of F64 F32/, /"F31"/]],
    ['dtype of an object method', rawFile(`{"w":${entry('toString', [1], [0, 4])}}`, bytes(4)), [/"toString"/]],
    ['negative dimension', rawFile(`{"w":${entry('U8', [-1], [0, 1])}}`, bytes(1)), [/shape of tensor "w"/]],
    ['fractional dimension', rawFile(`{"w":${entry('U8', [1.5], [0, 1])}}`, bytes(1)), [/shape of tensor "w"/]],
    ['shape that is a number', rawFile(`{"w":${entry('U8', 1, [0, 1])}}`, bytes(1)), [/shape of tensor "w"/]],
    [
      'dimension beyond 2^53',
      rawFile('{"w":{"dtype":"U8","shape":[9007199254740993],"data_offsets":[0,1]}}'),
      [/shape of tensor "w"/],
    ],
    ['three offsets', rawFile(`{"w":${entry('U8', [1], [0, 1, 2])}}`, bytes(1)), [/data_offsets of tensor "w"/]],
    ['offsets backwards', rawFile(`{"w":${entry('U8', [1], [1, 0])}}`, bytes(1)), [/data_offsets of tensor "w"/]],
    [
      'shape that does not multiply out',
      rawFile(`{"w":${entry('F32', [2, 3], [0, 20])}}`, bytes(20)),
      [/24 bytes for tensor "w" \(F32 \[2,3\]\), got 20/],
    ],
    [
      'shape whose product overflows',
      rawFile(`{"w":${entry('F32', [2 ** 40, 2 ** 40], [0, 4])}}`, bytes(4)),
      [/more bytes than a file can have/],
    ],
    [
      'overlapping tensors',
      rawFile(`{"a":${entry('U8', [4], [0, 4])},"b":${entry('U8', [4], [2, 6])}}`, bytes(6)),
      [/tensor "b" at byte 4 .* right after tensor "a", got 2: an overlap of 2 bytes/],
    ],
    [
      'hole between tensors',
      rawFile(`{"a":${entry('U8', [4], [0, 4])},"b":${entry('U8', [4], [6, 10])}}`, bytes(10)),
      [/tensor "b" at byte 4 .*: a hole of 2 bytes/],
    ],
    [
      'hole before the first',
      rawFile(`{"a":${entry('U8', [4], [1, 5])}}`, bytes(5)),
      [/after the header.* a hole of 1/],
    ],
    ['truncated', file({ a: u8([4]), b: f32([2]) }).slice(0, -3), [/end of tensor "b"\), got .*truncated/]],
    ['oversized', Uint8Array.of(...file({ a: u8([4]) }), 0), [/longer than its header says/]],
    ['data without tensors', rawFile('{}', bytes(4)), [/expected a file of 10 bytes \(up to the end of the header\)/]],
    [
      'duplicate tensor',
      rawFile(`{"w":${entry('U8', [1], [0, 1])},"w":${entry('U8', [1], [0, 1])}}`, bytes(1)),
      [/"w" twice/],
    ],
    ['duplicate key written with an escape', rawFile('{"w":1,"\\u0077":2}'), [/"w" twice/]],
    [
      'duplicate field of an entry',
      rawFile('{"w":{"dtype":"U8","dtype":"I8","shape":[],"data_offsets":[0,1]}}'),
      [/"dtype" twice/],
    ],
    ['duplicate metadata', rawFile('{"__metadata__":{"a":"1","a":"2"}}'), [/"a" twice/]],
    ['PyTorch zip', Uint8Array.from('PK\x03\x04\0\0\x08\x08archive/data.pkl...', (c) => c.charCodeAt(0)), [/pickles/]],
    ['old pickle', Uint8Array.from('\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.', (c) => c.charCodeAt(0)), [/pickle/]],
    ['Git LFS pointer', new TextEncoder().encode('version https://git-lfs.github.com/spec/v1\noid sha256:0'), [/LFS/]],
    ['web page', new TextEncoder().encode('<!doctype html><title>Sign in</title>'), [/HTML/]],
  ];
  test.each(cases)('%s', async (_name, data, patterns) => {
    await expectError(read(data), FormatError, /test\.safetensors/, ...patterns);
  });

  test.each(['F8_E4M3', 'F8_E5M2', 'F4', 'C64'])('%s is said to be unsupported', async (dtype) => {
    const data = rawFile(`{"w":${entry(dtype, [1], [0, 1])}}`, bytes(1));
    await expectError(read(data), UnsupportedError, new RegExp(dtype), /tensor "w"/);
  });
});

test('byteLength', () => {
  expect(byteLength('F16', [])).toBe(2);
  expect(byteLength('F64', [3, 5])).toBe(120);
  expect(byteLength('F32', [...Array<number>(30).fill(2 ** 50), 0])).toBe(0);
  expect(byteLength('F32', [2 ** 40, 2 ** 40])).toBeNaN();
});

test('duplicateKey looks at keys of one object only', () => {
  expect(duplicateKey('{"a":{"a":"a"},"b":["a","a",{"a":1}],"c":"a\\":","d":"\\\\"}')).toBeUndefined();
  expect(duplicateKey('[{"a":1},{"a":1}]')).toBeUndefined();
  expect(duplicateKey('{"a":{"x":1},"b":{"x":1,"x"  :2}}')).toBe('x');
  expect(duplicateKey('{"":1,"":2}')).toBe('');
  expect(duplicateKey('[['.repeat(20_000) + '{"k":1,"k":1}')).toBe('k');
});

/** A valid file of random tensors. */
function randomFile(seed: number): Uint8Array {
  const u = uniform(seed);
  const tensors: Record<string, Tensor> = {};
  for (let i = 0; i < 1 + Math.floor(u() * 4); i++) {
    const shape = Array.from({ length: Math.floor(u() * 4) }, () => Math.floor(u() * 4));
    tensors[`t${i}.${pick(u, ['weight', 'bias', 'é', 'a"b'])}`] = zeros(
      pick(u, Object.keys(DTYPE_BYTES) as Dtype[]),
      shape,
    );
  }
  return file(tensors, u() < 0.5 ? { format: 'pt' } : undefined);
}

/** One to four random changes: a byte flipped, inserted, removed, a run copied, the end cut or extended. */
function mutate(data: Uint8Array, u: () => number): Uint8Array {
  let out = [...data];
  const at = (): number => Math.floor(u() * out.length);
  for (let i = 0; i < 1 + Math.floor(u() * 4); i++) {
    const where = at();
    const change = Math.floor(u() * 6);
    if (change === 0) out[where] ^= 1 << Math.floor(u() * 8);
    else if (change === 1)
      out.splice(
        where,
        0,
        pick(
          u,
          [...'0123456789-.,:[]{}"\\eE \0'].map((c) => c.charCodeAt(0)),
        ),
      );
    else if (change === 2) out.splice(where, 1 + Math.floor(u() * 3));
    else if (change === 3) out.splice(at(), 0, ...out.slice(where, where + Math.floor(u() * 40)));
    else if (change === 4) out = out.slice(0, where);
    else out.push(...Array.from({ length: Math.floor(u() * 9) }, () => Math.floor(u() * 256)));
    // Most changes move the header's end; half of the time the length field follows, so that they reach the parser.
    if (change >= 1 && change <= 3 && u() < 0.5 && out.length >= 8) {
      const view = new DataView(Uint8Array.from(out.slice(0, 8)).buffer);
      view.setBigUint64(
        0,
        BigInt(Math.max(0, Number(view.getBigUint64(0, true) % 2n ** 40n) + out.length - data.length)),
        true,
      );
      new Uint8Array(view.buffer).forEach((byte, j) => (out[j] = byte));
    }
  }
  return Uint8Array.from(out);
}

test('a damaged file is either refused with a typed error or still covers itself exactly', async () => {
  let refused = 0;
  let accepted = 0;
  for (let seed = 0; seed < 4000; seed++) {
    const data = mutate(randomFile(seed % 50), uniform(seed + 1000));
    try {
      const { tensors } = await read(data);
      accepted++;
      let position = 8 + Number(new DataView(data.buffer).getBigUint64(0, true));
      for (const [name, { dtype, shape, start, end }] of tensors) {
        const info = `seed ${seed}, tensor ${name}`;
        expect(start, info).toBe(position);
        expect(end - start, info).toBe(DTYPE_BYTES[dtype] * count(shape));
        position = end;
      }
      expect(position, `seed ${seed}`).toBe(data.length);
    } catch (error) {
      refused++;
      if (!(error instanceof DaguerreError)) throw new Error(`seed ${seed}`, { cause: error });
    }
  }
  expect(refused).toBeGreaterThan(accepted);
  expect(accepted).toBeGreaterThan(0);
});
