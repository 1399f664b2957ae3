/**
 * Plans of a given size. Where arenas are largest at different times, they add up to more than is ever alive. Then one
 * of them is made smaller, and what no longer fits goes to an arena that the same dispatch reads. WebGPU allows that
 * where the read tensor is bound for writing too (`writableInputs.ts`). Such a dispatch has a pipeline of its own, so
 * few and cheap ones are wanted.
 */
import { fit, type Effort } from './ejection.ts';
import { besideInOrder, lowestOffset, placesOf, uniforms, type Item, type Placed } from './placement.ts';

/** Orders that are tried for each way to cut the arenas. */
const TRIES = 100;
/** Ways to cut them. */
const CUTS = 4;
/** Two arenas instead of all: the share of the smaller. Some tensors must lie apart, if only in a small arena. */
const SHARES = [1 / 16, 1 / 8, 1 / 4];
/** Arenas are multiples of it, as every binding's offset is. */
const ALIGN = 256;

/** A plan of at most `most` bytes and what it costs, from one that takes more; undefined where none is found. */
export function tightened(
  { items, arenas: loose, peakBytes }: Placed,
  most: number,
  maxBufferSize: number,
  effort: Effort,
): (Omit<Placed, 'items'> & { cost: number }) | undefined {
  const waste = peakBytes - ALIGN * Math.floor(most / ALIGN);
  const bySize = [...items].sort((a, b) => b.interval.size - a.interval.size);
  let best: (Omit<Placed, 'items'> & { cost: number }) | undefined;
  const cuts = smaller(loose, waste).filter((arenas) => arenas.every((size) => size > 0 && size <= maxBufferSize));
  // Ejection takes longer, so it is tried where no order of placing works.
  for (const find of [search, fit]) {
    for (const arenas of cuts) {
      for (const start of find === search ? [items, bySize] : [items]) {
        const cost = find(start, arenas, effort);
        if (cost === undefined || (best && cost >= best.cost)) continue;
        best = { cost, places: placesOf(items), arenas, peakBytes: peakBytes - waste };
      }
      // Merged arenas make most tensors share, so they are the last resort.
      if (best && arenas.length < loose.length) break;
    }
    if (best) break;
  }
  return best;
}

/** Arenas with `waste` bytes less in all: one of the largest cut; some or all of them merged; or two of other sizes. */
function smaller(arenas: readonly number[], waste: number): number[][] {
  const sorted = [...arenas].sort((a, b) => b - a);
  const cut = sorted.flatMap((size, k) => (size < waste ? [] : [sorted.map((s, i) => (i === k ? s - waste : s))]));
  const [first, second, ...rest] = sorted;
  const others = sorted.slice(1).reduce((a, b) => a + b, 0);
  const all = first + others - waste;
  const joined = [[first + second - waste, ...rest], [first, others - waste], [all]];
  const parted = SHARES.map((share) => ALIGN * Math.round((share * all) / ALIGN)).map((size) => [all - size, size]);
  return [...cut.slice(0, CUTS), ...joined, ...parted];
}

/**
 * Places items until all fit, those that did not fit earlier each time. @returns the cost of items that share an arena.
 */
function search(items: readonly Item[], arenas: readonly number[]): number | undefined {
  const random = uniforms();
  const order = [...items];
  for (let i = 0; i < TRIES; i++) {
    const { cost, beyond } = place(order, arenas);
    if (beyond === undefined) return cost;
    const [item] = order.splice(beyond, 1);
    order.splice(random() < 0.5 ? Math.floor(random() * beyond) : beyond >> 1, 0, item);
  }
  return undefined;
}

/**
 * Every item where it costs least among the arenas that hold it. @returns the first that none holds, if there is one.
 */
function place(items: readonly Item[], arenas: readonly number[]): { cost: number; beyond?: number } {
  let cost = 0;
  for (const item of items) item.arena = -1;
  for (let i = 0; i < items.length; i++) {
    const item = items[i];
    const beside = besideInOrder(item);
    let best = { cost: Infinity, arena: -1, offset: 0 };
    for (let arena = 0; arena < arenas.length; arena++) {
      if (item.apart.some((other) => other.arena === arena)) continue;
      const offset = lowestOffset(beside, arena, item.interval.size);
      if (offset + item.interval.size > arenas[arena]) continue;
      let own = 0;
      for (const [other, c] of item.avoided) if (other.arena === arena) own += c;
      if (own < best.cost) best = { cost: own, arena, offset };
    }
    if (best.arena < 0) return { cost, beyond: i };
    cost += best.cost;
    item.arena = best.arena;
    item.offset = best.offset;
  }
  return { cost };
}
