/**
 * Where intervals go. Which arena a tensor lies in matters more than at what offset: what a dispatch writes must find an
 * arena that none of its inputs lie in, and arenas that are largest at different times add up to more than is ever alive.
 * So a few orders are tried, and the best one is improved by small changes, drawn the same way every time.
 */
import type { Interval, Placement } from './plan.ts';

/** Arenas, and a place in one of them for every tensor, by its id. */
export interface Placed {
  places: Map<number, Placement>;
  /** Bytes of each arena. */
  arenas: number[];
  /** Bytes of all arenas together. */
  peakBytes: number;
}

/** Changes that are tried; the large tensors of a U-Net take a tenth of a millisecond each time. */
const TRIES = 400;
/** Tensors below this share of what is alive at once follow when the large ones lie. */
const SMALL = 1 / 128;
/** A plan this near to the least possible is good enough. */
const ENOUGH = 1.01;

/** Orders worth starting from: none is best for every graph. */
const ORDERS: ((a: Interval, b: Interval) => number)[] = [
  (a, b) => b.size - a.size || a.first - b.first,
  (a, b) => b.size * (b.last - b.first + 1) - a.size * (a.last - a.first + 1) || a.first - b.first,
  (a, b) => a.first - b.first || b.size - a.size,
  (a, b) => b.last - b.first - (a.last - a.first) || b.size - a.size,
];

/** An interval in the order of placing, with the arena that it takes among those that grow alike. */
interface Turn {
  interval: Interval;
  preference: number;
}

/** The smallest placement found. @param live bytes that no placement can go below. */
export function bestPlacement(intervals: readonly Interval[], live: number, maxBufferSize: number): Placed {
  const large = intervals.filter((v) => v.size >= SMALL * live);
  const small = intervals.filter((v) => v.size < SMALL * live).sort(ORDERS[0]);
  const whole = (turns: readonly Turn[]) =>
    place([...turns, ...small.map((interval) => ({ interval, preference: 0 }))], maxBufferSize);
  let best: { turns: Turn[]; peak: number } | undefined;
  for (const preference of [0, 1]) {
    for (const order of ORDERS) {
      const turns = [...large].sort(order).map((interval) => ({ interval, preference }));
      const peak = place(turns, maxBufferSize).peakBytes;
      if (!best || peak < best.peak) best = { turns, peak };
    }
  }
  let { turns, peak } = best!;
  const random = uniforms();
  const below = (n: number) => Math.floor(random() * n);
  for (let i = 0; i < TRIES && peak > ENOUGH * live && turns.length > 1; i++) {
    const next = [...turns];
    for (let changes = 1 + below(3); changes > 0; changes--) {
      const from = below(next.length);
      const [turn] = next.splice(from, 1);
      if (random() < 0.5) next.splice(from, 0, { ...turn, preference: below(4) });
      else next.splice(random() < 0.5 ? below(from + 1) : below(next.length + 1), 0, turn);
    }
    const found = place(next, maxBufferSize, peak).peakBytes;
    if (found <= peak) [turns, peak] = [next, found];
  }
  return whole(turns);
}

/** Uniform numbers in [0, 1), the same ones every time (Steele et al. 2014, as Mulberry32 has it). */
function uniforms(): () => number {
  let state = 1;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

interface Arena {
  size: number;
  placed: { interval: Interval; offset: number }[];
}

/** First fit at the lowest offset, in the arena that grows least; gives up beyond `enough` bytes. */
function place(turns: readonly Turn[], maxBufferSize: number, enough = Infinity): Placed {
  const arenas: Arena[] = [];
  const places = new Map<number, Placement>();
  const arenaOf = new Map<Interval, number>();
  let peakBytes = 0;
  for (const { interval: v, preference } of turns) {
    const taken = new Set<number>();
    for (const c of v.conflicts) {
      const arena = arenaOf.get(c);
      if (arena !== undefined) taken.add(arena);
    }
    let least = Infinity;
    let choices: Placement[] = [];
    for (let arena = 0; arena <= arenas.length; arena++) {
      if (taken.has(arena)) continue;
      const offset = arena < arenas.length ? lowestOffset(v, arenas[arena]) : 0;
      if (offset + v.size > maxBufferSize) continue;
      const growth = Math.max(0, offset + v.size - (arenas[arena]?.size ?? 0));
      if (growth > least) continue;
      if (growth < least) choices = [];
      least = growth;
      choices.push({ arena, offset });
    }
    // Preference 0 is the first of them, 1 the last, which may be a new arena; the others lie between.
    const { arena, offset } = choices.at(preference === 1 ? -1 : preference % choices.length)!;
    arenas[arena] ??= { size: 0, placed: [] };
    arenas[arena].size += least;
    peakBytes += least;
    arenas[arena].placed.push({ interval: v, offset });
    arenaOf.set(v, arena);
    places.set(v.tensor.id, { arena, offset });
    if (peakBytes > enough) break;
  }
  return { places, arenas: arenas.map((a) => a.size), peakBytes };
}

function lowestOffset(v: Interval, { placed }: Arena): number {
  const busy = placed.filter((p) => p.interval.first <= v.last && v.first <= p.interval.last);
  busy.sort((a, b) => a.offset - b.offset);
  let offset = 0;
  for (const p of busy) {
    if (offset + v.size <= p.offset) break;
    offset = Math.max(offset, p.offset + p.interval.size);
  }
  return offset;
}
