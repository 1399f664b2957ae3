/** The config of CLIP's text model: `CLIPTextConfig` of transformers, every field of it. */
import type { Activation } from '../../kernels/index.ts';
import { ConfigReader, type RawConfig } from '../../loading/index.ts';
import { NO_CHANGE, transformersActivation } from './transformersConfig.ts';

/** The fields of `config.json` in camelCase, defaults filled in. */
export interface ClipTextConfig {
  /** Tokens of the vocabulary. */
  vocabSize: number;
  hiddenSize: number;
  intermediateSize: number;
  /** Channels of the projected vector; only `CLIPTextModelWithProjection` has one. */
  projectionDim: number;
  layers: number;
  heads: number;
  /** Most tokens of a prompt, start and end included. */
  maxLength: number;
  act: Activation;
  eps: number;
  /** Which token marks the end; the 2 of older files stands for "the largest id". */
  eosTokenId: number;
}

/**
 * Reads `config.json`, also the `text_config` inside the config of a whole CLIP.
 * @throws ConfigError naming the field.
 */
export function readClipTextConfig(raw: RawConfig, className = 'CLIPTextModel'): ClipTextConfig {
  const cfg = new ConfigReader(textPart(raw), className);
  const hiddenSize = cfg.int('hidden_size', 512, { min: 1 });
  const heads = cfg.int('num_attention_heads', 8, { min: 1 });
  if (hiddenSize % heads !== 0) cfg.refuse('num_attention_heads', `a divisor of hidden_size ${hiddenSize}`);
  const config: ClipTextConfig = {
    vocabSize: cfg.int('vocab_size', 49408, { min: 1 }),
    hiddenSize,
    intermediateSize: cfg.int('intermediate_size', 2048, { min: 1 }),
    projectionDim: cfg.int('projection_dim', 512, { min: 1 }),
    layers: cfg.int('num_hidden_layers', 12, { min: 1 }),
    heads,
    maxLength: cfg.int('max_position_embeddings', 77, { min: 1 }),
    act: transformersActivation(cfg, 'hidden_act', cfg.string('hidden_act', 'quick_gelu')),
    eps: cfg.number('layer_norm_eps', 1e-5, { min: 0 }),
    eosTokenId: cfg.nullableInt('eos_token_id', 49407) ?? -1,
  };
  cfg.only('pruned_heads', {}, null);
  cfg.ignored(NO_CHANGE);
  cfg.done();
  return config;
}

/** The fields of the text model where the config is of text and pictures together. */
function textPart(raw: RawConfig): RawConfig {
  const part = raw['text_config'];
  if (typeof part !== 'object' || part === null) return raw;
  // Files of a certain age have the fields twice; the library lets the second form win.
  return { ...(part as RawConfig), ...(raw['text_config_dict'] as RawConfig | undefined) };
}
