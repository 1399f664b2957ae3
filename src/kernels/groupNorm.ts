/**
 * groupNorm in as many dispatches as pay. In three (statistics over chunks, mean and variance per group, normalisation)
 * no group or channel limits how much of the machine is at work. On a GPU, where a dispatch costs more than reading a
 * small map, the workgroups of the last one gather the statistics themselves: from the chunks, or in small maps from
 * the pixels.
 */
import {
  defineKernel,
  formatShape,
  InvalidArgumentError,
  linearGrid,
  numel,
  ShapeError,
  type Capabilities,
  type Graph,
  type Lowering,
  type Op,
  type Tensor,
  type Weight,
} from '../engine/index.ts';
import { chunksInLine, leftStats } from './channelStats.ts';
import { ACTIVATIONS, activationCode, ceilDiv, plainlyTranslated, width4, type Activation } from './common.ts';
import { concatOp } from './concat.ts';
import applyShader from './groupNormApply.wgsl';
import finaliseShader from './groupNormFinalise.wgsl';
import slabShader from './groupNormSlab.wgsl';
import statsShader from './groupNormStats.wgsl';
import {
  expectSubgroups,
  groupNormSubgroupKernel,
  lanesOver,
  subgroupPays,
  type NormSizes,
} from './groupNormSubgroup.ts';
import { packVector } from './packing.ts';

/** First of three passes: mean and Σ(x − mean)² of every channel over chunks of pixels. */
export const groupNormStatsKernel = defineKernel({
  shader: statsShader,
  tunables: { WG: [64, 32, 128, 256], PIXELS: [4, 1, 2], HAS_SECOND: [false, true] },
  grid: ({ B, K, A4, C4 }, t) => linearGrid(ceilDiv(B * K * (t.HAS_SECOND ? C4 : A4), t.WG)),
});

/** Second pass: mean and gamma/√(var + eps) per channel, from the chunks of its group. */
export const groupNormFinaliseKernel = defineKernel({
  shader: finaliseShader,
  tunables: { WG: [64, 8, 128, 256], LANES: [64, 1, 8, 32], HAS_GAMMA: [true, false], HAS_SECOND: [false, true] },
  grid: ({ B, G }, t) => linearGrid(ceilDiv(B * G, t.WG / t.LANES)),
});

/** Third pass: normalises, scales and activates ROWS pixels × one vec4 per invocation. */
export const groupNormApplyKernel = defineKernel({
  shader: applyShader,
  tunables: {
    WG: [64, 128, 256],
    ROWS: [4, 1, 2, 8, 32],
    ACT: Object.values(ACTIVATIONS),
  },
  grid: ({ B, P, A4 }, t) => linearGrid(ceilDiv(B * ceilDiv(P, t.ROWS) * A4, t.WG)),
});

/** Tunables of a norm by slabs (`modules/slab.wgsl`). */
export const SLAB = {
  WG: [256],
  NORM_ACT: Object.values(ACTIVATIONS),
  HAS_GAMMA: [true, false],
  HAS_BETA: [true, false],
};

/**
 * One pass, or the second of two: a slab of groups per workgroup, which gathers its statistics and writes some pixels.
 */
export const groupNormSlabKernel = defineKernel({
  shader: slabShader,
  tunables: {
    ...SLAB,
    HAS_SECOND: [false, true],
    FROM_STATS: [false, true],
  },
  grid: slabGrid,
  valid: slabFits,
});

/** Workgroups of a norm by slabs: those that share one, slabs, batch items. */
export function slabGrid({ B, P, G, slab, rows }: Record<string, number>): [number, number, number] {
  return [ceilDiv(P, rows), ceilDiv(G, slab), B];
}

/** Whether an adapter has workgroups so large. */
export function slabFits(t: Record<string, number>, { limits }: Capabilities): boolean {
  return t.WG <= limits.maxComputeInvocationsPerWorkgroup;
}

/**
 * How many dispatches: `subgroup` and `slab` one, `chunks` two, `passes` three, and two more where the input is two
 * tensors.
 */
