/** Norms of single channels: InstanceNorm, its form in NCSN that keeps the channels' means, and VarianceNorm. */
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
import { groupNormStatsKernel, rowsPerChunk } from './groupNorm.ts';
import applyShader from './instanceNormApply.wgsl';
import finaliseShader from './instanceNormFinalise.wgsl';
import { packVector } from './packing.ts';

/** Second of three passes, behind {@link groupNormStatsKernel}: mean, factor and shift per channel. */
export const instanceNormFinaliseKernel = defineKernel({
  shader: finaliseShader,
  tunables: { WG: [64, 128, 256], LANES: [64, 1, 8, 32], MODE: [0, 1, 2] },
  grid: ({ B }, t) => linearGrid(ceilDiv(B, t.WG / t.LANES)),
});

/** Third pass: ROWS pixels × one vec4 per invocation. */
export const instanceNormApplyKernel = defineKernel({
  shader: applyShader,
  tunables: { WG: [64, 128, 256], ROWS: [4, 1, 2, 8, 32], ACT: Object.values(ACTIVATIONS) },
  grid: ({ B, P, C4 }, t) => linearGrid(ceilDiv(B * ceilDiv(P, t.ROWS) * C4, t.WG)),
});

const MODES = { instance: 0, plus: 1, variance: 2 } as const;

interface InstanceNormAttrs {
  mode: keyof typeof MODES;
  eps: number;
  act: Activation;
}

/** Inputs: x [B,...,C], and perhaps alpha, gamma and beta. */
export const instanceNormOp: Op<InstanceNormAttrs> = {
  name: 'instanceNorm',
  lower({ inputs: { x, alpha, gamma, beta }, attrs: { mode, eps, act }, output }, to) {
    const B = x!.shape[0];
    const C = x!.shape.at(-1)!;
    const P = numel(x!.shape.slice(1, -1));
    const C4 = width4(x!);
    const rows = rowsPerChunk(B * C4, P, to.caps.software);
    const K = ceilDiv(P, rows);
    const stats = to.scratch([B, K, 2, 4 * C4], 'f32');
    const affine = to.scratch([B, 3, 4 * C4], 'f32');
    to.dispatch({
      kernel: groupNormStatsKernel,
      params: { B, P, C4, A4: C4, at: 0, K, rows },
      bindings: { input: x, stats },
      flops: 5 * B * P * C,
    });
    to.dispatch({
      kernel: instanceNormFinaliseKernel,
      tunables: { LANES: to.caps.software ? 1 : 64, MODE: MODES[mode] },
      params: { B, P, C, C4, K, rows, eps },
      bindings: { stats, alpha, gamma, beta, affine },
      flops: 6 * B * K * C,
    });
    to.dispatch({
      kernel: instanceNormApplyKernel,
      tunables: { ACT: activationCode(act), ROWS: to.caps.software ? 32 : 4 },
      params: { B, P, C4 },
      bindings: { input: x, affine, out: output },
      flops: 3 * B * P * C,
    });
  },
};

interface Options {
  /** ≥ 0; default 1e-5. */
  eps?: number;
  /** Any but a sigmoid. */
  act?: Activation;
}

function record(
  mode: keyof typeof MODES,
  x: Tensor,
  weights: Partial<Record<'alpha' | 'gamma' | 'beta', Weight>>,
  { eps = 1e-5, act = 'none' }: Options,
): Tensor {
  if (x.shape.length < 3 || x.layout !== 'rows') {
    throw new ShapeError(`instanceNorm: expected x [B,...,C] in rows, got ${x.layout} ${formatShape(x.shape)}`);
  }
  if (!(eps >= 0 && eps < Infinity) || act === 'sigmoid') {
    throw new InvalidArgumentError(`instanceNorm: expected eps of 0 or more and no sigmoid, got ${eps} and ${act}`);
  }
  const C = x.shape.at(-1)!;
  const inputs: Record<string, Tensor> = { x };
  for (const [name, w] of Object.entries(weights)) {
    if (w.shape.length !== 1 || w.shape[0] !== C) {
      throw new ShapeError(`instanceNorm: expected ${name} [${C}], got ${w.key} ${formatShape(w.shape)}`);
    }
    inputs[name] = x.graph.constant(w, packVector, 'f32');
  }
  activationCode(act);
  return x.graph.record(instanceNormOp, inputs, { mode, eps, act }, x.shape);
}

/**
 * x [B,...,C] → the same shape: each channel of each item normalised to mean 0 and variance 1, then act. Ulyanov et al.
 * 2016. @throws ShapeError for other shapes; InvalidArgumentError for an eps or act out of range
 */
export const instanceNorm = (x: Tensor, options: Options = {}) => record('instance', x, {}, options);

/**
 * InstanceNorm++: gamma·(x̂ + alpha·m̂) + beta, then act, with x̂ as {@link instanceNorm} and m̂ the channels' means,
 * normalised over the channels. Song & Ermon 2019, https://arxiv.org/abs/1907.05600, appendix A; gamma, alpha, beta
 * [C].
 * @throws as {@link instanceNorm}
 */
export const instanceNormPlus = (
  x: Tensor,
  weights: { alpha: Weight; gamma: Weight; beta: Weight },
  options: Options = {},
) => record('plus', x, weights, options);

/** x·gamma/√(unbiased variance of the channel + eps), then act; gamma [C]. @throws as {@link instanceNorm} */
export const varianceNorm = (x: Tensor, gamma: Weight, options: Options = {}) =>
  record('variance', x, { gamma }, options);
