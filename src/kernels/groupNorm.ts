/** groupNorm in three dispatches, so that neither one group nor one channel limits how much of the machine is at work. */
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
import { ACTIVATIONS, activationCode, ceilDiv, width4, type Activation } from './common.ts';
import applyShader from './groupNormApply.wgsl';
import finaliseShader from './groupNormFinalise.wgsl';
import statsShader from './groupNormStats.wgsl';
import { packVector } from './packing.ts';

/** First of three passes: mean and Σ(x − mean)² of every channel over chunks of pixels. */
export const groupNormStatsKernel = defineKernel({
  shader: statsShader,
  tunables: { WG: [64, 32, 128, 256] },
  grid: ({ B, K, C4 }, t) => linearGrid(ceilDiv(B * K * C4, t.WG)),
});

/** Second pass: mean and gamma/√(var + eps) per channel, from the chunks of its group. */
export const groupNormFinaliseKernel = defineKernel({
  shader: finaliseShader,
  tunables: { WG: [64, 128, 256], LANES: [64, 1, 8, 32], HAS_GAMMA: [true, false] },
  grid: ({ B, G }, t) => linearGrid(ceilDiv(B * G, t.WG / t.LANES)),
});

/** Third pass: normalises, scales and activates ROWS pixels × one vec4 per invocation. */
export const groupNormApplyKernel = defineKernel({
  shader: applyShader,
  tunables: {
    WG: [64, 128, 256],
    ROWS: [4, 1, 2, 8],
    ACT: Object.values(ACTIVATIONS),
    HAS_BETA: [true, false],
  },
  grid: ({ B, P, C4 }, t) => linearGrid(ceilDiv(B * ceilDiv(P, t.ROWS) * C4, t.WG)),
});

/** What {@link groupNormOp} is told beside its inputs. */
export interface GroupNormAttrs {
  groups: number;
  eps: number;
  act: Activation;
}

/** Inputs: x [B,...,C], and perhaps gamma and beta. */
export const groupNormOp: Op<GroupNormAttrs> = {
  name: 'groupNorm',
  lower({ inputs: { x, gamma, beta }, attrs: { groups: G, eps, act }, output }, to) {
    const B = x!.shape[0];
    const C = x!.shape.at(-1)!;
    const P = numel(x!.shape.slice(1, -1));
    const C4 = width4(x!);
    const stride = 4 * C4;
    const rows = rowsPerChunk(B * C4, P, to.caps.software);
    const K = ceilDiv(P, rows);
    const stats = to.scratch([B, K, 2, stride], 'f32');
    const affine = to.scratch([B, 2, stride], 'f32');
    to.dispatch({
      kernel: groupNormStatsKernel,
      params: { B, P, C4, K, rows },
      bindings: { input: x, stats },
      flops: 5 * B * P * C,
    });
    to.dispatch({
      kernel: groupNormFinaliseKernel,
      tunables: { LANES: to.caps.software ? 1 : 64, HAS_GAMMA: gamma !== undefined },
      params: { B, P, C, stride, K, rows, G, eps },
      bindings: { stats, gamma, affine },
      flops: 6 * B * K * C,
    });
    to.dispatch({
      kernel: groupNormApplyKernel,
      tunables: { ACT: activationCode(act), HAS_BETA: beta !== undefined },
      params: { B, P, C4, C },
      bindings: { input: x, affine, beta, out: output },
      flops: 3 * B * P * C,
    });
  },
};

/**
 * Pixels per chunk: enough chunks that `columns` · chunks invocations fill the machine, at least 16 pixels so that the
 * statistics stay small beside the data, at most 256 chunks so that joining them stays short.
 */
export function rowsPerChunk(columns: number, P: number, software: boolean): number {
  const wanted = Math.min(256, Math.max(1, Math.floor((software ? 1024 : 32768) / columns)));
  return Math.max(Math.min(16, P), ceilDiv(P, wanted));
}

/**
 * x [B,H,W,C], [B,T,C] or [B,C] → the same shape: each of `groups` runs of channels of a batch item normalised to mean 0
 * and variance 1, times weight [C], plus bias [C], then act. Wu & He 2018.
 * @throws ShapeError when x has no batch and channel dimension, or weight or bias is not [C].
 * @throws InvalidArgumentError when groups does not divide C, or eps is negative or not finite.
 */
export function groupNorm(
  x: Tensor,
  weight: Weight | undefined,
  bias: Weight | undefined,
  { groups, eps, act = 'none' }: { groups: number; eps: number; act?: Activation },
): Tensor {
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
    { groups, eps, act },
    x.shape,
  );
}
