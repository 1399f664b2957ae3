import { FormatError, UnsupportedError } from '../engine/errors.ts';
import { DTYPE_BYTES, isDtype, isForeignDtype, type Dtype } from './dtype.ts';
import { brief, decodeUtf8, isObject, kindOf, parseJsonObject } from './json.ts';
import type { ByteSource } from './source.ts';

/** Where a tensor lies: `start` and `end` are byte offsets in the file, not in its data section. */
export interface TensorEntry {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly start: number;
  readonly end: number;
}

/** The header of a safetensors file. */
export interface SafetensorsHeader {
  /** In the order of the data. */
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  /** The strings of `__metadata__`; empty without it. */
  readonly metadata: ReadonlyMap<string, string>;
}

/** The bound of the format's own implementation; a longer header is an attack or not a header. */
const MAX_HEADER = 100_000_000;

const PICKLE_ADVICE =
  'pickles can run code and are refused; convert it to safetensors (in Python: ' +
  'safetensors.torch.save_file(state_dict, path))';

/** First bytes of files that are often offered in place of a safetensors file. */
const LOOKALIKES: readonly (readonly [string, string])[] = [
  ['PK\x03\x04', `a zip archive, as PyTorch writes .pt, .bin and .ckpt files: ${PICKLE_ADVICE}`],
  ['\x80\x02', `a Python pickle: ${PICKLE_ADVICE}`],
  ['GGUF', 'a GGUF file; take the safetensors form of the model'],
  ['version https://git-lfs', 'a Git LFS pointer and not the file itself; run `git lfs pull` in the folder'],
  ['<!', 'an HTML page; the address leads to a web page, not to the file'],
  ['<html', 'an HTML page; the address leads to a web page, not to the file'],
];

/**
 * Reads and checks the header of a safetensors file; no tensor data is read.
 * @throws FormatError when the file is not exactly what the format says: header length, UTF-8, JSON, keys, offsets,
 * shapes and sizes are all checked, and the tensors must cover the file without hole, overlap or rest
 * @throws UnsupportedError for eight-bit and smaller floats and complex numbers
 */
export async function readHeader(source: ByteSource, signal?: AbortSignal): Promise<SafetensorsHeader> {
  const where = `safetensors ${source.name}`;
  const size = await source.size(signal);
  const prefix = await source.read(0, Math.min(size, 32), signal);
  refuseLookalikes(prefix, where);
  if (size < 8) {
    throw new FormatError(`${where}: expected at least 8 bytes, got ${size}; the file is empty or truncated`);
  }
  const view = new DataView(prefix.buffer, prefix.byteOffset, prefix.byteLength);
  const length = Number(view.getBigUint64(0, true));
  if (length > MAX_HEADER) {
    throw new FormatError(
      `${where}: expected a header of at most ${MAX_HEADER} bytes, got ${length}; this is not a safetensors file`,
    );
  }
  if (8 + length > size) {
    throw new FormatError(
      `${where}: expected a header of ${length} bytes, got a file of ${size}; it is truncated or not a safetensors file`,
    );
  }
  const header = await source.read(8, 8 + length, signal);
  if (header[0] !== 0x7b) {
    throw new FormatError(
      `${where}: expected the header to begin with '{', got ${length === 0 ? 'nothing' : `byte ${header[0]}`}; ` +
        'this is not a safetensors file',
    );
  }
  const json = parseJsonObject(decodeUtf8(header, `${where} header`), `${where} header`);
  const metadata = readMetadata(json['__metadata__'], where);
  const tensors: [string, TensorEntry][] = [];
  for (const [name, raw] of Object.entries(json)) {
    if (name !== '__metadata__') tensors.push([name, readEntry(name, raw, 8 + length, where)]);
  }
  tensors.sort(([, a], [, b]) => a.start - b.start || a.end - b.end);
  checkCover(tensors, 8 + length, size, where);
  return { tensors: new Map(tensors), metadata };
}

/** Bytes of a tensor of this type and shape; NaN when that is no safe integer. */
export function byteLength(dtype: Dtype, shape: readonly number[]): number {
  // One zero makes the tensor empty, however large the other dimensions are.
  if (shape.includes(0)) return 0;
  let bytes: number = DTYPE_BYTES[dtype];
  for (const n of shape) bytes *= n;
  return Number.isSafeInteger(bytes) ? bytes : NaN;
}

