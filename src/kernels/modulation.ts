/** What a condition does to tokens in a diffusion transformer: scale and shift behind a norm, a gate before a sum. */
import {
  defineKernel,
  formatShape,
  InvalidArgumentError,
  linearGrid,
  ShapeError,
  type Op,
  type Tensor,
} from '../engine/index.ts';
import adaptiveShader from './adaptiveNorm.wgsl';
import adaptiveSubgroupShader from './adaptiveNormSubgroup.wgsl';
import { asItems, ceilDiv, expectRank, expectSame, rowsOf, width4 } from './common.ts';
import { sharesHere } from './eights.ts';
import gatedShader from './gatedAdd.wgsl';
import { rowPerLane, WIDE } from './layerNorm.ts';

/** Layer norm with scale and shift from a condition, one team of LANES invocations per row. */
export const adaptiveNormKernel = defineKernel({
  shader: adaptiveShader,
  tunables: { WG: [64, 128, 256], LANES: [64, 1, 8, 32] },
  grid: ({ M }, t) => linearGrid(ceilDiv(M, t.WG / t.LANES)),
});

/** The same with a row per lane of a subgroup; for adapters that run on a processor. */
export const adaptiveNormSubgroupKernel = defineKernel({
  shader: adaptiveSubgroupShader,
  tunables: { SG: WIDE },
  grid: ({ B, parts }) => linearGrid(B * parts),
  valid: sharesHere,
});

/** Residual behind a gate, one vec4 per invocation. */
export const gatedAddKernel = defineKernel({
  shader: gatedShader,
  tunables: { WG: [64, 128, 256] },
  grid: ({ count }, t) => linearGrid(ceilDiv(count, t.WG)),
});

interface AdaptiveNormAttrs {
  /** Channels of m in front of either vector. */
  scale: number;
  shift: number;
  eps: number;
}

/** Inputs x [B,T,D] and m [B,N]; result of x's shape. */
export const adaptiveNormOp: Op<AdaptiveNormAttrs> = {
  name: 'adaptiveNorm',
  lower({ inputs: { x, m }, attrs: { scale, shift, eps }, output }, to) {
    const [B, T] = x!.shape;
    const D4 = width4(x!);
    const { software, subgroupSize: SG } = to.caps;
    const params = { T, D4, stride: width4(m!), scale: scale / 4, shift: shift / 4, eps };
    const rest = { bindings: { input: x, m, out: output }, flops: 40 * B * T * D4 };
    if (rowPerLane(T, to.caps)) {
      const parts = ceilDiv(T, SG);
      to.dispatch({ kernel: adaptiveNormSubgroupKernel, tunables: { SG }, params: { ...params, B, parts }, ...rest });
    } else {
      const LANES = software ? 1 : 64;
      to.dispatch({ kernel: adaptiveNormKernel, tunables: { LANES }, params: { ...params, M: B * T }, ...rest });
    }
  },
  readPart(node, name, from, at) {
    if (name !== 'm' || at % 4 !== 0) return undefined;
    const { scale, shift, eps } = node.attrs;
    return {
      ...node,
      inputs: { ...node.inputs, m: asItems(from) },
      attrs: { scale: scale + at, shift: shift + at, eps },
    };
  },
};

/** Inputs x, y [B,T,D] and m [B,N]; result of x's shape. */
export const gatedAddOp: Op<{ gate: number }> = {
  name: 'gatedAdd',
  lower({ inputs: { x, y, m }, attrs: { gate }, output }, to) {
    const D4 = width4(x!);
    const count = rowsOf(x!) * D4;
    to.dispatch({
      kernel: gatedAddKernel,
      params: { count, N4: x!.shape[1] * D4, D4, stride: width4(m!), gate: gate / 4 },
      bindings: { x, y, m, out: output },
      flops: 8 * count,
    });
  },
  readPart(node, name, from, at) {
    if (name !== 'm' || at % 4 !== 0) return undefined;
    return { ...node, inputs: { ...node.inputs, m: asItems(from) }, attrs: { gate: node.attrs.gate + at } };
  },
};

/** @throws ShapeError unless m [B,N] holds D channels behind each of `offsets`, and all start on a vec4. */
function expectVectors(where: string, x: Tensor, m: Tensor, offsets: readonly number[]): void {
  expectRank(where, 'x', x, 3, '[B,T,D]');
  expectRank(where, 'm', m, 2, '[B,N]');
  const [B, , D] = x.shape;
  const fits = offsets.every((at) => Number.isInteger(at) && at >= 0 && at % 4 === 0 && at + D <= m.shape[1]);
  if (D % 4 === 0 && m.shape[0] === B && fits) return;
  throw new ShapeError(
    `${where}: expected x [B,T,D] and m [B,N] with D channels behind ${offsets.join(' and ')}, all multiples of four, ` +
      `got x ${formatShape(x.shape)}, m ${formatShape(m.shape)}`,
  );
}

/**
 * norm(x)·(1 + m[:, scale…]) + m[:, shift…], norm over the last dimension: x [B,T,D], m [B,N] → [B,T,D]. Peebles & Xie
 * 2023, section 3.2.
 * @param at.scale Channels of m in front of the scale; and so for the shift.
 * @throws ShapeError when m does not hold them, or a width is no multiple of four; InvalidArgumentError for a bad eps.
 */
export function adaptiveNorm(x: Tensor, m: Tensor, at: { scale: number; shift: number; eps: number }): Tensor {
  const { scale, shift, eps } = at;
  expectVectors('adaptiveNorm', x, m, [scale, shift]);
  if (!(eps >= 0 && eps < Infinity)) {
    throw new InvalidArgumentError(`adaptiveNorm: expected eps of 0 or more, got ${eps}`);
  }
  return x.graph.record(adaptiveNormOp, { x, m }, { scale, shift, eps }, x.shape);
}

/**
 * x + m[:, gate…]·y: x, y [B,T,D], m [B,N] → [B,T,D].
 * @throws ShapeError when m does not hold the gate, a width is no multiple of four, or y is of another shape than x.
 */
export function gatedAdd(x: Tensor, y: Tensor, m: Tensor, gate: number): Tensor {
  expectVectors('gatedAdd', x, m, [gate]);
  expectRank('gatedAdd', 'y', y, 3, '[B,T,D]');
  expectSame('gatedAdd', 'y', y, x.shape);
  return x.graph.record(gatedAddOp, { x, y, m }, { gate }, x.shape);
}
