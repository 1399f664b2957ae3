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
