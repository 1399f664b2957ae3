/**
 * The gradients of scaled dot-product attention. The weights are written out, and the gradient by the scores beside
 * them: for maps of up to a few thousand positions.
 */
import {
  defineKernel,
  linearGrid,
  ShapeError,
  formatShape,
  type Lowering,
  type Op,
  type Tensor,
} from '../engine/index.ts';
import { attentionScoresKernel } from './attentionPasses.ts';
import combineShader from './attentionCombine.wgsl';
import { ceilDiv, expectRank, expectSame } from './common.ts';
import { reshape } from './copyRows.ts';
import softmaxGradShader from './softmaxGradRows.wgsl';
import softmaxShader from './softmaxRows.wgsl';

/** Softmax of rows in place, one row per invocation. */
export const softmaxRowsKernel = defineKernel({
  shader: softmaxShader,
  tunables: { WG: [64, 8, 16, 32] },
  grid: ({ rows }, t) => linearGrid(ceilDiv(rows, t.WG)),
});

/** Its gradient in place, one row per invocation. */
export const softmaxGradRowsKernel = defineKernel({
  shader: softmaxGradShader,
  tunables: { WG: [64, 8, 16, 32] },
  grid: ({ rows }, t) => linearGrid(ceilDiv(rows, t.WG)),
});

/** Sums of values by rows or columns of weights, ROWS × one vec4 per invocation. */
export const attentionCombineKernel = defineKernel({
  shader: combineShader,
  tunables: { ROWS: [4, 1, 2, 8], WG_D: [8, 16, 32], WG_I: [8, 1, 4] },
  grid: ({ B, heads, I, D4 }, t) => [ceilDiv(D4, t.WG_D), ceilDiv(I, t.ROWS * t.WG_I), B * heads],
  valid: (t, { limits }) => t.WG_D * t.WG_I <= limits.maxComputeInvocationsPerWorkgroup,
});

/** scale·a·bᵀ per head into f32 [B·heads,T,S]; a [B,T,heads,d], b [B,S,heads,d]. */
function products(a: Tensor, b: Tensor, weights: Tensor, scale: number, to: Lowering): void {
  const [B, T, heads, d] = a.shape;
  const S = b.shape[1];
  const [S4, D4] = [ceilDiv(S, 4), ceilDiv(d, 4)];
  const strides = { q4: heads * D4, qAt: 0, k4: heads * D4, kAt: 0 };
  to.dispatch({
    kernel: attentionScoresKernel,
    tunables: { HAS_MASK: false },
    params: { B, T, t0: 0, count: T, S, S4, heads, D4, scale, maskRow: 0, maskHead: 0, maskBatch: 0, ...strides },
    bindings: { q: a, k: b, weights },
    flops: 2 * B * heads * T * S * d,
  });
}

/** Inputs q, k; result the softmax weights, f32 [B·heads,T,S]. */
const attentionWeightsOp: Op<{ scale: number }> = {
  name: 'attentionWeights',
  lower({ inputs: { q, k }, attrs: { scale }, output: weights }, to) {
    products(q!, k!, weights, scale, to);
    const [BH, T, S] = weights.shape;
    to.dispatch({ kernel: softmaxRowsKernel, params: { rows: BH * T, S4: ceilDiv(S, 4) }, bindings: { weights } });
  },
};

/** Inputs weights, g and v; result the gradient by q·kᵀ, f32 [B·heads,T,S]. */
const attentionScoresGradOp: Op<{ scale: number }> = {
  name: 'attentionScoresGrad',
  lower({ inputs: { weights, g, v }, attrs: { scale }, output: grads }, to) {
    products(g!, v!, grads, 1, to);
    const [BH, T, S] = grads.shape;
    to.dispatch({
      kernel: softmaxGradRowsKernel,
      params: { rows: BH * T, S4: ceilDiv(S, 4), scale },
      bindings: { weights, grads },
    });
  },
};

/** Inputs weights [B·heads,T,S] and x; result [B,T,heads,d], or by columns [B,S,heads,d]. */
const attentionCombineOp: Op<{ columns: boolean }> = {
  name: 'attentionCombine',
  lower({ inputs: { weights, x }, attrs: { columns }, output }, to) {
    const [B, I, heads, d] = output.shape;
    const [, T, S] = weights!.shape;
    const row = 4 * ceilDiv(S, 4);
    const J = x!.shape[1];
    to.dispatch({
      kernel: attentionCombineKernel,
      params: {
        B,
        I,
        J,
        heads,
        D4: ceilDiv(d, 4),
        matrix: T * row,
        across: columns ? 1 : row,
        along: columns ? row : 1,
      },
      bindings: { weights, x, out: output },
      flops: 2 * B * heads * I * J * d,
    });
  },
};

/**
 * Gradients of {@link attention} by q, k and v. g and q [B,T,heads·d], k and v [B,S,heads·d] → the shapes of q, k, v.
 * Holds two f32 matrices [B·heads,T,S].
 * @throws ShapeError when shapes or heads do not fit; LimitError, when planned, where a matrix is larger than a
 * binding.
 */
export function attentionGrad(
  g: Tensor,
  q: Tensor,
  k: Tensor,
  v: Tensor,
  { heads, scale }: { heads: number; scale?: number },
): { q: Tensor; k: Tensor; v: Tensor } {
  expectRank('attentionGrad', 'q', q, 3, '[B,T,heads·d]');
  const [B, T, width] = q.shape;
  const S = k.shape[1];
  expectSame('attentionGrad', 'g', g, q.shape);
  expectSame('attentionGrad', 'k', k, [B, S, width]);
  expectSame('attentionGrad', 'v', v, [B, S, width]);
  if (!Number.isInteger(heads) || heads < 1 || width % heads !== 0) {
    throw new ShapeError(`attentionGrad: expected heads to divide ${width}, got ${heads} (q ${formatShape(q.shape)})`);
  }
  const d = width / heads;
  const factor = scale ?? 1 / Math.sqrt(d);
  const { graph } = q;
  const apart = (t: Tensor) => reshape(t, [B, t.shape[1], heads, d]);
  const [ga, qa, ka, va] = [g, q, k, v].map(apart);
  const f32 = { dtype: 'f32' } as const;
  const matrix = [B * heads, T, S];
  const weights = graph.record(attentionWeightsOp, { q: qa, k: ka }, { scale: factor }, matrix, f32);
  const inputs = { weights, g: ga, v: va };
  const grads = graph.record(attentionScoresGradOp, inputs, { scale: factor }, matrix, f32);
  const combine = (w: Tensor, x: Tensor, columns: boolean) =>
    reshape(graph.record(attentionCombineOp, { weights: w, x }, { columns }, [B, columns ? S : T, heads, d]), [
      B,
      columns ? S : T,
      width,
    ]);
  return { q: combine(grads, ka, false), k: combine(grads, qa, true), v: combine(weights, ga, true) };
}