function refuseLookalikes(prefix: Uint8Array, where: string): void {
  // The upper half of a true header length is zero, so a real file is never mistaken for one of these.
  if (prefix.length < 8 || prefix.subarray(4, 8).every((byte) => byte === 0)) return;
  const text = String.fromCharCode(...prefix);
  for (const [magic, what] of LOOKALIKES) {
    if (text.startsWith(magic)) throw new FormatError(`${where}: expected a safetensors file, got ${what}`);
  }
}

function readMetadata(raw: unknown, where: string): Map<string, string> {
  const metadata = new Map<string, string>();
  if (raw === undefined) return metadata;
  if (!isObject(raw)) {
    throw new FormatError(`${where}: expected __metadata__ to be an object, got ${kindOf(raw)}; the file is damaged`);
  }
  for (const [key, value] of Object.entries(raw)) {
    if (typeof value !== 'string') {
      throw new FormatError(
        `${where}: expected __metadata__ ${JSON.stringify(key)} to be a string, got ${kindOf(value)}; ` +
          'the file is damaged',
      );
    }
    metadata.set(key, value);
  }
  return metadata;
}

function readEntry(name: string, raw: unknown, dataStart: number, where: string): TensorEntry {
  const fail = (field: string, expected: string, got: unknown): never => {
    throw new FormatError(
      `${where}: expected ${field} of tensor ${JSON.stringify(name)} to be ${expected}, got ${brief(got)}; ` +
        'the file is damaged or was not written by a safetensors library',
    );
  };
  if (!isObject(raw)) return fail('the entry', 'an object', raw);
  const { dtype, shape, data_offsets: offsets } = raw;
  const extra = Object.keys(raw).find((key) => key !== 'dtype' && key !== 'shape' && key !== 'data_offsets');
  if (extra !== undefined) return fail('the fields', 'dtype, shape and data_offsets', extra);
  if (typeof dtype !== 'string') return fail('dtype', 'a string', dtype);
  if (isForeignDtype(dtype)) {
    throw new UnsupportedError(
      `${where}: expected floats of 16 bits or more, or integers, got ${dtype} in tensor ${JSON.stringify(name)}; ` +
        'take the F16, BF16 or F32 form of the checkpoint',
    );
  }
  if (!isDtype(dtype)) return fail('dtype', `one of ${Object.keys(DTYPE_BYTES).join(' ')}`, dtype);
  if (!isCounts(shape)) return fail('shape', 'an array of non-negative integers', shape);
  if (!isCounts(offsets) || offsets.length !== 2 || offsets[0] > offsets[1]) {
    return fail('data_offsets', 'two integers 0 <= begin <= end', offsets);
  }
  const bytes = byteLength(dtype, shape);
  const [begin, end] = offsets;
  if (bytes !== end - begin) {
    const want = Number.isNaN(bytes) ? 'more bytes than a file can have' : `${bytes} bytes`;
    throw new FormatError(
      `${where}: expected ${want} for tensor ${JSON.stringify(name)} (${dtype} [${shape.join(',')}]), ` +
        `got ${end - begin} (offsets ${begin}..${end}); the file is damaged`,
    );
  }
  return { dtype, shape, start: dataStart + begin, end: dataStart + end };
}

/** The tensors, sorted by offset, must follow each other without hole or overlap to the last byte of the file. */
function checkCover(tensors: readonly [string, TensorEntry][], dataStart: number, size: number, where: string): void {
  let position = dataStart;
  let before = 'the header';
  for (const [name, { start, end }] of tensors) {
    if (start !== position) {
      const how = start < position ? 'an overlap' : 'a hole';
      throw new FormatError(
        `${where}: expected tensor ${JSON.stringify(name)} at byte ${position - dataStart} of the data, right after ` +
          `${before}, got ${start - dataStart}: ${how} of ${Math.abs(start - position)} bytes; the file is damaged`,
      );
    }
    position = end;
    before = `tensor ${JSON.stringify(name)}`;
  }
  if (position === size) return;
  const problem = position > size ? 'truncated: download or copy it again' : 'longer than its header says: damaged';
  throw new FormatError(
    `${where}: expected a file of ${position} bytes (up to the end of ${before}), got ${size}; it is ${problem}`,
  );
}

function isCounts(value: unknown): value is number[] {
  // Minus zero passes JSON.parse as -0 and would print oddly; it is still zero.
  return Array.isArray(value) && value.every((n) => Number.isSafeInteger(n) && n >= 0);
}
