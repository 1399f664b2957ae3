/**
 * Fits items into arenas of given sizes. An item that finds no room is put where it displaces least, and what it
 * displaced looks for another place. An item that had to displace others weighs more from then on, so that those hard
 * to place settle (guided ejection search; Nagata & Bräysy 2009). It finds plans where placing one item after the
 * other, in any order tried, leaves gaps too small to use.
 */
import { uniforms, type Item } from './placement.ts';

/**
 * A search gives up after so many comparisons of a place with what lies there, per item: hundredths of a second in all.
 */
const WORK = 2 ** 13;

/** Comparisons per item that are left to all searches for one plan. */
export interface Effort {
  left: number;
}

/** A place for an item: the weight of what it would displace, and what it costs to lie there. */
interface Place {
  arena: number;
  offset: number;
  push: number;
  cost: number;
}

/**
 * Places all items anew. @returns the cost of those that share an arena though they should not; undefined if it gave
 * up.
 */
export function fit(items: readonly Item[], arenas: readonly number[], effort: Effort): number | undefined {
  const random = uniforms();
  const weights = new Map(items.map((item) => [item, area(item)]));
  const waiting = [...items].sort((a, b) => area(a) - area(b));
  for (const item of items) item.arena = -1;
  let work = Math.min(WORK, effort.left);
  for (let item = waiting.pop(); item; item = waiting.pop()) {
    let best: Place | undefined;
    let alike = 0;
    for (let arena = 0; arena < arenas.length; arena++) {
      for (const place of placesIn(item, arena, arenas[arena], weights)) {
        work -= item.beside.length / items.length;
        effort.left -= item.beside.length / items.length;
        const worse = best && (place.push - best.push || place.cost - best.cost);
        if (worse !== undefined && worse > 0) continue;
        alike = worse === 0 ? alike + 1 : 1;
        if (random() * alike < 1) best = place;
      }
    }
    if (!best || work < 0) return undefined;
    if (best.push > 0) {
      weights.set(item, weights.get(item)! + area(item));
      const driven = item.beside.filter((other) => other.arena === best.arena && inTheWay(item, other, best.offset));
      for (const other of driven) other.arena = -1;
      waiting.push(...driven);
    }
    item.arena = best.arena;
    item.offset = best.offset;
  }
  let cost = 0;
  for (const item of items) {
    for (const [other, c] of item.avoided) if (other.arena === item.arena) cost += c / 2;
  }
  return cost;
}

/** Bytes times dispatches: what lives long gets in the way of many. */
const area = ({ interval: { size, first, last } }: Item) => size * (last - first + 1);

/** Places in an arena that touch its ends or what lies there. */
function* placesIn(item: Item, arena: number, bytes: number, weights: ReadonlyMap<Item, number>): Generator<Place> {
  const { size } = item.interval;
  if (size > bytes) return;
  const others = item.beside.filter((other) => other.arena === arena);
  const offsets = new Set([0, bytes - size]);
  let cost = 0;
  for (const other of others) {
    offsets.add(other.offset + other.interval.size);
    offsets.add(other.offset - size);
    cost += item.avoided.get(other) ?? 0;
  }
  for (const offset of offsets) {
    if (offset < 0 || offset + size > bytes) continue;
    let push = 0;
    for (const other of others) if (inTheWay(item, other, offset)) push += weights.get(other)!;
    yield { arena, offset, push, cost };
  }
}

/** Whether another item in the arena has to go where one lies at an offset. */
function inTheWay(item: Item, other: Item, offset: number): boolean {
  if (other.offset < offset + item.interval.size && offset < other.offset + other.interval.size) return true;
  return item.apart.includes(other);
}
