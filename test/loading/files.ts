/** Safetensors files made in memory, good and bad. */
import { expect } from 'vitest';
import type { DaguerreError } from '../../src/engine/errors.ts';
import { DTYPE_BYTES, type Dtype } from '../../src/loading/dtype.ts';
import { MemorySource } from '../../src/loading/source.ts';

export interface Tensor {
  dtype: Dtype;
  shape: number[];
  bytes: Uint8Array;
}

/** The bytes of a file: header length, header text as it is given, data. */
export function rawFile(
  header: string | Uint8Array,
  data: Uint8Array = new Uint8Array(0),
  length?: bigint,
): Uint8Array {
  const text = typeof header === 'string' ? new TextEncoder().encode(header) : header;
  const out = new Uint8Array(8 + text.length + data.length);
  new DataView(out.buffer).setBigUint64(0, length ?? BigInt(text.length), true);
  out.set(text, 8);
  out.set(data, 8 + text.length);
  return out;
}

/** A correct file of these tensors, in their order. */
export function file(tensors: Record<string, Tensor>, metadata?: Record<string, string>): Uint8Array {
  const header: Record<string, unknown> = metadata ? { __metadata__: metadata } : {};
  const data: number[] = [];
  for (const [name, { dtype, shape, bytes }] of Object.entries(tensors)) {
    header[name] = { dtype, shape, data_offsets: [data.length, data.length + bytes.length] };
    for (const byte of bytes) data.push(byte);
  }
  return rawFile(JSON.stringify(header), Uint8Array.from(data));
}

export function f32(shape: number[], values: ArrayLike<number> = ramp(shape)): Tensor {
  return { dtype: 'F32', shape, bytes: new Uint8Array(Float32Array.from(values).buffer) };
}

export function u8(shape: number[], values: ArrayLike<number> = ramp(shape)): Tensor {
  return { dtype: 'U8', shape, bytes: Uint8Array.from(values) };
}

/** Zeros of any type. */
export function zeros(dtype: Dtype, shape: number[]): Tensor {
  return { dtype, shape, bytes: new Uint8Array(DTYPE_BYTES[dtype] * count(shape)) };
}

export function ramp(shape: number[]): number[] {
  return Array.from({ length: count(shape) }, (_, i) => i);
}

export function count(shape: readonly number[]): number {
  return shape.reduce((a, b) => a * b, 1);
}

export function source(bytes: Uint8Array, name = 'test.safetensors'): MemorySource {
  return new MemorySource(bytes, name);
}

/** The promise (or function) must fail with exactly this class, and the message must match every pattern. */
export async function expectError<E extends DaguerreError>(
  what: Promise<unknown> | (() => unknown),
  type: abstract new (...args: never[]) => E,
  ...patterns: RegExp[]
): Promise<E> {
  let error: unknown;
  try {
    await (typeof what === 'function' ? what() : what);
  } catch (caught) {
    error = caught;
  }
  expect(error, 'expected an error').toBeDefined();
  expect((error as Error).constructor.name, String(error)).toBe(type.name);
  for (const pattern of patterns) expect((error as Error).message).toMatch(pattern);
  // Every message says what was expected, what came, and what to do.
  expect((error as Error).message).toMatch(/expected .* got .*; |aborted by the caller/s);
  return error as E;
}
