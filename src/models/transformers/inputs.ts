/** What callers pass to transformers, checked on the host before anything runs. */
import { formatShape, InvalidArgumentError, numel } from '../../engine/index.ts';
import { expectIds } from '../../kernels/index.ts';
import type { TensorInput } from '../modelRuntime.ts';

/** One value for the batch or one per item. @throws InvalidArgumentError for another number of them, or no number. */
export function perItem(where: string, name: string, value: number | readonly number[], batch: number): number[] {
  const values = typeof value === 'number' ? [value] : value;
  const all = values.length === 1 ? Array<number>(batch).fill(values[0]) : [...values];
  if (all.length !== batch) {
    throw new InvalidArgumentError(`${where}: expected one ${name} or ${batch}, got ${all.length}`);
  }
  return all;
}

/** Class ids per item, as embeddings read them. @throws InvalidArgumentError unless there are `batch` below `rows`. */
export function labelsOf(where: string, labels: readonly number[], batch: number, rows: number): Uint32Array {
  if (labels.length !== batch) {
    throw new InvalidArgumentError(`${where}: expected ${batch} class labels, one per sample, got ${labels.length}`);
  }
  expectIds(`${where}: class labels`, labels, rows);
  return Uint32Array.from(labels);
}

/**
 * A tensor's shape, of which `form` fixes some dimensions: `['B', 'T', 768]`.
 * @throws InvalidArgumentError when a fixed one differs, the rank does, or the data do not fill the shape.
 */
export function shapeOf(
  where: string,
  name: string,
  { data, shape }: TensorInput,
  form: readonly (string | number)[],
): readonly number[] {
  const whole = shape.length === form.length && shape.every((n) => Number.isInteger(n) && n > 0);
  const fits = whole && form.every((n, i) => typeof n === 'string' || n === shape[i]);
  if (fits && holds(data, shape)) return shape;
  const got = data instanceof Float32Array ? `${data.length} values` : 'buffers';
  throw new InvalidArgumentError(
    `${where}: expected ${name} of shape [${form.join(',')}] with as many f32 values, got ${formatShape(shape)} ` +
      `and ${got}`,
  );
}

function holds(data: TensorInput['data'], shape: readonly number[]): boolean {
  if (data instanceof Float32Array) return data.length === numel(shape);
  const parts = Array.isArray(data) ? (data as readonly GPUBuffer[]) : [data as GPUBuffer];
  return shape[0] % parts.length === 0 && parts.every((part) => part.size >= (4 * numel(shape)) / parts.length);
}

/** A value that is made once per key: tables that depend on sizes only. */
export class Cached<V> {
  private readonly values = new Map<string, V>();

  /** @param limit the oldest makes room beyond it */
  constructor(private readonly limit = 4) {}

  get(key: string, make: () => V): V {
    let value = this.values.get(key);
    if (value === undefined) {
      value = make();
      this.values.set(key, value);
      if (this.values.size > this.limit) this.values.delete(this.values.keys().next().value!);
    }
    return value;
  }
}
