/**
 * Attention of pixels to a context and to themselves at once: keys and values of the context stand in front of those of
 * the map, as in the text-conditional networks of GLIDE, unCLIP and Imagen. Nichol et al. 2021, section 4.1,
 * https://arxiv.org/abs/2112.10741
 */
import { InvalidArgumentError, ShapeError, type Tensor } from '../../engine/index.ts';
import { attention, reshape } from '../../kernels/index.ts';
import { dense, norm } from '../layers.ts';
import { joinTokens } from '../transformers/tokens.ts';
import type { WeightScope } from '../weightScope.ts';
import { affineLayerNorm } from './layerNorm.ts';

export interface AddedKvOptions {
  /** Channels of one head. */
  headDim: number;
  /** Groups of the norm in front. */
  groups: number;
  /** Without keys and values of the map itself. */
  onlyCross?: boolean;
  contextNorm?: 'layer_norm' | 'group_norm' | null;
  /** f32 [B,1,S], or [B,1,S+T] as {@link addedKvMask} widens it; added to the scores. */
  mask?: Tensor;
}

/** Attention norms of this kind keep the library's default whatever the config says. */
const EPS = 1e-5;
const CONTEXT_GROUPS = 32;

/** x [B,H,W,C], context [B,S,E] → [B,H,W,C]. @throws ShapeError when heads do not divide the channels. */
export function addedKvAttention(w: WeightScope, x: Tensor, context: Tensor, o: AddedKvOptions): Tensor {
  const [B, H, W, C] = x.shape;
  const heads = Math.floor(C / o.headDim);
  if (heads * o.headDim !== C) {
    throw new ShapeError(`${w.path}: expected heads of ${o.headDim} channels to divide ${C}; correct the config`);
  }
  const tokens = reshape(x, [B, H * W, C]); // [B,T,C]
  const states = normContext(w.at('norm_cross'), context, o.contextNorm ?? null); // [B,S,E]
  const n = norm(w.at('group_norm'), tokens, { groups: o.groups, eps: EPS }); // [B,T,C]
  const q = dense(w.at('to_q'), n, C); // [B,T,C]
  let k = dense(w.at('add_k_proj'), states, C); // [B,S,C]
  let v = dense(w.at('add_v_proj'), states, C); // [B,S,C]
  if (!o.onlyCross) {
    k = joinTokens(k, dense(w.at('to_k'), n, C)); // [B,S+T,C]
    v = joinTokens(v, dense(w.at('to_v'), n, C)); // [B,S+T,C]
  }
  const a = x.graph.scope(w.path, () => attention(q, k, v, { heads, mask: o.mask })); // [B,T,C]
  return reshape(dense(w.at('to_out', 0), a, C, { residual: tokens }), [B, H, W, C]); // [B,H,W,C]
}

function normContext(w: WeightScope, context: Tensor, kind: 'layer_norm' | 'group_norm' | null): Tensor {
  if (kind === 'layer_norm') return affineLayerNorm(w, context); // [B,S,E]
  if (kind === null) return context;
  const E = context.shape[2];
  if (E % CONTEXT_GROUPS !== 0) {
    throw new InvalidArgumentError(`${w.path}: expected a context of a multiple of 32 channels, got ${E}`);
  }
  return norm(w, context, { groups: CONTEXT_GROUPS, eps: EPS }); // [B,S,E]
}
