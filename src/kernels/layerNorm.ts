/** layerNorm over the last dimension, with or without an affine. */
import {
  defineKernel,
  formatShape,
  InvalidArgumentError,
  linearGrid,
  ShapeError,
  type Capabilities,
  type Op,
  type Tensor,
  type Weight,
} from '../engine/index.ts';
import { ceilDiv, rowsOf, width4 } from './common.ts';
import { sharesHere } from './eights.ts';
import shader from './layerNorm.wgsl';
import subgroupShader from './layerNormSubgroup.wgsl';
import { packVector } from './packing.ts';

/** One team of LANES invocations per row. */
export const layerNormKernel = defineKernel({
  shader,
  tunables: { WG: [64, 128, 256], LANES: [64, 1, 8, 32], HAS_GAMMA: [true, false], HAS_BETA: [true, false] },
  grid: ({ M }, t) => linearGrid(ceilDiv(M, t.WG / t.LANES)),
});

/**
 * Whether lanes should take a row each and share what all rows need: where a processor plays the GPU, subgroups are
 * wide enough to save more than that costs, and rows fill one at least by half.
 */
export function rowPerLane(rows: number, { software, subgroupSize: SG }: Capabilities): boolean {
  return software && WIDE.includes(SG) && 2 * rows > SG;
}

/** Widths of subgroups whose lanes take a row each. */
export const WIDE = [8, 16];

/** The same with a row per lane of a subgroup; for adapters that run on a processor. */
export const layerNormSubgroupKernel = defineKernel({
  shader: subgroupShader,
  tunables: { SG: WIDE, HAS_GAMMA: [true, false], HAS_BETA: [true, false], RAGGED: [false, true] },
  grid: ({ M }, t) => linearGrid(ceilDiv(M, t.SG)),
  valid: sharesHere,
});

/** Inputs x [...,D], and perhaps gamma and beta [D]; result of x's shape. */
export const layerNormOp: Op<{ eps: number }> = {
  name: 'layerNorm',
  lower({ inputs: { x, gamma, beta }, attrs: { eps }, output }, to) {
    const M = rowsOf(x!);
    const D = x!.shape.at(-1)!;
    const { software, subgroupSize: SG } = to.caps;
    const shared = rowPerLane(M, to.caps);
    to.dispatch({
      kernel: shared ? layerNormSubgroupKernel : layerNormKernel,
      tunables: {
        ...(shared ? { SG, RAGGED: D % 4 !== 0 } : { LANES: software ? 1 : 64 }),
        HAS_GAMMA: gamma !== undefined,
        HAS_BETA: beta !== undefined,
      },
      params: { M, D, D4: width4(x!), eps },
      bindings: { input: x, gamma, beta, out: output },
      flops: 8 * M * D,
    });
  },
};

/**
 * x [..., D] → the same shape: each row normalised to mean 0 and variance 1, times weight [D], plus bias [D].
 * Ba, Kiros & Hinton 2016.
 * @throws ShapeError when x is not in rows, or weight or bias is not [D]; InvalidArgumentError for a negative eps.
 */
export function layerNorm(
  x: Tensor,
  weight: Weight | undefined,
  bias: Weight | undefined,
  { eps }: { eps: number },
): Tensor {
  if (x.layout !== 'rows')
    throw new ShapeError(`layerNorm: expected x [...,D] in rows, got dense ${formatShape(x.shape)}`);
  if (!(eps >= 0 && eps < Infinity)) throw new InvalidArgumentError(`layerNorm: expected eps of 0 or more, got ${eps}`);
  const D = x.shape.at(-1)!;
  for (const [name, w] of Object.entries({ weight, bias })) {
    if (w && (w.shape.length !== 1 || w.shape[0] !== D)) {
      throw new ShapeError(`layerNorm: expected ${name} [${D}], got ${w.key} ${formatShape(w.shape)}`);
    }
  }
  const g = x.graph;
  return g.record(
    layerNormOp,
    {
      x,
      gamma: weight && g.constant(weight, packVector, 'f32'),
      beta: bias && g.constant(bias, packVector, 'f32'),
    },
    { eps },
    x.shape,
  );
}
