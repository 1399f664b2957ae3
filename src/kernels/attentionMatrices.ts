/** Attention by subgroup matrices, for GPUs that have them, and halves: the kernel, and which of its tiles to take. */
import { defineKernel } from '../engine/index.ts';
import type { Capabilities } from '../engine/index.ts';
import matrixShader from './attentionMatrix.wgsl';
import { ceilDiv } from './common.ts';

/** Subgroups down and across, and what they work on. */
type Matrices = Record<'DOWN' | 'ACROSS' | 'D4', number>;

/** One workgroup per 16·DOWN queries of a head, online softmax over tiles of 16·ACROSS keys. */
export const attentionMatrixKernel = defineKernel({
  shader: matrixShader,
  // Given by the shape; these stand for all when every variant is compiled.
  tunables: { DOWN: [2, 4, 1], ACROSS: [2, 1], D4: [16, 10, 18], HAS_MASK: [false, true] },
  grid: ({ B, T, heads }, t) => [ceilDiv(T, 16 * t.DOWN), heads, B],
  valid: fits,
});

/** Most matrices of sums that a subgroup keeps. */
const MOST_SUMS = 5;
/** Workgroups that are enough for a large card. */
const ENOUGH = 200;

function fits({ DOWN, ACROSS, D4 }: Record<string, number>, { matrices, limits }: Capabilities): boolean {
  const blocks = ceilDiv(D4, 4);
  const pool = 16 * (DOWN + ACROSS) * (4 * blocks + 2) + 16 * DOWN * (8 * ACROSS + 2);
  return (
    (matrices ?? false) &&
    ceilDiv(blocks, ACROSS) <= MOST_SUMS &&
    32 * DOWN * ACROSS <= limits.maxComputeInvocationsPerWorkgroup &&
    8 * pool + 4 * 16 * DOWN + 32 <= limits.maxComputeWorkgroupStorageSize
  );
}

/** The tiles worth trying, by the names of the ways, largest first; none where the device or heads are not made for them. */
export function matrixWays(T: number, D4: number, caps: Capabilities): Record<string, Matrices> {
  const ways: Record<string, Matrices> = {};
  for (const DOWN of [4, 2, 1]) {
    const tile = { DOWN, ACROSS: 2, D4 };
    if (T > 8 * DOWN && fits(tile, caps)) ways[`matrices ${16 * DOWN}x32`] = tile;
  }
  return ways;
}

/** The largest tiles that leave enough workgroups, else the smallest; undefined where there are none. */
export function usualMatrixWay(ways: Readonly<Record<string, Matrices>>, T: number, heads: number): string | undefined {
  const names = Object.keys(ways);
  return names.find((name) => ceilDiv(T, 16 * ways[name].DOWN) * heads >= ENOUGH) ?? names.at(-1);
}
