/** What kernels share that multiply by subgroup matrices (`modules/matrix.wgsl`). */
import { lanesOf, matrixForm, nameOfForm, type Capabilities } from '../engine/index.ts';
import { ceilDiv } from './common.ts';

/**
 * Their tunables: sizes of a matrix, subgroups down and across, matrices that each computes, and how much of every row a tile
 * holds.
 */
export const MATRIX = {
  ...{ MM: [16, 8], MN: [16, 8], MK: [16, 8] },
  ...{ SUBS_M: [2, 4, 1], SUBS_N: [4, 2, 1], ROWS: [4, 2], COLS: [2, 4], K4S: [4, 8] },
};

/** One choice of them. */
export type MatrixTile = Record<keyof typeof MATRIX, number>;

/** Rows and vec4 columns of a tile. */
export const matrixRows = (t: Record<string, number>): number => t.MM * t.ROWS * t.SUBS_M;
export const matrixColumns4 = (t: Record<string, number>): number => (t.MN / 4) * t.COLS * t.SUBS_N;

/** Whether an adapter has such matrices, and tunables two or four loads for every lane and no more memory than there is. */
export function matrixFits(t: Record<string, number>, { matrices, limits }: Capabilities): boolean {
  const lanes = lanesOf({ M: t.MM, N: t.MN }) * t.SUBS_M * t.SUBS_N;
  const [rows, columns4] = [matrixRows(t), matrixColumns4(t)];
  const loads = [(rows * t.K4S) / lanes, (4 * t.K4S * columns4) / lanes];
  const pool = rows * (t.K4S + 2) + 4 * t.K4S * (columns4 + 2);
  return (
    matrices === nameOfForm({ M: t.MM, N: t.MN, K: t.MK }) &&
    (4 * t.K4S) % t.MK === 0 &&
    t.COLS <= t.ROWS &&
    loads.every((n) => n === 2 || n === 4) &&
    lanes % (4 * columns4) === 0 &&
    pool >= t.MM * (t.MN / 2 + 2) * t.SUBS_M * t.SUBS_N &&
    8 * pool <= limits.maxComputeWorkgroupStorageSize &&
    lanes <= limits.maxComputeInvocationsPerWorkgroup
  );
}

/** How subgroups share a tile. */
type Shares = Omit<MatrixTile, 'MM' | 'MN' | 'MK'>;

/**
 * Tiles that are worth trying, by the lanes of a subgroup and the names of the ways. A deep one halves the barriers, but takes
 * more memory than every adapter has; in wide ones a subgroup of 32 computes 64×64, which takes half its registers, and loads a
 * third less. Narrower subgroups have smaller matrices, and compute a fourth to a half as much.
 */
const TILES: Readonly<Record<number, Readonly<Record<string, Shares>>>> = {
  32: {
    'matrix 128 deep': { SUBS_M: 2, SUBS_N: 4, ROWS: 4, COLS: 2, K4S: 8 },
    'matrix 128': { SUBS_M: 2, SUBS_N: 4, ROWS: 4, COLS: 2, K4S: 4 },
    'matrix 128 wide': { SUBS_M: 2, SUBS_N: 2, ROWS: 4, COLS: 4, K4S: 4 },
    'matrix 128x256': { SUBS_M: 2, SUBS_N: 4, ROWS: 4, COLS: 4, K4S: 4 },
    'matrix 128x64': { SUBS_M: 2, SUBS_N: 2, ROWS: 4, COLS: 2, K4S: 4 },
    'matrix 64': { SUBS_M: 2, SUBS_N: 2, ROWS: 2, COLS: 2, K4S: 8 },
  },
  16: {
    'matrix 128': { SUBS_M: 4, SUBS_N: 4, ROWS: 4, COLS: 2, K4S: 4 },
    'matrix 128 wide': { SUBS_M: 4, SUBS_N: 2, ROWS: 4, COLS: 4, K4S: 4 },
    'matrix 128x64': { SUBS_M: 4, SUBS_N: 2, ROWS: 4, COLS: 2, K4S: 4 },
    'matrix 64': { SUBS_M: 4, SUBS_N: 2, ROWS: 2, COLS: 2, K4S: 8 },
  },
  8: {
    'matrix 128 wide': { SUBS_M: 4, SUBS_N: 4, ROWS: 4, COLS: 4, K4S: 4 },
    'matrix 128x64': { SUBS_M: 4, SUBS_N: 4, ROWS: 4, COLS: 2, K4S: 4 },
    'matrix 64': { SUBS_M: 4, SUBS_N: 4, ROWS: 2, COLS: 2, K4S: 8 },
  },
};

