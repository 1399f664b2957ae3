/**
 * Memory planning. Lifetimes are known before anything runs, so every transient tensor gets a fixed place: an arena and
 * an offset. WebGPU forbids a buffer to be read and written in one dispatch, so what a dispatch writes lies in another
 * arena than what it reads.
 */
import { LimitError } from './errors.ts';
import { byteSize, formatShape, rootOf, type Tensor } from './graph.ts';
import type { Dispatch } from './lower.ts';
import type { Limits } from './device.ts';
import type { Within } from './inPlace.ts';
import { bestPlacement, type Placed } from './placement.ts';
import { tightened } from './tightPlacement.ts';

/** Comparisons per tensor that a plan may cost that is hard to find. */
const EFFORT = 2 ** 16;

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

/** A plan in which no dispatch reads an arena that it writes, and perhaps a smaller one in which some do. */
export interface Planned extends MemoryPlan {
  /**
   * A plan of at most `most` bytes, if one is found, with the cost of the dispatches that read an arena that they write
   * (the larger of operations and bytes); those have to be passed to `bindForWriting`.
   */
  within(most: number): { plan: MemoryPlan; cost: number } | undefined;
}

/** A tensor from the dispatch that writes it to the last that reads it. */
export interface Interval {
  tensor: Tensor;
  size: number;
  first: number;
  last: number;
  /** Intervals that must lie in another arena. */
  conflicts: Set<Interval>;
  /** Others that some dispatch reads where it writes this one, or the reverse, with what these dispatches cost. */
  avoided: Map<Interval, number>;
}

/**
 * Places every tensor that `dispatches` write and that is not in `pinned`.
 * @param within tensors that lie in another one, by their id.
 * @throws LimitError when a single tensor does not fit a buffer.
 */
export function planMemory(
  dispatches: readonly Dispatch[],
  pinned: ReadonlySet<number>,
  limits: Limits,
  within: ReadonlyMap<number, Within> = new Map(),
): Planned {
  const intervals = findIntervals(dispatches, pinned, limits.minStorageBufferOffsetAlignment, within);
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
  const placed = bestPlacement(intervals, liveBytes, limits.maxBufferSize);
  const planOf = ({ places, arenas, peakBytes }: Omit<Placed, 'items'>): MemoryPlan => {
    for (const [id, { of, at }] of within) {
      const place = places.get(of.id);
      if (place) places.set(id, { arena: place.arena, offset: place.offset + at });
    }
    return { places, arenas, peakBytes, liveBytes };
  };
  const effort = { left: EFFORT };
  return {
    ...planOf(placed),
    within(most) {
      const found = tightened(placed, most, limits.maxBufferSize, effort);
      return found && { plan: planOf(found), cost: found.cost };
    },
  };
}

function findIntervals(
  dispatches: readonly Dispatch[],
  pinned: ReadonlySet<number>,
  align: number,
  within: ReadonlyMap<number, Within>,
): Interval[] {
  const found = new Map<number, Interval>();
  dispatches.forEach((dispatch, i) => {
    const read = new Set<Interval>();
    const written = new Set<Interval>();
    const repeated = new Set<Interval>();
    for (const binding of dispatch.kernel.shader.bindings) {
      const bound = dispatch.bindings[binding.name];
      if (!bound) continue;
      const tensor = within.get(rootOf(bound).id)?.of ?? rootOf(bound);
      if (pinned.has(tensor.id)) continue;
      let v = found.get(tensor.id);
      if (!v) {
        const size = Math.ceil(byteSize(tensor) / align) * align;
        found.set(tensor.id, (v = { tensor, size, first: i, last: i, conflicts: new Set(), avoided: new Map() }));
      }
      v.last = i;
      if (read.has(v)) repeated.add(v);
      (binding.access === 'write' ? written : read).add(v);
    }
    for (const w of written) {
      for (const r of read) {
        const cost = Math.max(dispatch.flops, r.size);
        for (const [a, b] of [
          [w, r],
          [r, w],
        ]) {
          // Two bindings of one range cannot both be writable.
          if (repeated.has(r)) a.conflicts.add(b);
          else a.avoided.set(b, (a.avoided.get(b) ?? 0) + cost);
        }
      }
    }
  });
  return [...found.values()];
}
