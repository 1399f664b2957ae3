/** What kernels share whose lanes hand each other rows by eights (`modules/eights.wgsl`). */
import type { Capabilities } from '../engine/index.ts';

/** Their tunables: the width of a subgroup, and how many times eight rows one computes. */
export const SHARED = { SG: [8, 4, 16], EIGHTS: [2, 1, 3, 4] };

/** Whether lanes of a subgroup can share what they load. */
export function canShare({ subgroupSize }: Capabilities): boolean {
  return SHARED.SG.includes(subgroupSize);
}

/** Whether tunables fit an adapter. */
export function sharesHere(t: Record<string, number>, caps: Capabilities): boolean {
  return t.SG === caps.subgroupSize;
}

/** The numbers of eights that are worth trying; on cards, which have better than sharing lanes, not all. */
export function eightsOf(caps: Capabilities): number[] {
  if (!canShare(caps)) return [];
  return caps.software ? [1, 2, 3, 4] : [1, 2, 3];
}

/**
 * What a row costs where a subgroup of four computes eight, 16, 24, 32 of them: `shared 1` … `shared 4` of
 * `npm run bench -- --node --adapter swiftshader --suite candidates --only 'matmul/cube-512*'`.
 */
const COSTS = [1.5, 1.2, 1.08, 1];

/** Least lanes for which loads are few beside what they are used for; fewer take two columns each. */
const WIDE = 8;

/**
 * How many times eight rows a subgroup computes. Where eight lanes share, it costs as much to load a block of the
 * weight as two blocks of rows and their products, which makes `most` best for many rows: four in matrix products,
 * three in attention, whose loops are short beside what follows them. Layers of few rows take as many, too: a shader of
 * their own would take the driver longer to translate than it would gain. Drivers whose subgroups have four lanes
 * translate quickly: there four are best, or what wastes the fewest rows.
 */
export function usualEights(rows: number, SG: number, most = 3): number {
  if (SG >= WIDE) return rows > 8 ? most : 1;
  const cost = (eights: number) => Math.ceil(rows / (8 * eights)) * eights * COSTS[eights - 1];
  return [4, 3, 2, 1].reduce((best, eights) => (cost(eights) < cost(best) ? eights : best));
}

/** How many vec4 columns a lane computes. */
export function usualCols(columns: number, SG: number): number {
  return SG < WIDE && columns > SG ? 2 : 1;
}
