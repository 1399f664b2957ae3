/** Attention tile by tile through workgroup memory, for GPUs: kernels, and how their invocations share the work. */
import { defineKernel, linearGrid } from '../engine/index.ts';
import type { Capabilities, Limits, Lowering, Tensor } from '../engine/index.ts';
import joinShader from './attentionJoin.wgsl';
import tileShader from './attentionTile.wgsl';
import { ceilDiv } from './common.ts';

/** One workgroup per QUERIES queries of a head, online softmax over tiles of KEYS keys; heads of up to 512 channels. */
export const attentionTileKernel = defineKernel({
  shader: tileShader,
  // What a shape takes is found by {@link attentionTile}; these stand for all when every variant is compiled.
  tunables: {
    QUERIES: [64, 32, 16],
    KEYS: [32],
    SQ: [8, 4],
    DEPTH: [1, 2],
    SLICE: [8, 5],
    OX: [4, 8],
    VALUES: [16, 32],
    D4: [16, 10],
    HAS_MASK: [false, true],
    PARTS: [false, true],
  },
  grid: ({ B, T, S, heads, count }, t) => [ceilDiv(T, t.QUERIES), heads, B * (t.PARTS ? ceilDiv(S, count) : 1)],
  valid: (t, { limits }) => tileFits(t, limits),
});

/** Joins what the workgroups of several parts of the keys found. */
export const attentionJoinKernel = defineKernel({
  shader: joinShader,
  tunables: { WG: [64] },
  grid: ({ rows, D4 }, t) => linearGrid(ceilDiv(rows * D4, t.WG)),
});

/** Tunables of `attentionTile` that belong together. */
type Tile = Record<'QUERIES' | 'KEYS' | 'SQ' | 'DEPTH' | 'SLICE' | 'OX' | 'VALUES' | 'D4', number>;

/** Widest head, in vec4, for which there are tiles within the limits that every adapter has. */
export const TILE_D4 = 128;
/** Most vec4 of the output that an invocation keeps in registers. */
const MOST_SUMS = 24;
/**
 * What an invocation could do while it reads a vec4 from workgroup memory, in multiply-adds: a multiprocessor reads 128
 * bytes per cycle and multiplies 128 numbers, which makes 16; neighbours that read the same address halve that.
 */
const READ = 8;
/** The same for a vec4 that is brought from a buffer to workgroup memory, and for a barrier. */
const BRING = 40;
const WAIT = 60;
/**
 * Bytes of workgroup memory that every adapter has; who takes more where there is more has fewer workgroups side by
 * side.
 */
const ROOM = 16384;

/** Invocations of a workgroup, and what falls to each of them. */
function sharesOf({ QUERIES, KEYS, SQ, DEPTH, OX, D4 }: Record<string, number>) {
  const WG = (KEYS / 4) * (QUERIES / SQ) * DEPTH;
  const OY = WG / OX;
  return { WG, OY, OQ: QUERIES / OY, COLS: ceilDiv(D4, OX), TEAM: Math.floor(WG / QUERIES) };
}

/** Whether tunables divide the work evenly, and fit the limits of an adapter. */
function tileFits(t: Record<string, number>, limits: Limits): boolean {
  const { QUERIES, KEYS, SQ, DEPTH, SLICE, OX, VALUES, D4 } = t;
  const { WG, OY, OQ, COLS, TEAM } = sharesOf(t);
  const whole = [KEYS / 4, QUERIES / SQ, SLICE / DEPTH, OY, OQ, KEYS / VALUES, VALUES / 4, KEYS / 4 / TEAM];
  const [stride, weights] = [SLICE | 1, (KEYS / 4) | 1];
  const cells = Math.max((QUERIES + KEYS) * stride, QUERIES * weights + VALUES * D4 + OX * COLS - D4, WG);
  return (
    whole.every((n) => Number.isInteger(n) && n >= 1) &&
    WG <= limits.maxComputeInvocationsPerWorkgroup &&
    16 * cells + 4 * QUERIES <= limits.maxComputeWorkgroupStorageSize
  );
}

/** Steps of an invocation for a tile of keys, in multiply-adds. */
function stepsOf(t: Tile): number {
  const { SQ, DEPTH, SLICE, VALUES, QUERIES, KEYS, D4 } = t;
  const { WG, OQ, COLS } = sharesOf(t);
  const slices = ceilDiv(D4, SLICE);
  const scores = ((slices * SLICE) / DEPTH) * (16 * SQ + READ * (SQ + 4)) + (DEPTH - 1) * 2 * SQ * READ;
  const mix = (KEYS / 4) * (16 * OQ * COLS + READ * (OQ + 4 * COLS));
  const brought = (slices * SLICE * (QUERIES + KEYS) + KEYS * D4) / WG;
  const waits = 2 * slices + (2 * KEYS) / VALUES + 1 + DEPTH;
  return scores + mix + BRING * brought + WAIT * waits;
}

const found = new Map<string, Tile | undefined>();

/**
 * The tunables by which tiles of `queries` × `keys` take fewest steps; undefined where nothing fits.
 * @param D4 vec4 per head.
 * @param least Invocations that a workgroup should have; those that it lacks are counted as idle.
 */
export function attentionTile(
  queries: number,
  keys: number,
  D4: number,
  least: number,
  limits: Limits,
): Tile | undefined {
  const most = limits.maxComputeInvocationsPerWorkgroup;
  const key = [queries, keys, D4, least, most].join();
  const modest = { ...limits, maxComputeWorkgroupStorageSize: ROOM };
  if (!found.has(key)) found.set(key, search(queries, keys, D4, least, modest));
  return found.get(key);
}