export const GROUP_NORM_ALGORITHMS = ['subgroup', 'slab', 'chunks', 'passes'] as const;
/** One of {@link GROUP_NORM_ALGORITHMS}. */
export type GroupNormAlgorithm = (typeof GROUP_NORM_ALGORITHMS)[number];

/** Up to so many pixels a workgroup gathers the statistics from them: reading these takes as long as a dispatch. */
const SLAB_PIXELS = 128 * 128;
/** Channels that make a slab worth its reads: 64 bytes of halves. */
const SLAB_CHANNELS = 32;
/** Workgroups that fill a card. */
const SLABS = 128;

/** What {@link groupNormOp} is told beside its inputs. */
export interface GroupNormAttrs {
  groups: number;
  eps: number;
  act: Activation;
  /** Applied last; default 1. */
  scale?: number;
  /** Default: by shape and adapter. */
  algorithm?: GroupNormAlgorithm;
}

/** A norm's input to be lowered: its tensors and numbers. */
interface Source extends NormSizes {
  inputs: Record<string, Tensor | undefined>;
  C: number;
  /** vec4 per pixel of x. */
  A4: number;
  eps: number;
  /** Chunks of pixels, and pixels of one. */
  K: number;
  rows: number;
}

/** A norm to be lowered. */
interface Work extends Source {
  out: Tensor;
  act: Activation;
  factor: number;
}

/**
 * Inputs: x [B,...,C], perhaps second [B,...,D], whose channels stand behind those of x, and perhaps gamma and beta.
 */
export const groupNormOp: Op<GroupNormAttrs> = {
  name: 'groupNorm',
  lower({ inputs, attrs, output: out }, to) {
    const { act, scale: factor = 1, algorithm } = attrs;
    const work = { ...sourceOf(inputs, attrs, to), out, act, factor };
    LOWER[algorithm ?? usualAlgorithm(work, to.caps)](work, to);
  },
};

function sourceOf(inputs: Source['inputs'], { groups: G, eps }: GroupNormAttrs, { caps }: Lowering): Source {
  const { x, second } = inputs;
  const B = x!.shape[0];
  const C = x!.shape.at(-1)! + (second?.shape.at(-1) ?? 0);
  const P = numel(x!.shape.slice(1, -1));
  const C4 = ceilDiv(C, 4);
  const rows = rowsPerChunk(B * C4, P, caps.software);
  return { inputs, B, P, C, C4, A4: width4(x!), G, size: C / G, eps, rows, K: ceilDiv(P, rows) };
}

function usualAlgorithm(map: NormSizes, caps: Capabilities): GroupNormAlgorithm {
  if (subgroupPays(map, caps)) return 'subgroup';
  if (caps.software || !slabGroups(map)) return 'passes';
  return map.P <= SLAB_PIXELS ? 'slab' : 'chunks';
}

const LOWER: Record<GroupNormAlgorithm, (work: Work, to: Lowering) => void> = {
  subgroup: lowerSubgroup,
  slab: (work, to) => lowerSlab(work, undefined, to),
  chunks: lowerChunks,
  passes: lowerPasses,
};

function lowerSubgroup({ inputs, out, act, eps, factor, ...map }: Work, to: Lowering): void {
  expectSubgroups(to.caps);
  const { B, P, C, C4, A4, G, size } = map;
  const SG = to.caps.subgroupSize;
  const plain = plainlyTranslated(to.caps);
  const { x, second, gamma, beta } = inputs;
  to.dispatch({
    kernel: groupNormSubgroupKernel,
    // Where shaders take long to translate, and a network has two tensors under a norm somewhere, all its norms share
    // one.
    tunables: {
      SG,
      ACT: sharedActivation(act),
      HAS_SECOND: second !== undefined || (!plain && joins(to.graph)),
      FOURS: plain,
      AHEAD: !plain,
    },
    params: {
      ...{ B, P, C, C4, A4, G, size, ...lanesOver(map, SG), eps, factor },
      ...{ scaled: gamma ? 1 : 0, acts: act === 'none' ? 0 : 1 },
    },
    bindings: { input: x, second, gamma, beta, out },
    flops: 32 * B * P * C,
  });
}

