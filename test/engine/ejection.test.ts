/** Tensors cut out of a full plan must find their way back into it. */
import { describe, expect, it } from 'vitest';
import { fit } from '../../src/engine/ejection.ts';
import { itemsOf, type Item } from '../../src/engine/placement.ts';
import type { Interval } from '../../src/engine/plan.ts';
import { uniform } from '../support/random.ts';

const BYTES = 256;
const EFFORT = 2 ** 16;

/** Cuts dispatches × blocks into rectangles, as if each had been a tensor. */
function cutUp(seed: number, dispatches: number, blocks: number): Interval[] {
  const u = uniform(seed);
  const found: Interval[] = [];
  const cut = (first: number, last: number, size: number): void => {
    const long = last - first + 1;
    if (long * size < 12 || (long < 3 && size < 3)) {
      const tensor = { id: found.length } as Interval['tensor'];
      found.push({ tensor, size: size * BYTES, first, last, conflicts: new Set(), avoided: new Map() });
    } else if (size === 1 || (long > 1 && u() < (long > size ? 0.9 : 0.3))) {
      const at = first + Math.floor(u() * (long - 1));
      cut(first, at, size);
      cut(at + 1, last, size);
    } else {
      const below = 1 + Math.floor(u() * (size - 1));
      cut(first, last, below);
      cut(first, last, size - below);
    }
  };
  cut(0, dispatches - 1, blocks);
  return found;
}

/** Dispatches at which what is alive does not lie apart, or not in its arena. */
function overlaps(items: readonly Item[], arenas: readonly number[]): number {
  return items.filter((a) => {
    const end = a.offset + a.interval.size;
    const over = items.some((b) => {
      const together = a.interval.first <= b.interval.last && b.interval.first <= a.interval.last;
      return a !== b && together && a.arena === b.arena && a.offset < b.offset + b.interval.size && b.offset < end;
    });
    return over || a.arena < 0 || a.offset < 0 || end > arenas[a.arena];
  }).length;
}

describe('fit', () => {
  it.each([1, 2, 3, 4, 5, 6, 7, 8])('finds a plan with a tenth to spare, %i', (seed) => {
    const items = itemsOf(cutUp(seed, 120, 60));
    const arenas = [66 * BYTES];
    expect(fit(items, arenas, { left: EFFORT })).toBe(0);
    expect(overlaps(items, arenas)).toBe(0);
  });

  it('keeps apart what must lie apart, and says what it costs that others do not', () => {
    const [a, b, c] = [20, 20, 20].map((size, id): Interval => {
      const tensor = { id } as Interval['tensor'];
      return { tensor, size: size * BYTES, first: id, last: id + 1, conflicts: new Set(), avoided: new Map() };
    });
    a.conflicts.add(b);
    b.conflicts.add(a);
    b.avoided.set(c, 7);
    c.avoided.set(b, 7);
    const items = itemsOf([a, b, c]);
    expect(fit(items, [60 * BYTES], { left: EFFORT })).toBeUndefined();
    const arenas = [20 * BYTES, 40 * BYTES];
    expect(fit(items, arenas, { left: EFFORT })).toBe(0);
    expect(items[0].arena).not.toBe(items[1].arena);
    expect(items[1].arena).not.toBe(items[2].arena);
    expect(fit(items, [20 * BYTES, 39 * BYTES], { left: EFFORT })).toBe(0);
    b.conflicts.clear();
    a.conflicts.clear();
    const loose = itemsOf([a, b, c]);
    expect(fit(loose, [40 * BYTES], { left: EFFORT })).toBe(7);
    expect(overlaps(loose, [40 * BYTES])).toBe(0);
  });

  it('gives up where there is no room, and where its effort is spent', () => {
    const items = itemsOf(cutUp(1, 120, 60));
    expect(fit(items, [59 * BYTES], { left: EFFORT })).toBeUndefined();
    const effort = { left: 100 };
    expect(fit(items, [60 * BYTES], effort)).toBeUndefined();
    expect(effort.left).toBeLessThan(0);
  });
});
