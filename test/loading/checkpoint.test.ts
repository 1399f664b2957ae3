import { describe, expect, test } from 'vitest';
import { AbortedError, FormatError, InvalidArgumentError, WeightError } from '../../src/engine/errors.ts';
import { Checkpoint } from '../../src/loading/checkpoint.ts';
import { decode, encodeF16 } from '../../src/loading/convert.ts';
import { DTYPE_BYTES, type Dtype } from '../../src/loading/dtype.ts';
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
