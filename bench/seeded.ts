/**
 * Seeded values by name: the same weights and inputs wherever they are made, in a page, in Node or in Python
 * (peers/seeded.py), without a file. One table of normals serves all; a name says where in it to begin.
 */
import type { WeightSource } from '../src/engine/index.ts';
import { normals, roundTo } from '../test/support/random.ts';

/** Prime, so that no row or channel sees the same values as the next. */
const PERIOD = 65537;
const SEED = 1;

let table: Float32Array | undefined;

/** Where a name begins in the table: FNV-1a of its letters. */
export function offsetOf(name: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193) >>> 0;
  return hash % PERIOD;
}

/** `n` values of mean and standard deviation as given, f32; `half`: such as a half can hold. */
export function seededValues(
  name: string,
  n: number,
  { mean = 0, std = 1, half = false }: { mean?: number; std?: number; half?: boolean } = {},
): Float32Array {
  table ??= normals(SEED, PERIOD);
  const offset = offsetOf(name);
  const first = Float32Array.from(
    { length: Math.min(n, PERIOD) },
    (_, i) => mean + std * table![(offset + i) % PERIOD],
  );
  const few = half ? roundTo('f16', first) : first;
  const all = new Float32Array(n);
  for (let at = 0; at < n; at += few.length) all.set(few.subarray(0, n - at), at);
  return all;
}

/**
 * A weight: normals that keep the size of what passes through, about 1 for the scale of a norm; what a half can hold.
 */
export function seededWeight(key: string, shape: readonly number[]): Float32Array {
  const fanIn = shape.slice(1).reduce((a, b) => a * b, 1);
  const isScale = shape.length === 1 && key.endsWith('weight');
  const form = shape.length > 1 ? { std: 1 / Math.sqrt(fanIn) } : isScale ? { mean: 1, std: 0.1 } : { std: 0.1 };
  return seededValues(key, shape[0] * fanIn, { ...form, half: true });
}

/** All weights of a model, made once and kept in memory, so that loading them times no generator. */
export function seededWeights(wanted: ReadonlyMap<string, readonly number[]>): WeightSource & { prepare(): void } {
  const made = new Map<string, Float32Array>();
  const get = (key: string) => {
    let data = made.get(key);
    if (!data) made.set(key, (data = seededWeight(key, wanted.get(key)!)));
    return data;
  };
  return {
    name: 'seeded weights',
    keys: () => wanted.keys(),
    info: (key) => (wanted.has(key) ? { dtype: 'F16', shape: wanted.get(key)! } : undefined),
    prepare: () => [...wanted.keys()].forEach(get),
    async read(key, { rows } = {}) {
      const data = get(key);
      const width = data.length / wanted.get(key)![0];
      return rows ? data.subarray(rows[0] * width, rows[1] * width) : data;
    },
  };
}
