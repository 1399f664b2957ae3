/** What kernels share that multiply by subgroup matrices (`modules/matrix.wgsl`). */
import { lanesOf, matrixForm, nameOfForm, type Capabilities } from '../engine/index.ts';
import { ceilDiv } from './common.ts';
import { CACHES, DISPATCH, MATRIX_RATE, MULTIPROCESSORS } from './counting.ts';

/**
 * Their tunables: sizes of a matrix, subgroups down and across, matrices that each computes, and how much of every row
 * a tile holds.
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

/**
 * Whether an adapter has such matrices, and tunables two or four loads for every lane and no more memory than there is.
 */
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
 * Tiles that are worth trying, by the lanes of a subgroup and the names of the ways. A deep one halves the barriers,
 * but takes more memory than every adapter has; in wide ones a subgroup of 32 computes 64×64, which takes half its
 * registers, and loads a third less. Narrower subgroups have smaller matrices, and compute a fourth to a half as much.
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

/** Whether a tile divides rows, columns and sums. */
export function matrixExact(t: MatrixTile, rows: number, columns4: number, k4: number): boolean {
  return rows % matrixRows(t) === 0 && columns4 % matrixColumns4(t) === 0 && k4 % t.K4S === 0;
}

const groupsOf = (t: MatrixTile, rows: number, columns4: number) =>
  ceilDiv(rows, matrixRows(t)) * ceilDiv(columns4, matrixColumns4(t));

/**
 * Estimated share of {@link MATRIX_RATE}: a smaller tile loads more for each sum. Tiles that are not listed are only
 * taken where they are measured.
 */
const RATE: Readonly<Record<string, number>> = {
  'matrix 128 deep': 1,
  'matrix 128': 1,
  'matrix 128x64': 0.85,
  'matrix 64': 0.7,
};

const countedTiles = (tiles: Readonly<Record<string, MatrixTile>>) =>
  Object.entries(RATE).flatMap(([way, rate]) => (way in tiles ? [[tiles[way], rate, way] as const] : []));

/** Seconds that `groups` workgroups take for sums of `k4` vec4 by a tile. */
const tileSeconds = (t: MatrixTile, groups: number, k4: number, rate: number) =>
  (ceilDiv(groups, MULTIPROCESSORS) * matrixRows(t) * 16 * matrixColumns4(t) * k4) / (rate * MATRIX_RATE);

/** A tile by its name, and the seconds that it is counted to take. */
export interface UsualMatrix {
  way: string;
  seconds: number;
}

/** The tile that should take least time; undefined where even the smallest would be mostly empty. */
export function usualMatrix(
  rows: number,
  columns4: number,
  k4: number,
  tiles: Readonly<Record<string, MatrixTile>>,
): UsualMatrix | undefined {
  if (rows < 32 || columns4 < 8) return undefined;
  let best: UsualMatrix | undefined;
  for (const [tile, rate, way] of countedTiles(tiles)) {
    const seconds = tileSeconds(tile, groupsOf(tile, rows, columns4), k4, rate);
    if (!best || seconds < best.seconds) best = { way, seconds };
  }
  return best;
}

/** Fewest vec4 of a sum that are worth a part. */
const PART4 = 64;

/** A tile, and how many vec4 of every sum a workgroup takes. */
export interface MatrixParts {
  tile: MatrixTile;
  part4: number;
  /** How many parts that makes. */
  parts: number;
  /** Seconds, as counted: until the parts are written; and one dispatch more that reads and joins them. */
  first: number;
  join: number;
}

/** Seconds to write or read the parts of all sums. */
const partSeconds = (parts: number, rows: number, columns4: number) => (parts * rows * columns4 * 16) / CACHES;

/**
 * How to compute sums of `k4` vec4 in parts; undefined where there are tiles enough for a card, or next to none, or
 * sums are short. What is counted, for each tile, and each number of parts that gives a multiprocessor two workgroups
 * at most:
 *
 *   first = rounds of workgroups over the multiprocessors × multiply-adds of a workgroup / its rate
 *           + parts × rows × columns × 4 bytes / what caches deliver
 *   join  = the same bytes / what caches deliver + one dispatch
 *
 * against the rounds and multiply-adds of the best tile alone. 512 rows of 5120 → 1280 take 27 µs by 80 tiles of
 * 128×64, and 30 in three parts by tiles of 128×128 (16 + 2 + 2 + 10); a 3×3 convolution of 1280 channels on two maps
 * of 16² 62 or 49 (35 + 2 + 2 + 10), on two of 8² 37 or 22 (10 + 1 + 1 + 10, six parts by tiles of 128×64).
 */
export function matrixParts(rows: number, columns4: number, k4: number, caps: Capabilities): MatrixParts | undefined {
  if (rows < 32 || columns4 < 8) return undefined;
  let best: MatrixParts | undefined;
  for (const [tile, rate] of countedTiles(matrixTiles(caps))) {
    const groups = groupsOf(tile, rows, columns4);
    const most = Math.min(Math.floor((2 * MULTIPROCESSORS) / groups), Math.floor(k4 / PART4));
    for (let wanted = 2; wanted <= most; wanted++) {
      const part4 = tile.K4S * ceilDiv(k4, wanted * tile.K4S);
      const parts = ceilDiv(k4, part4);
      const moved = partSeconds(parts, rows, columns4);
      const first = tileSeconds(tile, groups * parts, part4, rate) + moved;
      const join = moved + DISPATCH;
      if (!best || first + join < best.first + best.join) best = { tile, part4, parts, first, join };
    }
  }
  return best;
}

/** Share of a whole tile's time that parts may take: they take memory as well, and counting is not that exact. */
const WORTH = 0.9;

/** Whether parts are counted to take clearly less time than a whole tile. */
export function partsPay({ first, join }: MatrixParts, whole: UsualMatrix | undefined): boolean {
  return first + join <= WORTH * (whole?.seconds ?? Infinity);
}
