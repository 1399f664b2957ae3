/** Linear layers of few rows, several of one size at once: what a condition goes through on its way to the blocks. */
import { defineKernel, type Op, type Tensor } from '../engine/index.ts';
import { ACTIVATIONS, activationCode, ceilDiv, width4, type Activation } from './common.ts';
import shader from './vectorLinear.wgsl';

/** LANES invocations per ROWS rows × one vec4 column of one layer. */
export const vectorLinearKernel = defineKernel({
  shader,
  tunables: {
    WG: [64, 128],
    LANES: [8, 1, 16],
    ROWS: [1, 2, 4],
    ACT: Object.values(ACTIVATIONS),
    POST: Object.values(ACTIVATIONS),
    HAS_BIAS: [true, false],
    HAS_RESIDUAL: [false, true],
  },
  grid: ({ M, N4, groups }, t) => [ceilDiv(N4, t.WG / t.LANES), groups, ceilDiv(M, t.ROWS)],
});

/** What {@link vectorLinearOp} is told beside its inputs; sizes in channels. */
export interface VectorLinearAttrs {
  /** Layers, and the widths that each one reads and writes; with several, K and N are multiples of four. */
  groups: number;
  K: number;
  N: number;
  act: Activation;
  /** Behind the residual. */
  post: Activation;
  /** Where in x the first layer begins to read, and how much further the next one does: 0 where all read the same. */
  xAt: number;
  xStep: number;
  /** Where in the residual the first layer begins to read. */
  residualAt: number;
}

/** Inputs x [B,W], weight (one matrix behind the other), and perhaps bias and residual [B,V]; result [B,groups·N]. */
export const vectorLinearOp: Op<VectorLinearAttrs> = {
  name: 'vectorLinear',
  lower({ inputs: { x, weight, bias, residual }, attrs: a, output }, to) {
    const M = x!.shape[0];
    const { software } = to.caps;
    // Where a shader takes long to translate, layers with and without share one: what is not there is bound as zeros.
    const code = (act: Activation) => activationCode(software && act === 'none' ? 'silu' : act);
    to.dispatch({
      kernel: vectorLinearKernel,
      tunables: {
        LANES: software ? 1 : 8,
        ROWS: M === 1 ? 1 : M === 2 ? 2 : 4,
        ACT: code(a.act),
        POST: code(a.post),
        HAS_BIAS: software || bias !== undefined,
        HAS_RESIDUAL: software || residual !== undefined,
      },
      params: {
        ...{ M, K4: ceilDiv(a.K, 4), N4: ceilDiv(a.N, 4), N: a.N, groups: a.groups },
        ...{ x4: width4(x!), xAt: a.xAt / 4, xStep: a.xStep / 4 },
        ...{ residual4: residual ? width4(residual) : 0, residualAt: a.residualAt / 4 },
        ...{ acts: a.act === 'none' ? 0 : 1, posts: a.post === 'none' ? 0 : 1 },
      },
      bindings: { x, w: weight, bias, residual, out: output },
      flops: 2 * M * a.groups * a.K * a.N,
    });
  },
  readPart(node, name, from, at) {
    if ((name !== 'x' && name !== 'residual') || at % 4 !== 0 || from.shape.length !== 2) return undefined;
    // What stands behind the residual in its last vec4 would become padding of the result.
    if (name === 'residual' && node.attrs.N % 4 !== 0) return undefined;
    return reading(node, name, from, at);
  },
};

/** The node with its input in wider rows. */
function reading<N extends { inputs: Readonly<Record<string, Tensor | undefined>>; attrs: VectorLinearAttrs }>(
  node: N,
  name: 'x' | 'residual',
  from: Tensor,
  at: number,
): N {
  const key = name === 'x' ? 'xAt' : 'residualAt';
  return { ...node, inputs: { ...node.inputs, [name]: from }, attrs: { ...node.attrs, [key]: node.attrs[key] + at } };
}