const joins = ({ nodes }: Graph) => nodes.some(({ op }) => op === (concatOp as unknown));

function lowerChunks(work: Work, to: Lowering): void {
  const { inputs, B, P, C, C4, A4, K, rows } = work;
  const { x, second } = inputs;
  const stats = to.scratch([B, K, 2, 4 * C4], 'f32');
  to.dispatch({
    kernel: groupNormStatsKernel,
    tunables: { HAS_SECOND: second !== undefined },
    params: { B, P, C4, A4, at: 0, K, rows },
    bindings: { input: x, second, stats },
    flops: 5 * B * P * C,
  });
  lowerSlab(work, stats, to);
}

function lowerSlab(work: Work, stats: Tensor | undefined, to: Lowering): void {
  const { inputs, out, B, P, C, C4, A4, G, size, act, eps, factor, K, rows: chunk } = work;
  const { x, second, gamma, beta } = inputs;
  const slabs = slabsOf(work);
  if (!slabs)
    throw new InvalidArgumentError(`groupNorm: groups of ${size} channels are too wide for 'slab' and 'chunks'`);
  to.dispatch({
    kernel: groupNormSlabKernel,
    tunables: {
      NORM_ACT: activationCode(act),
      HAS_GAMMA: gamma !== undefined,
      HAS_BETA: beta !== undefined,
      HAS_SECOND: second !== undefined,
      FROM_STATS: stats !== undefined,
    },
    params: { B, P, C, C4, A4, G, size, ...slabs, K, chunk, eps, factor },
    bindings: { input: x, second, stats, gamma, beta, out },
    flops: 8 * B * P * C,
  });
}

function lowerPasses(work: Work, to: Lowering): void {
  const { inputs, out, B, P, C, C4, act, factor } = work;
  const affine = lowerAffine(work, to);
  for (const { input, at } of partsOf(work)) {
    to.dispatch({
      kernel: groupNormApplyKernel,
      tunables: { ACT: sharedActivation(act), ROWS: to.caps.software ? 32 : 4 },
      params: { B, P, C4, A4: width4(input), at, C, acts: act === 'none' ? 0 : 1, factor },
      bindings: { input, affine, beta: inputs.beta, out },
      flops: 12 * B * P * width4(input),
    });
  }
}

/** One tensor after the other: a shader for both would be one more to compile. */
function partsOf({ inputs: { x, second }, A4 }: Source) {
  return [{ input: x!, at: 0 }, ...(second ? [{ input: second, at: A4 }] : [])];
}

/** f32 [B,2,C]: what a norm of these inputs subtracts from each channel, and then multiplies it with. */
export function groupNormAffine(inputs: Source['inputs'], attrs: GroupNormAttrs, to: Lowering): Tensor {
  return lowerAffine(sourceOf(inputs, attrs, to), to);
}

function lowerAffine(source: Source, to: Lowering): Tensor {
  const { inputs, B, P, C, C4, A4, G, eps, K, rows } = source;
  const { gamma } = inputs;
  const { software } = to.caps;
  const stride = 4 * C4;
  const parts = partsOf(source);
  const left = leftStats(
    parts.map(({ input }) => input),
    to,
  );
  const found = left ?? [{ stats: to.scratch([B, K, 2, stride], 'f32'), chunks: chunksInLine(P, rows) }];
  for (const { input, at } of left ? [] : parts) {
    to.dispatch({
      kernel: groupNormStatsKernel,
      tunables: { PIXELS: software ? 1 : 4 },
      params: { B, P, C4, A4: width4(input), at, K, rows },
      bindings: { input, stats: found[0].stats },
      flops: 20 * B * P * width4(input),
    });
  }
  const [{ stats, chunks }, second] = found;
  const affine = to.scratch([B, 2, stride], 'f32');
  to.dispatch({
    kernel: groupNormFinaliseKernel,
    tunables: {
      // As many workgroups as cores can take, and no barriers, where those are dear.
      ...(software ? { WG: 8, LANES: 1 } : { LANES: 64 }),
      HAS_GAMMA: gamma !== undefined,
      // Where a shader takes long to translate, norms of one tensor and of two share one.
      HAS_SECOND: software || second !== undefined,
    },
    params: { B, C, stride, A: second ? 4 * A4 : stride, ...chunks, G, eps },
    bindings: { stats, second: second?.stats, gamma, affine },
    flops: 6 * B * chunks.K * C,
  });
  return affine;
}

