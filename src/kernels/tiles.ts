/** What kernels share that multiply tile by tile through workgroup memory (`modules/tile.wgsl`). */
import type { Capabilities } from '../engine/index.ts';
import { ceilDiv } from './common.ts';

/** Their tunables: invocations of a workgroup, what each computes, and how much of every row a tile holds. */
export const TILE = { WG_N: [16, 8, 4], WG_M: [16, 8], ROWS: [8, 2, 4], COLS: [2, 1], K4S: [4, 2, 8] };

/** Whether tunables divide the loads of a tile evenly, and fit an adapter. */
export function tileFits(t: Record<string, number>, { limits }: Capabilities): boolean {
  return (
    (t.ROWS * t.K4S) % t.WG_N === 0 &&
    (4 * t.K4S * t.COLS) % t.WG_M === 0 &&
    t.WG_N * t.WG_M <= limits.maxComputeInvocationsPerWorkgroup &&
    16 * t.K4S * (t.WG_M * t.ROWS + 4 * t.WG_N * t.COLS) <= limits.maxComputeWorkgroupStorageSize
  );
}

/** Edges of the tiles that are worth trying, by the names of the ways. */
export const TILES = {
  'tile 128': { WG_N: 16, WG_M: 16, ROWS: 8, COLS: 2, K4S: 4 },
  'tile 64': { WG_N: 8, WG_M: 8, ROWS: 8, COLS: 2, K4S: 4 },
  'tile 32': { WG_N: 8, WG_M: 8, ROWS: 4, COLS: 1, K4S: 4 },
} as const;

/** Workgroups that keep a card busy. */
const ENOUGH = 64;

/** The largest tile that leaves enough workgroups; undefined where even the smallest would be mostly empty. */
export function usualTile(rows: number, columns4: number): keyof typeof TILES | undefined {
  if (rows < 32 || columns4 < 8) return undefined;
  const groups = (edge: number) => ceilDiv(rows, edge) * ceilDiv(4 * columns4, edge);
  return groups(128) >= ENOUGH ? 'tile 128' : groups(64) >= ENOUGH ? 'tile 64' : 'tile 32';
}
