/** Seeded test data. A failure prints its seed, so every case can be run again alone. */
import { fromHalf, toHalf } from '../../src/engine/half.ts';

/** Uniform numbers in [0, 1) (mulberry32). */
export function uniform(seed: number): () => number {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = Math.imul(a ^ (a >>> 15), a | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** `n` normals of standard deviation `std` around `mean`, rounded to what the storage can hold. */
export function normals(seed: number, n: number, { mean = 0, std = 1 } = {}): Float32Array {
  const u = uniform(seed);
  return Float32Array.from({ length: n }, () => {
    const r = Math.sqrt(-2 * Math.log(1 - u()));
    return mean + std * r * Math.cos(2 * Math.PI * u());
  });
}

/** One of a list. */
export function pick<T>(u: () => number, list: readonly T[]): T {
  return list[Math.floor(u() * list.length)];
}

/**
 * Combinations of the factors in which every pair of values of two factors occurs at least once; the full product with
 * DAGUERRE_FULL=1. Greedy, seeded, so the choice is the same on every machine.
 */
export function pairwise<F extends Record<string, readonly unknown[]>>(
  factors: F,
  seed = 1,
): { [K in keyof F]: F[K][number] }[] {
  type Row = { [K in keyof F]: F[K][number] };
  const names = Object.keys(factors) as (keyof F & string)[];
  if (!['', '0'].includes(process.env.DAGUERRE_FULL ?? '')) {
    let rows: Record<string, unknown>[] = [{}];
    for (const n of names) rows = rows.flatMap((r) => factors[n].map((v) => ({ ...r, [n]: v })));
    return rows as Row[];
  }
  const u = uniform(seed);
  const open = new Set<string>();
  const pair = (i: number, x: number, j: number, y: number) => `${i}:${x},${j}:${y}`;
  const sizes = names.map((n) => factors[n].length);
  for (let i = 0; i < names.length; i++)
    for (let j = i + 1; j < names.length; j++)
      for (let x = 0; x < sizes[i]; x++) for (let y = 0; y < sizes[j]; y++) open.add(pair(i, x, j, y));
  const rows: Row[] = [];
  do {
    let best: number[] = [];
    let bestGain = -1;
    for (let attempt = 0; attempt < 30; attempt++) {
      const row = sizes.map((s) => Math.floor(u() * s));
      let gain = 0;
      for (let i = 0; i < row.length; i++)
        for (let j = i + 1; j < row.length; j++) if (open.has(pair(i, row[i], j, row[j]))) gain++;
      if (gain > bestGain) [best, bestGain] = [row, gain];
    }
    if (bestGain === 0 && open.size) {
      // Random rows no longer hit what is left: build one from an open pair.
      const [[i, x], [j, y]] = [...open][0].split(',').map((s) => s.split(':').map(Number));
      best = sizes.map((s) => Math.floor(u() * s));
      best[i] = x;
      best[j] = y;
    }
    for (let i = 0; i < best.length; i++)
      for (let j = i + 1; j < best.length; j++) open.delete(pair(i, best[i], j, best[j]));
    rows.push(Object.fromEntries(names.map((n, i) => [n, factors[n][best[i]]])) as Row);
  } while (open.size);
  return rows;
}

/** Values as the storage holds them, so that a test measures the kernel and not the rounding of its input. */
export function roundTo(dtype: 'f32' | 'f16', data: Float32Array): Float32Array {
  return dtype === 'f32' ? data : fromHalf(toHalf(data));
}