/** The tiles that fit an adapter, by the names of the ways, largest first; none where it has no matrices. */
export function matrixTiles(caps: Capabilities): Record<string, MatrixTile> {
  if (!caps.matrices) return {};
  const { M: MM, N: MN, K: MK } = matrixForm(caps.matrices);
  const all = Object.entries(TILES[lanesOf({ M: MM, N: MN })]).map(
    ([name, t]) => [name, { MM, MN, MK, ...t }] as const,
  );
  return Object.fromEntries(all.filter(([, tile]) => matrixFits(tile, caps)));
}

/** Workgroups that run side by side on a large card, one per multiprocessor. */
const SIDE_BY_SIDE = 128;

const groupsOf = (t: MatrixTile, rows: number, columns4: number) =>
  ceilDiv(rows, matrixRows(t)) * ceilDiv(columns4, matrixColumns4(t));

/** Fewest vec4 of a sum that are worth a part, and a second pass. */
const PART4 = 64;
const LONG4 = 512;

/** A tile, and how many vec4 of every sum a workgroup takes. */
export interface MatrixParts {
  tile: MatrixTile;
  part4: number;
  /** Whether that is the usual way: tiles for half the card at most, and sums long enough to be worth a second pass. */
  usual: boolean;
}

/**
 * How to compute sums of `k4` vec4 in parts by the largest tiles, two workgroups for each multiprocessor; undefined where
 * there are tiles enough, or next to none, or sums are short.
 */
export function matrixParts(rows: number, columns4: number, k4: number, caps: Capabilities): MatrixParts | undefined {
  const [tile] = Object.values(matrixTiles(caps));
  if (!tile || rows < 32 || columns4 < 8) return undefined;
  const groups = groupsOf(tile, rows, columns4);
  const parts = Math.min(Math.floor((2 * SIDE_BY_SIDE) / groups), Math.floor(k4 / PART4));
  if (parts < 2) return undefined;
  const part4 = tile.K4S * ceilDiv(k4, parts * tile.K4S);
  return { tile, part4, usual: 2 * groups <= SIDE_BY_SIDE && k4 >= LONG4 };
}

/** Whether a tile divides rows, columns and sums. */
export function matrixExact(t: MatrixTile, rows: number, columns4: number, k4: number): boolean {
  return rows % matrixRows(t) === 0 && columns4 % matrixColumns4(t) === 0 && k4 % t.K4S === 0;
}

/** Sums per unit of time, as reckoned: a smaller tile loads more for each. Others only count where they are measured. */
const RATE: Readonly<Record<string, number>> = {
  'matrix 128 deep': 1,
  'matrix 128': 1,
  'matrix 128x64': 0.85,
  'matrix 64': 0.7,
};

/** The tile that should take least time; undefined where even the smallest would be mostly empty. */
export function usualMatrix(
  rows: number,
  columns4: number,
  tiles: Readonly<Record<string, MatrixTile>>,
): string | undefined {
  if (rows < 32 || columns4 < 8) return undefined;
  const time = (name: string) => {
    const tile = tiles[name];
    const rounds = ceilDiv(groupsOf(tile, rows, columns4), SIDE_BY_SIDE);
    return (rounds * matrixRows(tile) * matrixColumns4(tile)) / RATE[name];
  };
  const here = Object.keys(RATE).filter((name) => name in tiles);
  return here.reduce<string | undefined>((best, name) => (best && time(best) <= time(name) ? best : name), undefined);
}