function search(QUERIES: number, KEYS: number, D4: number, least: number, limits: Limits): Tile | undefined {
  let best: Tile | undefined;
  let lowest = Infinity;
  for (const [SQ, DEPTH] of [8, 4, 2].flatMap((sq) => [1, 2, 4].map((depth) => [sq, depth]))) {
    for (const SLICE of [2, 4, 5, 6, 7, 8, 9, 10, 12, 16]) {
      for (const OX of [2, 4, 5, 8, 10, 16, 20, 32, 64]) {
        for (const VALUES of [1, 2, 4, 5, 8].map((n) => KEYS / n)) {
          const tile = { QUERIES, KEYS, SQ, DEPTH, SLICE, OX, VALUES, D4 };
          if (!tileFits(tile, limits)) continue;
          const { WG, OQ, COLS } = sharesOf(tile);
          if (OQ * COLS > MOST_SUMS) continue;
          const steps = stepsOf(tile) * Math.max(32 * ceilDiv(WG, 32), least);
          if (steps < lowest) [best, lowest] = [tile, steps];
        }
      }
    }
  }
  return best;
}

/** Multiprocessors of a large card, workgroups that are enough for them, and invocations that keep one of them busy. */
const PROCESSORS = 132;
const ENOUGH = 1.5 * PROCESSORS;
const BUSY = 256;
/**
 * With so many keys in a part joining the parts costs nothing in comparison; with so many multiply-adds per invocation
 * it costs less than it gains.
 */
const LONG = 1024;
const HEAVY = 8192;

/** What decides how attention is shared out. */
export interface AttentionSizes {
  B: number;
  T: number;
  S: number;
  heads: number;
  D4: number;
}

/** Tiles of queries × keys; `parts` of the keys that go to workgroups of their own. */
export interface TileWay {
  tile: Tile;
  parts: number;
  /** Workgroups. */
  groups: number;
}

/**
 * The tiles worth trying, by the names of the ways, best first where there is enough to do. Short contexts are taken in
 * one go: no tile of keys is then mostly empty, and queries come once.
 */
export function tileWays({ B, T, S, heads, D4 }: AttentionSizes, { limits }: Capabilities): Record<string, TileWay> {
  const ways: Record<string, TileWay> = {};
  if (D4 > TILE_D4) return ways;
  const short = S <= 16 ? [[64, 16]] : S > 64 && S <= 80 ? [[32, 80]] : [];
  for (const [queries, keys] of [...short, [64, 32], [32, 64], [32, 32], [16, 32]]) {
    if (T <= queries / 2 && queries > 16) continue;
    const groups = ceilDiv(T, queries) * heads * B;
    const most = Math.min(ceilDiv(2 * PROCESSORS, groups), Math.floor(S / (2 * keys)));
    for (const parts of most > 1 ? [1, most] : [1]) {
      const wanted = 2 ** Math.round(Math.log2((PROCESSORS * BUSY) / (groups * parts)));
      const tile = attentionTile(queries, keys, D4, Math.min(256, Math.max(64, wanted)), limits);
      if (tile)
        ways[`tile ${queries}x${keys}${parts > 1 ? ' in parts' : ''}`] = { tile, parts, groups: groups * parts };
    }
  }
  return ways;
}

/**
 * The first way with enough workgroups and no short parts, else that with most workgroups whose parts are worth
 * joining; undefined where none fits.
 */
export function usualTileWay(ways: Readonly<Record<string, TileWay>>, S: number): string | undefined {
  const names = Object.keys(ways);
  const good = names.find((name) => {
    const { parts, groups } = ways[name];
    return groups >= ENOUGH && (parts === 1 || S >= LONG * parts);
  });
  const worth = names.filter((name) => {
    const { tile, parts } = ways[name];
    return parts === 1 || (8 * tile.QUERIES * S * tile.D4) / (sharesOf(tile).WG * parts) > HEAVY;
  });
  return good ?? worth.sort((a, b) => ways[b].groups - ways[a].groups)[0];
}

/** One dispatch, or two where the keys are taken in parts. */
export function lowerTile(
  to: Lowering,
  { tile, parts }: TileWay,
  params: AttentionSizes & Record<string, number>,
  bindings: Record<'q' | 'k' | 'v' | 'out', Tensor> & { mask?: Tensor },
  flops: number,
): void {
  const { D4, ...rest } = params;
  const { B, T, S, heads } = rest;
  const rows = B * T * heads;
  const count = tile.KEYS * ceilDiv(ceilDiv(S, parts), tile.KEYS);
  const PARTS = count < S;
  // Each of two results needs a place of its own, also the one that is not written.
  const apart = to.scratch(PARTS ? [ceilDiv(S, count), rows, 4 * (D4 + 1)] : [4], 'f32');
  to.dispatch({
    kernel: attentionTileKernel,
    tunables: { ...tile, HAS_MASK: bindings.mask !== undefined, PARTS },
    params: { ...rest, count },
    bindings: { ...bindings, found: apart },
    flops,
  });
  if (!PARTS) return;
  to.dispatch({
    kernel: attentionJoinKernel,
    params: { rows, parts: ceilDiv(S, count), D4 },
    bindings: { found: apart, out: bindings.out },
  });
}
