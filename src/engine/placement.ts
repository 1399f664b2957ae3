/**
 * Where intervals go. Which arena a tensor lies in matters more than at what offset: what a dispatch writes must find
 * an arena that none of its inputs lie in, and arenas that are largest at different times add up to more than is ever
 * alive. So a few orders are tried, and the best one is improved: what first reaches beyond the best plan so far is
 * placed earlier the next time (squeaky wheel optimisation; Joslin & Clements 1999).
 */
import type { Interval, Placement } from './plan.ts';

/** Arenas, and a place in one of them for every tensor, by its id. */
export interface Placed {
  places: Map<number, Placement>;
  /** Bytes of each arena. */
  arenas: number[];
  /** Bytes of all arenas together. */
  peakBytes: number;
  /** What has been placed, in the order that was best. */
  items: readonly Item[];
}

/** Placements that are tried. */
const TRIES = 1000;
/** Tries after which the search goes back to the best it has found, with a few preferences changed. */
const ROUND = 60;
/** Tensors below this share of what is alive at once are placed after the large ones. */
const SMALL = 1 / 128;
/** A plan this near to the least possible is good enough. */
const ENOUGH = 1.01;

/** Orders to start from: none is best for every graph. */
const ORDERS: ((a: Interval, b: Interval) => number)[] = [
  (a, b) => b.size - a.size || a.first - b.first,
  (a, b) => b.size * (b.last - b.first + 1) - a.size * (a.last - a.first + 1) || a.first - b.first,
  (a, b) => a.first - b.first || b.size - a.size,
  (a, b) => b.last - b.first - (a.last - a.first) || b.size - a.size,
];

/** An interval, and which arena it takes where several would grow by the same. */
interface Turn {
  readonly item: Item;
  readonly preference: number;
}

/** An interval while it is placed. */
export interface Item {
  readonly interval: Interval;
  /** Others that are alive with it. */
  readonly beside: Item[];
  /** Those of them that may not share an arena with it; and those that should not, with the cost if they do. */
  readonly apart: Item[];
  readonly avoided: ReadonlyMap<Item, number>;
  /** −1 until it has one. */
  arena: number;
  offset: number;
}

/** The smallest placement found. @param live bytes that no placement can go below. */
export function bestPlacement(intervals: readonly Interval[], live: number, maxBufferSize: number): Placed {
  const large = itemsOf(intervals.filter((v) => v.size >= SMALL * live));
  const turns = improve(large, live, maxBufferSize);
  const small = intervals.filter((v) => v.size < SMALL * live).sort(ORDERS[0]);
  const all = itemsOf([...turns.map(({ item }) => item.interval), ...small]);
  const final = all.map((item, i) => ({ item, preference: turns[i]?.preference ?? 0 }));
  const { arenas, peakBytes } = place(final, maxBufferSize);
  return { places: placesOf(all), arenas, peakBytes, items: all };
}

/** Where items lie. */
export function placesOf(items: readonly Item[]): Map<number, Placement> {
  return new Map(items.map(({ interval, arena, offset }) => [interval.tensor.id, { arena, offset }]));
}

/** The best order found. The same one every time: what is random about it starts from a fixed seed. */
function improve(items: readonly Item[], live: number, maxBufferSize: number): readonly Turn[] {
  let best: { turns: Turn[]; peak: number } = { turns: [], peak: items.length > 0 ? Infinity : 0 };
  for (const preference of [0, 1]) {
    for (const order of ORDERS) {
      const sorted = [...items].sort((a, b) => order(a.interval, b.interval));
      const turns = sorted.map((item) => ({ item, preference }));
      const { peakBytes } = place(turns, maxBufferSize);
      if (peakBytes < best.peak) best = { turns, peak: peakBytes };
    }
  }
  const random = uniforms();
  const below = (n: number) => Math.floor(random() * n);
  let turns = [...best.turns];
  for (let i = 0; i < TRIES && best.peak > ENOUGH * live; i++) {
    const { peakBytes, beyond } = place(turns, maxBufferSize, best.peak - 1);
    if (beyond === undefined) {
      best = { turns: [...turns], peak: peakBytes };
      continue;
    }
    const [turn] = turns.splice(beyond, 1);
    const preference = random() < 0.3 ? below(4) : turn.preference;
    turns.splice(random() < 0.5 ? below(beyond) : beyond >> 1, 0, { ...turn, preference });
    if (i % ROUND < ROUND - 1) continue;
    turns = [...best.turns];
    for (let j = 0; j < 3; j++) {
      const k = below(turns.length);
      turns[k] = { ...turns[k], preference: below(4) };
    }
  }
  return best.turns;
}

