/** Attention by subgroup matrices, for GPUs that have them, and halves: the kernel, and which of its tiles to take. */
import { defineKernel } from '../engine/index.ts';
import type { Capabilities } from '../engine/index.ts';
import { lanesOf, matrixForm, nameOfForm } from '../engine/index.ts';
import matrixShader from './attentionMatrix.wgsl';
import { ceilDiv } from './common.ts';

/** Sizes of a matrix, subgroups down and across, and what they work on. */
type Matrices = Record<'MM' | 'MN' | 'MK' | 'DOWN' | 'ACROSS' | 'D4', number>;

/** One workgroup per MM·DOWN queries of a head, online softmax over tiles of MN·ACROSS keys. */
export const attentionMatrixKernel = defineKernel({
  shader: matrixShader,
  // Given by the shape; these stand for all when every variant is compiled.
  tunables: {
    ...{ MM: [16, 8], MN: [16, 8], MK: [16, 8], DOWN: [2, 4, 1], ACROSS: [2, 1], D4: [16, 10, 18] },
    HAS_MASK: [false, true],
  },
  grid: ({ B, T, heads }, t) => [ceilDiv(T, t.MM * t.DOWN), heads, B],
  valid: fits,
});

/** Most matrices of sums that a subgroup keeps. */
const MOST_SUMS = 5;
/**
 * Most vec4 of keys or values on their way into a lane's registers: with 20, as for heads of 160, RDNA 3 runs out of
 * them.
 */
const MOST_LOADS = 16;
/** Workgroups that are enough for a large card. */
const ENOUGH = 200;

function fits({ MM, MN, MK, DOWN, ACROSS, D4 }: Record<string, number>, { matrices, limits }: Capabilities): boolean {
  const unit4 = Math.max(MN, MK) / 4;
  const padded4 = unit4 * ceilDiv(D4, unit4);
  const [queries, keys] = [MM * DOWN, MN * ACROSS];
  const lanes = lanesOf({ M: MM, N: MN }) * DOWN * ACROSS;
  const pool = (queries + keys) * (padded4 + 2) + queries * ((MN / 2) * ACROSS + 2);
  return (
    matrices === nameOfForm({ M: MM, N: MN, K: MK }) &&
    keys % MK === 0 &&
    ceilDiv((4 * padded4) / MN, ACROSS) <= MOST_SUMS &&
    ceilDiv(keys * padded4, lanes) <= MOST_LOADS &&
    lanes <= limits.maxComputeInvocationsPerWorkgroup &&
    8 * pool + 4 * queries + 32 <= limits.maxComputeWorkgroupStorageSize
  );
}

/** The tiles worth trying, by the names of the ways, largest first; none where the device or the heads do not fit. */
export function matrixWays(T: number, D4: number, caps: Capabilities): Record<string, Matrices> {
  const ways: Record<string, Matrices> = {};
  if (!caps.matrices) return ways;
  const { M: MM, N: MN, K: MK } = matrixForm(caps.matrices);
  // The narrower the subgroups, the more of them a workgroup takes for the same work.
  const most = Math.min(8, 128 / lanesOf({ M: MM, N: MN }));
  for (const DOWN of [most, most / 2, most / 4]) {
    const tile = { MM, MN, MK, DOWN, ACROSS: 2, D4 };
    if (2 * T > MM * DOWN && fits(tile, caps)) ways[`matrices ${MM * DOWN}x${2 * MN}`] = tile;
  }
  return ways;
}

/** The largest tiles that leave enough workgroups, else the smallest; undefined where there are none. */
export function usualMatrixWay(ways: Readonly<Record<string, Matrices>>, T: number, heads: number): string | undefined {
  const names = Object.keys(ways);
  return names.find((name) => ceilDiv(T, ways[name].MM * ways[name].DOWN) * heads >= ENOUGH) ?? names.at(-1);
}
