/**
 * Self-attention over the pixels of a map, with its norm and residual (the oldest role of `Attention` in diffusers).
 */
import { ShapeError, type Tensor } from '../../engine/index.ts';
import { attention, reshape } from '../../kernels/index.ts';
import { dense, norm } from '../layers.ts';
import type { WeightScope } from '../weightScope.ts';

export interface AttentionOptions {
  /** Channels of one head; a map takes as many heads as fit in its channels. */
  headDim: number;
  /** Groups of the norm in front; undefined for none. */
  groups: number | undefined;
  eps: number;
  /** [B,H,W,C], what is added to the attention; default x. */
  residual?: Tensor;
  /** Attention plus residual is divided by this. */
  divisor?: number;
  /** x, residual and the result are this many times what they stand for; default 1. */
  size?: number;
}

/** x [B,H,W,C] → [B,H,W,C]. @throws ShapeError when a head has more channels than x. */
export function attentionBlock(w: WeightScope, x: Tensor, options: AttentionOptions) {
  const { headDim, groups, eps, residual = x, divisor = 1, size = 1 } = options;
  const [B, H, W, C] = x.shape;
  const heads = Math.floor(C / headDim);
  if (heads < 1) {
    throw new ShapeError(`${w.path}: expected heads of at most ${C} channels, got attention_head_dim ${headDim}`);
  }
  const inner = heads * headDim;
  const tokens = reshape(x, [B, H * W, C]); // [B,T,C]
  const scaledEps = eps * size ** 2;
  const n = groups === undefined ? tokens : norm(w.at('group_norm'), tokens, { groups, eps: scaledEps }); // [B,T,C]
  const q = dense(w.at('to_q'), n, inner); // [B,T,inner]
  const k = dense(w.at('to_k'), n, inner); // [B,T,inner]
  const v = dense(w.at('to_v'), n, inner, { scale: size }); // [B,T,inner]
  const a = x.graph.scope(w.path, () => attention(q, k, v, { heads })); // [B,T,inner]
  const input = reshape(residual, [B, H * W, C]); // [B,T,C]
  const y = dense(w.at('to_out', 0), a, C, { residual: input, scale: 1 / divisor, size }); // [B,T,C]
  return reshape(y, [B, H, W, C]); // [B,H,W,C]
}
