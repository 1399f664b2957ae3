/** groupNorm in one dispatch for adapters that run on a processor: a subgroup per slab of groups. */
import { defineKernel, InvalidArgumentError, type Capabilities } from '../engine/index.ts';
import { ACTIVATIONS, ceilDiv } from './common.ts';
import { canShare, SHARED, sharesHere } from './eights.ts';
import shader from './groupNormSubgroup.wgsl';

/** A subgroup per slab of groups, which gathers its statistics and then writes all of it. */
export const groupNormSubgroupKernel = defineKernel({
  shader,
  tunables: {
    SG: SHARED.SG,
    ACT: Object.values(ACTIVATIONS),
    HAS_SECOND: [false, true],
    FOURS: [false, true],
    AHEAD: [true, false],
  },
  grid: ({ B, G, slab }) => [ceilDiv(G, slab), B, 1],
  valid: sharesHere,
});

/** Subgroups that two cores or a few share evenly. */
const FEW = 4;
/** vec4 that one core normalises in the time of two dispatches. */
const LEAST = 8192;
/**
 * Up to so many pixels one dispatch is known to pay on two cores: it keeps one core busy per slab, three keep all busy.
 */
const MOST_PIXELS = 256 * 256;

/** A map as a norm sees it: batch, pixels, vec4 per pixel, groups and their channels. */
export interface NormSizes {
  B: number;
  P: number;
  C4: number;
  G: number;
  size: number;
}

/**
 * How the lanes of a subgroup are placed on a map: on `slab` groups, at most one for each lane, that start on a vec4,
 * `across` lanes side by side. Lanes side by side read memory that lies together, so as many stand so as divide the
 * slab, in the narrowest slab that allows that and leaves subgroups for a few cores.
 */
export function lanesOver({ B, G, size }: NormSizes, SG: number): { slab: number; across: number } {
  const step = size % 4 === 0 ? 1 : size % 2 === 0 ? 2 : 4;
  let best = { slab: step, across: 1 };
  for (let slab = step; slab <= SG && slab < G + step; slab += step) {
    let across = 1;
    while (across < SG && ((slab * size) / 4) % (2 * across) === 0) across *= 2;
    if (across > best.across && B * ceilDiv(G, slab) >= FEW) best = { slab, across };
  }
  return best;
}

/** Whether one dispatch takes less time than three: where a processor plays the GPU, and its cores each find a slab. */
export function subgroupPays(map: NormSizes, caps: Capabilities): boolean {
  const { software, subgroupSize } = caps;
  if (!software || !canShare(caps) || map.P > MOST_PIXELS) return false;
  const { B, P, C4, G } = map;
  return B * ceilDiv(G, lanesOver(map, subgroupSize).slab) > 1 || P * C4 <= LEAST;
}

/** @throws InvalidArgumentError without subgroups of a width that the kernel knows. */
export function expectSubgroups(caps: Capabilities): void {
  if (canShare(caps)) return;
  throw new InvalidArgumentError(
    `groupNorm: algorithm 'subgroup' expects subgroups of ${SHARED.SG.join(', ')}, got ${caps.subgroupSize || 'none'}`,
  );
}
