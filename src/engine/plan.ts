/**
 * Memory planning. Lifetimes are known before anything runs, so every transient tensor gets a fixed place: an arena and an
 * offset. WebGPU forbids a buffer to be read and written in one dispatch, so what a dispatch writes lies in another arena
 * than what it reads.
 */
import { LimitError } from './errors.ts';
import { byteSize, formatShape, rootOf, type Tensor } from './graph.ts';
import type { Dispatch } from './lower.ts';
import type { Limits } from './device.ts';
import { bestPlacement } from './placement.ts';

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

/** A tensor from the dispatch that writes it to the last that reads it. */
export interface Interval {
  tensor: Tensor;
  size: number;
  first: number;
  last: number;
  /** Intervals that some dispatch reads where it writes this one, or the reverse. */
  conflicts: Set<Interval>;
}

/**
 * Places every tensor that `dispatches` write and that is not in `pinned`.
 * @param sameAs tensors that have the memory of another one, by their id.
 * @throws LimitError when a single tensor does not fit a buffer.
 */
export function planMemory(
  dispatches: readonly Dispatch[],
  pinned: ReadonlySet<number>,
  limits: Limits,
  sameAs: ReadonlyMap<number, Tensor> = new Map(),
): MemoryPlan {
  const intervals = findIntervals(dispatches, pinned, limits.minStorageBufferOffsetAlignment, sameAs);
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
  for (const [id, other] of sameAs) placed.places.set(id, placed.places.get(other.id)!);
  return { ...placed, liveBytes };
}

function findIntervals(
  dispatches: readonly Dispatch[],
  pinned: ReadonlySet<number>,
  align: number,
  sameAs: ReadonlyMap<number, Tensor>,
): Interval[] {
  const found = new Map<number, Interval>();
  dispatches.forEach((dispatch, i) => {
    const read = new Set<Interval>();
    const written = new Set<Interval>();
    for (const binding of dispatch.kernel.shader.bindings) {
      const bound = dispatch.bindings[binding.name];
      if (!bound) continue;
      const tensor = sameAs.get(rootOf(bound).id) ?? rootOf(bound);
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
