/**
 * What unCLIP's decoder is told: embeddings of picture and text, added to the timestep and put in front of the text's
 * states as further tokens. diffusers' `UnCLIPTextProjModel`.
 *
 * Ramesh et al. 2022, section 2.1, https://arxiv.org/abs/2204.06125
 */
import type { Tensor } from '../../engine/index.ts';
import { add, fromNchw, reshape } from '../../kernels/index.ts';
import { ConfigReader, type RawConfig } from '../../loading/index.ts';
import { affineLayerNorm } from '../blocks/layerNorm.ts';
import { dense } from '../layers.ts';
import { fromTokens, joinTokens, toDense } from '../transformers/tokens.ts';
import type { WeightScope } from '../weightScope.ts';

/** The fields of `config.json` in camelCase, defaults filled in. */
export interface UnclipTextProjConfig {
  /** Tokens that a picture's embedding becomes. */
  extraTokens: number;
  /** Channels of the embeddings, and of the text's states. */
  clipEmbeddingsDim: number;
  /** Channels of the decoder's time embedding. */
  timeEmbedDim: number;
  /** Channels of what the decoder attends to. */
  crossAttentionDim: number;
}

/** Reads `config.json`. @throws ConfigError naming the field. */
export function readUnclipTextProjConfig(raw: RawConfig): UnclipTextProjConfig {
  const cfg = new ConfigReader(raw, 'UnCLIPTextProjModel');
  const config: UnclipTextProjConfig = {
    extraTokens: cfg.int('clip_extra_context_tokens', 4, { min: 1 }),
    clipEmbeddingsDim: cfg.int('clip_embeddings_dim', 768, { min: 1 }),
    timeEmbedDim: cfg.int('time_embed_dim', undefined, { min: 1 }),
    crossAttentionDim: cfg.int('cross_attention_dim', undefined, { min: 1 }),
  };
  cfg.done();
  return config;
}

/** What it reads; all dense f32. */
export interface UnclipTextProjInputs {
  /** Embeddings of the pictures [B,E]. */
  image: Tensor;
  /** Embeddings of the texts [B,E]. */
  text: Tensor;
  /** States of the texts [B,S,E]. */
  states: Tensor;
}

/** Dense f32 outputs: the context [B,extra + S,C], and what is added to the time embedding [B,D]. */
export function unclipTextProj(
  config: UnclipTextProjConfig,
  w: WeightScope,
  inputs: UnclipTextProjInputs,
): { context: Tensor; classes: Tensor } {
  const { extraTokens: N, timeEmbedDim: D, crossAttentionDim: C, clipEmbeddingsDim: E } = config;
  w.param('learned_classifier_free_guidance_embeddings', [E]); // read on the host
  const image = fromNchw(inputs.image); // [B,E]
  const B = image.shape[0];
  const ofImage = dense(w.at('clip_image_embeddings_project_to_time_embeddings'), image, D); // [B,D]
  const classes = add(ofImage, dense(w.at('embedding_proj'), fromNchw(inputs.text), D)); // [B,D]
  // Channel by channel, and in each token by token: a map of one row.
  const extra = toDense(dense(w.at('clip_extra_context_tokens_proj'), image, N * C)); // [B,C·N]
  const tokens = reshape(fromNchw(reshape(extra, [B, C, 1, N])), [B, N, C]); // [B,N,C]
  const states = dense(w.at('encoder_hidden_states_proj'), fromTokens(inputs.states), C); // [B,S,C]
  const normed = affineLayerNorm(w.at('text_encoder_hidden_states_norm'), states); // [B,S,C]
  return { context: toDense(joinTokens(tokens, normed)), classes: toDense(classes) };
}