/** The shader that a norm takes: most have this activation or none, and share one. */
export function sharedActivation(act: Activation): number {
  return activationCode(act === 'none' ? 'silu' : act);
}

/**
 * Groups that one workgroup takes, so that slabs start on a vec4 and are wide enough; undefined where groups are too
 * wide.
 */
function slabGroups({ size, G }: Pick<NormSizes, 'size' | 'G'>): number | undefined {
  const step = size % 4 === 0 ? 1 : size % 2 === 0 ? 2 : 4;
  const groups = Math.min(ceilDiv(G, step) * step, step * ceilDiv(SLAB_CHANNELS, step * size));
  return groups * size <= 256 ? groups : undefined;
}

/**
 * Groups of a slab, and pixels that each of the workgroups writes that share it; undefined where groups are too wide.
 */
export function slabsOf(map: Omit<NormSizes, 'C4'>): { slab: number; rows: number } | undefined {
  const { B, P, G } = map;
  const slab = slabGroups(map);
  if (!slab) return undefined;
  const sharing = Math.min(ceilDiv(P, 64), Math.max(1, Math.floor(SLABS / (B * ceilDiv(G, slab)))));
  return { slab, rows: ceilDiv(P, sharing) };
}

/**
 * Pixels per chunk: enough chunks that `columns` · chunks invocations fill the machine, at least 16 pixels so that the
 * statistics stay small beside the data, at most 256 chunks so that joining them stays short.
 */
export function rowsPerChunk(columns: number, P: number, software: boolean): number {
  const wanted = Math.min(256, Math.max(1, Math.floor((software ? 1024 : 32768) / columns)));
  return Math.max(Math.min(16, P), ceilDiv(P, wanted));
}

/**
 * x [B,H,W,C], [B,T,C] or [B,C] → the same shape: each of `groups` runs of channels of a batch item normalised to mean
 * 0 and variance 1, times weight [C], plus bias [C], then act, times `scale`. Wu & He 2018.
 * @throws ShapeError when x has no batch and channel dimension, or weight or bias is not [C].
 * @throws InvalidArgumentError when groups does not divide C, or eps is negative or not finite.
 */
export function groupNorm(
  x: Tensor,
  weight: Weight | undefined,
  bias: Weight | undefined,
  options: { groups: number; eps: number; act?: Activation; scale?: number; algorithm?: GroupNormAlgorithm },
): Tensor {
  const { groups, eps, act = 'none', scale, algorithm } = options;
  if (x.shape.length < 2 || x.layout !== 'rows') {
    throw new ShapeError(`groupNorm: expected x [B,...,C] in rows, got ${x.layout} ${formatShape(x.shape)}`);
  }
  const C = x.shape.at(-1)!;
  if (!Number.isInteger(groups) || groups < 1 || C % groups !== 0) {
    throw new InvalidArgumentError(`groupNorm: expected groups that divide C=${C}, got ${groups}`);
  }
  if (!(eps >= 0 && eps < Infinity)) throw new InvalidArgumentError(`groupNorm: expected eps of 0 or more, got ${eps}`);
  for (const [name, w] of Object.entries({ weight, bias })) {
    if (w && (w.shape.length !== 1 || w.shape[0] !== C)) {
      throw new ShapeError(`groupNorm: expected ${name} [${C}], got ${w.key} ${formatShape(w.shape)}`);
    }
  }
  activationCode(act);
  const g = x.graph;
  return g.record(
    groupNormOp,
    {
      x,
      gamma: weight && g.constant(weight, packVector, 'f32'),
      beta: bias && g.constant(bias, packVector, 'f32'),
    },
    { groups, eps, act, scale, algorithm },
    x.shape,
  );
}