/** Uniform numbers in [0, 1), the same ones every time: a mixed counter. */
export function uniforms(): () => number {
  let state = 1;
  return () => {
    state = (state + 0x9e3779b9) | 0;
    let t = Math.imul(state ^ (state >>> 16), 0x21f0aaad);
    t = Math.imul(t ^ (t >>> 15), 0x735a2d97);
    return ((t ^ (t >>> 15)) >>> 0) / 2 ** 32;
  };
}

/** Intervals as they are placed, with who is alive with whom. */
export function itemsOf(intervals: readonly Interval[]): Item[] {
  const items = intervals.map((interval) => {
    const avoided = new Map<Item, number>();
    return { interval, beside: [] as Item[], apart: [] as Item[], avoided, arena: -1, offset: 0 };
  });
  const by = new Map(items.map((item) => [item.interval, item]));
  for (const item of items) {
    const { first, last, conflicts, avoided } = item.interval;
    for (const other of items) {
      if (other !== item && other.interval.first <= last && first <= other.interval.last) item.beside.push(other);
    }
    for (const c of conflicts) if (by.has(c)) item.apart.push(by.get(c)!);
    for (const [c, cost] of avoided) if (by.has(c) && !conflicts.has(c)) item.avoided.set(by.get(c)!, cost);
  }
  return items;
}

/** What is placed already and alive with an item, by its offset. */
export function besideInOrder({ beside }: Item): Item[] {
  return beside.filter((other) => other.arena >= 0).sort((a, b) => a.offset - b.offset);
}

/** The lowest offset in an arena at which `size` bytes fit between what lies there. */
export function lowestOffset(beside: readonly Item[], arena: number, size: number): number {
  let offset = 0;
  for (const other of beside) {
    if (other.arena !== arena) continue;
    if (offset + size <= other.offset) break;
    offset = Math.max(offset, other.offset + other.interval.size);
  }
  return offset;
}

/**
 * First fit at the lowest offset, in the arena that grows least; gives up at the turn (`beyond`) that exceeds `enough`
 * bytes.
 */
function place(
  turns: readonly Turn[],
  maxBufferSize: number,
  enough = Infinity,
): { arenas: number[]; peakBytes: number; beyond?: number } {
  const arenas: number[] = [];
  let peakBytes = 0;
  for (const { item } of turns) item.arena = -1;
  for (let i = 0; i < turns.length; i++) {
    const { item, preference } = turns[i];
    const { size } = item.interval;
    const beside = besideInOrder(item);
    let least = Infinity;
    let choices: { arena: number; offset: number }[] = [];
    for (let arena = 0; arena <= arenas.length; arena++) {
      if (item.apart.some((other) => other.arena === arena)) continue;
      if (item.avoided.size > 0 && [...item.avoided.keys()].some((other) => other.arena === arena)) continue;
      const offset = lowestOffset(beside, arena, size);
      const growth = Math.max(0, offset + size - (arenas[arena] ?? 0));
      if (offset + size > maxBufferSize || growth > least) continue;
      if (growth < least) choices = [];
      least = growth;
      choices.push({ arena, offset });
    }
    // 0 is the first of those that grow by the same, 1 the last, which may be a new arena.
    const { arena, offset } = choices.at(preference === 1 ? -1 : preference % choices.length)!;
    item.arena = arena;
    item.offset = offset;
    arenas[arena] = (arenas[arena] ?? 0) + least;
    peakBytes += least;
    if (peakBytes > enough) return { arenas, peakBytes, beyond: i };
  }
  return { arenas, peakBytes };
}
