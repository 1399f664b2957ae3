/**
 * Memory planning. Lifetimes are known before anything runs, so every transient tensor gets a fixed place: an arena and an
 * offset. WebGPU forbids a buffer to be read and written in one dispatch, so what a dispatch writes lies in another arena
 * than what it reads.
 */
import { LimitError } from './errors.ts';
import { byteSize, formatShape, rootOf, type Tensor } from './graph.ts';
import type { Dispatch } from './lower.ts';
import type { Limits } from './device.ts';

/** Where a tensor lies. */
export interface Placement {
  arena: number;
  /** Bytes from the start of the arena. */
  offset: number;
}

/** A place for every transient tensor, by the id of the tensor. */
export interface MemoryPlan {
  places: ReadonlyMap<number, Placement>;
  /** Bytes of each arena. */
  arenas: readonly number[];
  /** Bytes of all arenas together. */
  peakBytes: number;
  /** The largest sum of transient bytes alive at one dispatch: no plan can be smaller. */
  liveBytes: number;
}

interface Interval {
  tensor: Tensor;
  size: number;
  first: number;
  last: number;
  /** Intervals that some dispatch reads where it writes this one, or the reverse. */
  conflicts: Set<Interval>;
}

/**
 * Places every tensor that `dispatches` write and that is not in `pinned`.
 * @throws LimitError when a single tensor does not fit a buffer.
 */
export function planMemory(dispatches: readonly Dispatch[], pinned: ReadonlySet<number>, limits: Limits): MemoryPlan {
  const intervals = findIntervals(dispatches, pinned, limits.minStorageBufferOffsetAlignment);
  let liveBytes = 0;
  for (let i = 0; i < dispatches.length; i++) {
    let live = 0;
    for (const v of intervals) if (v.first <= i && i <= v.last) live += v.size;
    liveBytes = Math.max(liveBytes, live);
  }
  const tooLarge = intervals.find((v) => v.size > limits.maxBufferSize);
  if (tooLarge) {
    throw new LimitError(
      `plan: ${tooLarge.tensor.label} ${formatShape(tooLarge.tensor.shape)} takes ${tooLarge.size} bytes, ` +
        `a buffer holds ${limits.maxBufferSize}; use a smaller size or dtype: 'f16'`,
    );
  }
  let best: MemoryPlan | undefined;
  for (const order of ORDERS) {
    const plan = place([...intervals].sort(order), limits.maxBufferSize);
    if (!best || plan.peakBytes < best.peakBytes) best = { ...plan, liveBytes };
    if (best.peakBytes <= liveBytes) break;
  }
  return best!;
}

/** Orders worth trying: none is best for every graph, and each costs a millisecond. */
const ORDERS: ((a: Interval, b: Interval) => number)[] = [
  (a, b) => b.size - a.size || a.first - b.first,
  (a, b) => b.size * (b.last - b.first + 1) - a.size * (a.last - a.first + 1) || a.first - b.first,
  (a, b) => a.first - b.first || b.size - a.size,
  (a, b) => b.last - b.first - (a.last - a.first) || b.size - a.size,
];

function findIntervals(dispatches: readonly Dispatch[], pinned: ReadonlySet<number>, align: number): Interval[] {
  const found = new Map<number, Interval>();
  dispatches.forEach((dispatch, i) => {
    const read = new Set<Interval>();
    const written = new Set<Interval>();
    for (const binding of dispatch.kernel.shader.bindings) {
      const bound = dispatch.bindings[binding.name];
      if (!bound) continue;
      const tensor = rootOf(bound);
      if (pinned.has(tensor.id)) continue;
      let v = found.get(tensor.id);
      if (!v) {
        const size = Math.ceil(byteSize(tensor) / align) * align;
        found.set(tensor.id, (v = { tensor, size, first: i, last: i, conflicts: new Set() }));
      }
      v.last = i;
      (binding.access === 'write' ? written : read).add(v);
    }
    for (const w of written) {
      for (const r of read) {
        w.conflicts.add(r);
        r.conflicts.add(w);
      }
    }
  });
  return [...found.values()];
}

/** First fit at the lowest offset, in the arena that grows least. */
function place(intervals: readonly Interval[], maxBufferSize: number): Omit<MemoryPlan, 'liveBytes'> {
  const arenas: { size: number; placed: (Interval & Placement)[] }[] = [];
  const places = new Map<number, Placement>();
  const arenaOf = new Map<Interval, number>();
  for (const v of intervals) {
    let choice: (Placement & { growth: number }) | undefined;
    for (let arena = 0; arena <= arenas.length; arena++) {
      if ([...v.conflicts].some((c) => arenaOf.get(c) === arena)) continue;
      const { size, placed } = arenas[arena] ?? { size: 0, placed: [] };
      const offset = lowestOffset(v, placed);
      if (offset + v.size > maxBufferSize) continue;
      const growth = Math.max(0, offset + v.size - size);
      if (!choice || growth < choice.growth) choice = { arena, offset, growth };
    }
    const { arena, offset } = choice!;
    arenas[arena] ??= { size: 0, placed: [] };
    arenas[arena].size = Math.max(arenas[arena].size, offset + v.size);
    arenas[arena].placed.push({ ...v, arena, offset });
    arenaOf.set(v, arena);
    places.set(v.tensor.id, { arena, offset });
  }
  const sizes = arenas.map((a) => a.size);
  return { places, arenas: sizes, peakBytes: sizes.reduce((a, b) => a + b, 0) };
}

function lowestOffset(v: Interval, placed: readonly (Interval & Placement)[]): number {
  const busy = placed.filter((p) => p.first <= v.last && v.first <= p.last).sort((a, b) => a.offset - b.offset);
  let offset = 0;
  for (const p of busy) {
    if (offset + v.size <= p.offset) break;
    offset = Math.max(offset, p.offset + p.size);
  }
  return offset;
}
