/** Attention of tokens to themselves or to a context, under the names that diffusers' `Attention` gives its weights. */
import type { Tensor } from '../../engine/index.ts';
import { attention } from '../../kernels/index.ts';
import { dense } from '../layers.ts';
import type { WeightScope } from '../weightScope.ts';

export interface MultiHeadAttentionOptions {
  heads: number;
  /** Channels of one head; the inner width is heads · headDim, whatever x has. */
  headDim: number;
  /** Biases of the projections to q, k and v; default false. */
  bias?: boolean;
  /** Bias of the projection back; default true. */
  outBias?: boolean;
  /** Additive f32 rows [B|1, T|1, S]. */
  mask?: Tensor;
  /** [B,T,D], added to the result. */
  residual?: Tensor;
  /** Told of q [B,T,inner] and k [B,S,inner]. */
  probe?: (q: Tensor, k: Tensor) => void;
}

/** x [B,T,D], context [B,S,E] (x itself by default) → [B,T,D]. Vaswani et al. 2017, section 3.2.2. */
export function multiHeadAttention(
  w: WeightScope,
  x: Tensor,
  context: Tensor | undefined,
  { heads, headDim, bias = false, outBias = true, mask, residual, probe }: MultiHeadAttentionOptions,
): Tensor {
  const inner = heads * headDim;
  const from = context ?? x;
  const q = dense(w.at('to_q'), x, inner, { bias }); // [B,T,inner]
  const k = dense(w.at('to_k'), from, inner, { bias }); // [B,S,inner]
  const v = dense(w.at('to_v'), from, inner, { bias }); // [B,S,inner]
  const a = x.graph.scope(w.path, () => attention(q, k, v, { heads, mask })); // [B,T,inner]
  if (probe) x.graph.scope(w.path, () => probe(q, k));
  return dense(w.at('to_out', 0), a, x.shape[2], { bias: outBias, residual }); // [B,T,D]
}
