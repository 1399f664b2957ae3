/** linear: y = act(x Wᵀ + b) + residual, as one register-tiled matmul. */
import {
  defineKernel,
  formatShape,
  linearGrid,
  ShapeError,
  type Capabilities,
  type Op,
  type Tensor,
  type Weight,
} from '../engine/index.ts';
import { ACTIVATIONS, activationCode, ceilDiv, expectSame, rowsOf, width4, type Activation } from './common.ts';
import shader from './matmul.wgsl';
import subgroupShader from './matmulSubgroup.wgsl';
import { packMatrix, packVector } from './packing.ts';

/** ROWS rows × one vec4 column per invocation, in registers. */
export const matmulKernel = defineKernel({
  shader,
  tunables: {
    ROWS: [8, 1, 2, 4, 16],
    WG_N: [8, 4, 16, 32],
    WG_M: [8, 1, 4, 16],
    ACT: Object.values(ACTIVATIONS),
    HAS_BIAS: [true, false],
    HAS_RESIDUAL: [false, true],
  },
  grid: ({ M, N4 }, t) => [ceilDiv(N4, t.WG_N), ceilDiv(ceilDiv(M, t.ROWS), t.WG_M), 1],
  valid: (t, { limits }) => t.WG_N * t.WG_M <= limits.maxComputeInvocationsPerWorkgroup,
});

/** The same with rows shared in a subgroup; for adapters that run on a processor. */
export const matmulSubgroupKernel = defineKernel({
  shader: subgroupShader,
  tunables: {
    SG: [8, 4],
    SUBS: [1, 2, 4],
    WG: [8, 4, 16, 32],
    ACT: Object.values(ACTIVATIONS),
    HAS_BIAS: [true, false],
    HAS_RESIDUAL: [false, true],
  },
  grid({ M, N4 }, t) {
    const [y, z] = linearGrid(ceilDiv(M, 8 * t.SUBS));
    return [ceilDiv(N4, t.SG), y, z];
  },
  valid: (t, caps) => t.SG === caps.subgroupSize && t.WG === t.SG * t.SUBS,
});

/** Whether lanes of a subgroup should share what they load: on processors, where at least half of them have a column. */
export function sharesInSubgroup({ software, subgroupSize }: Capabilities, columns: number): boolean {
  return software && (subgroupSize === 4 || subgroupSize === 8) && 2 * columns >= subgroupSize;
}

/** What {@link linearOp} is told beside its inputs. */
export interface LinearAttrs {
  act: Activation;
  /** Applied after act and residual. */
  scale: number;
}

/** Inputs x [...,K], weight, and perhaps bias and residual; also what a 1×1 convolution lowers to. */
export const linearOp: Op<LinearAttrs> = {
  name: 'linear',
  lower({ inputs: { x, weight, bias, residual }, attrs, output }, to) {
    const M = rowsOf(x!);
    const SG = to.caps.subgroupSize;
    const shared = M >= 4 && sharesInSubgroup(to.caps, width4(output));
    to.dispatch({
      kernel: shared ? matmulSubgroupKernel : matmulKernel,
      tunables: {
        ...(shared ? { SG, WG: SG } : matmulTile(M)),
        ACT: activationCode(attrs.act),
        HAS_BIAS: bias !== undefined,
        HAS_RESIDUAL: residual !== undefined,
      },
      params: { M, K4: width4(x!), N4: width4(output), N: output.shape.at(-1)!, scale: attrs.scale },
      bindings: { a: x, w: weight, bias, residual, out: output },
      flops: 2 * M * x!.shape.at(-1)! * output.shape.at(-1)!,
    });
  },
};

/** Rows per invocation and workgroup shape by the number of rows: few rows want more columns. */
function matmulTile(M: number): { ROWS: number; WG_N: number; WG_M: number } {
  if (M <= 2) return { ROWS: M <= 1 ? 1 : 2, WG_N: 32, WG_M: 1 };
  if (M <= 16) return { ROWS: 4, WG_N: 16, WG_M: 4 };
  return { ROWS: 8, WG_N: 8, WG_M: 8 };
}

/**
 * x [..., K] → [..., N]: act(x·Wᵀ + b), then + residual [..., N].
 * @param weight [N, K], or [N, K, 1, 1] as 1×1 convolutions have it.
 * @throws ShapeError when K, N or the residual do not fit.
 */
export function linear(
  x: Tensor,
  weight: Weight,
  bias?: Weight,
  options: { act?: Activation; residual?: Tensor; scale?: number } = {},
): Tensor {
  const K = x.shape.at(-1)!;
  const [N, inner, ...taps] = weight.shape;
  if (inner !== K || taps.some((d) => d !== 1) || x.layout !== 'rows') {
    throw new ShapeError(
      `linear: x has K=${K} but weight expects K=${inner} (x ${formatShape(x.shape)} ${x.layout}, ` +
        `${weight.key} ${formatShape(weight.shape)})`,
    );
  }
  if (bias && (bias.shape.length !== 1 || bias.shape[0] !== N)) {
    throw new ShapeError(`linear: expected bias [${N}], got ${bias.key} ${formatShape(bias.shape)}`);
  }
  const shape = [...x.shape.slice(0, -1), N];
  if (options.residual) expectSame('linear', 'residual', options.residual, shape);
  const g = x.graph;
  return g.record(
    linearOp,
    {
      x,
      weight: g.constant(weight, packMatrix, g.dtype),
      bias: bias && g.constant(bias, packVector, 'f32'),
      residual: options.residual,
    },
    { act: options.act ?? 'none', scale: options.scale ?? 1 },
    shape,
  );
}
