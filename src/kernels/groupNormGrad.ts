/** The gradient of a group normalisation by its input. */
import {
  defineKernel,
  formatShape,
  InvalidArgumentError,
  linearGrid,
  numel,
  ShapeError,
  type Op,
  type Tensor,
  type Weight,
} from '../engine/index.ts';
import { ceilDiv, expectSame, width4 } from './common.ts';
import { chunksInLine } from './channelStats.ts';
import { groupNormFinaliseKernel, groupNormStatsKernel, rowsPerChunk } from './groupNorm.ts';
import applyShader from './groupNormGradApply.wgsl';
import meansShader from './groupNormGradMeans.wgsl';
import sumsShader from './groupNormGradSums.wgsl';
import { packVector } from './packing.ts';

/** First of three passes over the gradient: Σ g·gamma and Σ g·gamma·x̂ of every channel over chunks of pixels. */
export const groupNormGradSumsKernel = defineKernel({
  shader: sumsShader,
  tunables: { WG: [64, 32, 128, 256], HAS_GAMMA: [true, false] },
  grid: ({ B, K, C4 }, t) => linearGrid(ceilDiv(B * K * C4, t.WG)),
});

/** Second pass: both as means over the group. */
export const groupNormGradMeansKernel = defineKernel({
  shader: meansShader,
  tunables: { WG: [64, 128, 256], LANES: [64, 1, 8, 32] },
  grid: ({ B, G }, t) => linearGrid(ceilDiv(B * G, t.WG / t.LANES)),
});

/** Third pass: what is left of the gradient when both are taken out. */
export const groupNormGradApplyKernel = defineKernel({
  shader: applyShader,
  tunables: { WG: [64, 128, 256], HAS_GAMMA: [true, false] },
  grid: ({ B, P, C4 }, t) => linearGrid(ceilDiv(B * P * C4, t.WG)),
});

const groupNormGradOp: Op<{ groups: number; eps: number }> = {
  name: 'groupNormGrad',
  lower({ inputs: { g, x, gamma }, attrs: { groups: G, eps }, output }, to) {
    const B = x!.shape[0];
    const C = x!.shape.at(-1)!;
    const P = numel(x!.shape.slice(1, -1));
    const C4 = width4(x!);
    const stride = 4 * C4;
    const rows = rowsPerChunk(B * C4, P, to.caps.software);
    const K = ceilDiv(P, rows);
    const LANES = to.caps.software ? 1 : 64;
    const HAS_GAMMA = gamma !== undefined;
    const stats = to.scratch([B, K, 2, stride], 'f32');
    const affine = to.scratch([B, 2, stride], 'f32');
    const sums = to.scratch([B, K, 2, stride], 'f32');
    const means = to.scratch([B, 2, stride], 'f32');
    to.dispatch({
      kernel: groupNormStatsKernel,
      params: { B, P, C4, A4: C4, at: 0, K, rows },
      bindings: { input: x, stats },
      flops: 5 * B * P * C,
    });
    to.dispatch({
      kernel: groupNormFinaliseKernel,
      tunables: { LANES, HAS_GAMMA: false },
      params: { B, C, stride, A: stride, ...chunksInLine(P, rows), G, eps },
      bindings: { stats, affine },
      flops: 6 * B * K * C,
    });
    to.dispatch({
      kernel: groupNormGradSumsKernel,
      tunables: { HAS_GAMMA },
      params: { B, P, C4, K, rows },
      bindings: { g, input: x, affine, gamma, sums },
      flops: 5 * B * P * C,
    });
    to.dispatch({
      kernel: groupNormGradMeansKernel,
      tunables: { LANES },
      params: { B, P, C, stride, K, G },
      bindings: { parts: sums, means },
      flops: 2 * B * K * C,
    });
    to.dispatch({
      kernel: groupNormGradApplyKernel,
      tunables: { HAS_GAMMA },
      params: { B, P, C4 },
      bindings: { g, input: x, affine, means, gamma, out: output },
      flops: 6 * B * P * C,
    });
  },
};

/**
 * Gradient of {@link groupNorm} (without activation) by x: g, x [B,...,C] → the same shape.
 * @param weight [C], as the normalisation has it.
 * @throws ShapeError when g or weight do not fit x; InvalidArgumentError when groups does not divide C.
 */
export function groupNormGrad(
  g: Tensor,
  x: Tensor,
  weight: Weight | undefined,
  { groups, eps }: { groups: number; eps: number },
): Tensor {
  expectSame('groupNormGrad', 'g', g, x.shape);
  const C = x.shape.at(-1)!;
  if (!Number.isInteger(groups) || groups < 1 || C % groups !== 0) {
    throw new InvalidArgumentError(`groupNormGrad: expected groups that divide C=${C}, got ${groups}`);
  }
  if (weight && (weight.shape.length !== 1 || weight.shape[0] !== C)) {
    throw new ShapeError(`groupNormGrad: expected weight [${C}], got ${weight.key} ${formatShape(weight.shape)}`);
  }
  const gamma = weight && x.graph.constant(weight, packVector, 'f32');
  return x.graph.record(groupNormGradOp, { g, x, gamma }, { groups, eps }, x.shape);
}
