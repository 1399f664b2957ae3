/** Attention that writes its scores out, in three passes over rounds of queries: the algorithm `matrix`. */
import { defineKernel, linearGrid } from '../engine/index.ts';
import type { Lowering, Node } from '../engine/index.ts';
import type { AttentionAttrs } from './attention.ts';
import mixShader from './attentionMix.wgsl';
import mixSubgroupShader from './attentionMixSubgroup.wgsl';
import scoresShader from './attentionScores.wgsl';
import scoresSubgroupShader from './attentionScoresSubgroup.wgsl';
import softmaxShader from './attentionSoftmax.wgsl';
import { ceilDiv } from './common.ts';
import { SHARED, sharesHere } from './eights.ts';

/** Bytes of scores that are written out at once; more queries take several rounds. */
const SCORE_BYTES = 32 * 2 ** 20;

/** First of three passes: the scores of some queries, f32 [B,heads,count,S]. */
export const attentionScoresKernel = defineKernel({
  shader: scoresShader,
  tunables: { ROWS: [4, 1, 2, 8], WG_S: [8, 16, 32], WG_T: [8, 1, 4], HAS_MASK: [false, true] },
  grid: ({ B, heads, count, S4 }, t) => [ceilDiv(S4, t.WG_S), ceilDiv(count, t.ROWS * t.WG_T), B * heads],
  valid: (t, { limits }) => t.WG_S * t.WG_T <= limits.maxComputeInvocationsPerWorkgroup,
});

/** Second pass: scores become weights in place, f32 [B·heads·count,S], with their sums. */
export const attentionSoftmaxKernel = defineKernel({
  shader: softmaxShader,
  tunables: { WG: [64, 8, 16, 32] },
  grid: ({ rows }, t) => linearGrid(ceilDiv(rows, t.WG)),
});

/** Third pass: values mixed by the weights, [B,T,heads,d]. */
export const attentionMixKernel = defineKernel({
  shader: mixShader,
  tunables: { ROWS: [4, 1, 2, 8], WG_D: [8, 16, 32], WG_T: [8, 1, 4] },
  grid: ({ B, heads, count, D4 }, t) => [ceilDiv(D4, t.WG_D), ceilDiv(count, t.ROWS * t.WG_T), B * heads],
  valid: (t, { limits }) => t.WG_D * t.WG_T <= limits.maxComputeInvocationsPerWorkgroup,
});

/** First and third pass with queries shared in a subgroup. */
export const attentionScoresSubgroupKernel = defineKernel({
  shader: scoresSubgroupShader,
  tunables: { ...SHARED, HAS_MASK: [false, true] },
  grid: ({ B, heads, count, S4 }, t) => [ceilDiv(count, 8 * t.EIGHTS), ceilDiv(S4, t.SG), B * heads],
  valid: sharesHere,
});
export const attentionMixSubgroupKernel = defineKernel({
  shader: mixSubgroupShader,
  tunables: SHARED,
  grid: ({ B, heads, count, D4 }, t) => [ceilDiv(count, 8 * t.EIGHTS), ceilDiv(D4, t.SG), B * heads],
  valid: sharesHere,
});

type Shape = Record<
  | ('B' | 'T' | 'S' | 'heads' | 'D4' | 'scale' | 'maskRow' | 'maskHead' | 'maskBatch')
  | ('q4' | 'qAt' | 'k4' | 'kAt' | 'v4' | 'vAt'),
  number
>;

/** Three dispatches per round of queries, over one scratch matrix; lanes share `eights` times eight queries, if any. */
export function lowerMatrix(
  { inputs, attrs, output }: Node<AttentionAttrs>,
  to: Lowering,
  shape: Shape,
  eights: number,
): void {
  const { B, T, S, heads, D4, scale, maskRow, maskHead, maskBatch, q4, qAt, k4, kAt, v4, vAt } = shape;
  const { q, k, v, mask } = inputs;
  const S4 = ceilDiv(S, 4);
  const limit = Math.min(attrs.scoreBytes ?? SCORE_BYTES, to.caps.limits.maxStorageBufferBindingSize);
  const round = Math.min(T, Math.max(1, Math.floor(limit / (B * heads * S4 * 16))));
  const weights = to.scratch([B * heads, round, S], 'f32');
  const sums = to.scratch([B * heads * round], 'f32', 'dense');
  for (let t0 = 0; t0 < T; t0 += round) {
    const count = Math.min(round, T - t0);
    const common = { B, T, t0, count, S, S4, heads, D4 };
    const flops = 2 * B * heads * count * S * 4 * D4;
    const shared = eights > 0 && count >= 4 ? { SG: to.caps.subgroupSize, EIGHTS: eights } : undefined;
    to.dispatch({
      kernel: shared ? attentionScoresSubgroupKernel : attentionScoresKernel,
      tunables: { ...shared, HAS_MASK: mask !== undefined },
      params: { ...common, scale, maskRow, maskHead, maskBatch, q4, qAt, k4, kAt },
      bindings: { q, k, mask, weights },
      flops,
    });
    const rows = B * heads * count;
    to.dispatch({ kernel: attentionSoftmaxKernel, params: { rows, S4 }, bindings: { weights, sums } });
    const bindings = { weights, sums, v, out: output };
    to.dispatch({
      kernel: shared ? attentionMixSubgroupKernel : attentionMixKernel,
      tunables: shared,
      params: { ...common, v4, vAt },
      bindings,
      flops,
    });
  }
}
