/**
 * CLIP's text model: a causal transformer over tokens, whose states at the end token stand for the whole text.
 *
 * Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision", section 2.4,
 * https://arxiv.org/abs/2103.00020; layers as in Radford et al. 2019 (norm before attention and network).
 */
import type { Tensor } from '../../engine/index.ts';
import { add, attention, embedding, layerNorm, reshape } from '../../kernels/index.ts';
import { embeddingOp } from '../../kernels/embedding.ts';
import { dense } from '../layers.ts';
import type { WeightScope } from '../weightScope.ts';
import type { ClipTextConfig } from './clipTextConfig.ts';

/** What a layer is made of. */
export type ClipLayerConfig = Pick<ClipTextConfig, 'hiddenSize' | 'intermediateSize' | 'heads' | 'eps' | 'act'>;

/** Host-made inputs of a call. */
export interface ClipTextInputs {
  /** u32 [B,T]. */
  ids: Tensor;
  /** u32 [B,T]: 0 … T − 1 in each row. */
  positions: Tensor;
  /** f32 [B or 1,T,T]: −∞ for later tokens, and for padding where a mask was given. */
  mask: Tensor;
}

/**
 * The embedded tokens and the state behind every layer up to `layers`: layers + 1 tensors [B,T,D], none of them normed.
 */
export function clipTextStates(
  config: ClipTextConfig,
  w: WeightScope,
  { ids, positions, mask }: ClipTextInputs,
  layers = config.layers,
): Tensor[] {
  const t = w.at('text_model');
  const e = t.at('embeddings');
  const { hiddenSize: D, vocabSize, maxLength } = config;
  const table = e.param('token_embedding.weight', [vocabSize, D]);
  const places = e.param('position_embedding.weight', [maxLength, D]);
  let x = ids.graph.scope(e.path, () => add(embedding(ids, table), embedding(positions, places))); // [B,T,D]
  const states = [x];
  for (let i = 0; i < layers; i++) {
    x = clipLayer(config, t.at('encoder', 'layers', i), x, mask); // [B,T,D]
    states.push(x);
  }
  return states;
}

/** A layer of either half of CLIP: x [B,T,D] → [B,T,D]. */
export function clipLayer(
  { hiddenSize: D, intermediateSize, heads, eps, act }: ClipLayerConfig,
  w: WeightScope,
  x: Tensor,
  mask?: Tensor,
): Tensor {
  const attn = w.at('self_attn');
  const n = affineNorm(w.at('layer_norm1'), x, eps); // [B,T,D]
  const q = dense(attn.at('q_proj'), n, D); // [B,T,D]
  const k = dense(attn.at('k_proj'), n, D); // [B,T,D]
  const v = dense(attn.at('v_proj'), n, D); // [B,T,D]
  const a = x.graph.scope(attn.path, () => attention(q, k, v, { heads, mask })); // [B,T,D]
  x = dense(attn.at('out_proj'), a, D, { residual: x }); // [B,T,D]
  const m = affineNorm(w.at('layer_norm2'), x, eps); // [B,T,D]
  const h = dense(w.at('mlp', 'fc1'), m, intermediateSize, { act }); // [B,T,inner]
  return dense(w.at('mlp', 'fc2'), h, D, { residual: x }); // [B,T,D]
}

/** The last norm: x [B,T,D] → [B,T,D]. */
export function clipTextNorm(config: ClipTextConfig, w: WeightScope, x: Tensor): Tensor {
  return affineNorm(w.at('text_model', 'final_layer_norm'), x, config.eps);
}

/** Rows of x [B,T,D] by their index in B·T, u32 [B] → [B,D]. */
export function pickRows(x: Tensor, rows: Tensor): Tensor {
  const [B, T, D] = x.shape;
  const table0 = reshape(x, [B * T, D]); // [B·T,D]
  return x.graph.record(embeddingOp, { ids: rows, table0 }, { V: B * T, starts: [0, B * T] }, [B, D]); // [B,D]
}

function affineNorm(w: WeightScope, x: Tensor, eps: number): Tensor {
  const D = x.shape.at(-1)!;
  const [weight, bias] = [w.param('weight', [D]), w.param('bias', [D])];
  return x.graph.scope(w.path, () => layerNorm(x, weight, bias, { eps }));
}

/** Where the end token of each row [B,T] stands; a row without one counts from its start, as in the reference. */
export function endPositions(ids: ArrayLike<number>, B: number, T: number, eosTokenId: number): number[] {
  return Array.from({ length: B }, (_, b) => {
    let at = 0;
    for (let t = 0; t < T; t++) {
      const id = ids[b * T + t];
      // Files from before the token had its number say 2; the end token was the largest of all then.
      if (eosTokenId === 2 ? id > ids[b * T + at] : id === eosTokenId && ids[b * T + at] !== eosTokenId) at = t;
    }
    return at;
  });
}
