/** The config of T5's encoder: `T5Config` of transformers, every field of it. */
import type { Activation } from '../../kernels/index.ts';
import { ConfigReader, type RawConfig } from '../../loading/index.ts';
import { NO_CHANGE, transformersActivation } from './transformersConfig.ts';

/** The fields of `config.json` in camelCase, defaults filled in. */
export interface T5Config {
  vocabSize: number;
  /** Channels of the tokens. */
  dModel: number;
  /** Channels of one head; heads · dKv may differ from dModel. */
  dKv: number;
  /** Inner channels of the feed-forward network. */
  dFf: number;
  layers: number;
  heads: number;
  /** Rows of the table of position biases, for both directions together. */
  buckets: number;
  /** Distance from which on all share the last bucket. */
  maxDistance: number;
  eps: number;
  act: Activation;
  /** Whether a second matrix gates the first (v1.1). */
  gated: boolean;
}

/** Reads `config.json`. @throws ConfigError naming the field. */
export function readT5Config(raw: RawConfig): T5Config {
  const cfg = new ConfigReader(raw, 'T5EncoderModel');
  const form = cfg.string('feed_forward_proj', 'relu');
  const [gate, rest] = form.startsWith('gated-') ? [true, form.slice('gated-'.length)] : [false, form];
  // "gated-gelu" has meant the tanh form since before the name said so; the two fields behind it win where they are
  // given.
  const name = cfg.string('dense_act_fn', form === 'gated-gelu' ? 'gelu_new' : rest);
  const field = cfg.has('dense_act_fn') ? 'dense_act_fn' : 'feed_forward_proj';
  const config: T5Config = {
    vocabSize: cfg.int('vocab_size', 32128, { min: 1 }),
    dModel: cfg.int('d_model', 512, { min: 1 }),
    dKv: cfg.int('d_kv', 64, { min: 1 }),
    dFf: cfg.int('d_ff', 2048, { min: 1 }),
    layers: cfg.int('num_layers', 6, { min: 1 }),
    heads: cfg.int('num_heads', 8, { min: 1 }),
    buckets: cfg.int('relative_attention_num_buckets', 32, { min: 4 }),
    maxDistance: cfg.int('relative_attention_max_distance', 128, { min: 1 }),
    eps: cfg.number('layer_norm_epsilon', 1e-6, { min: 0 }),
    act: transformersActivation(cfg, field, name),
    gated: cfg.bool('is_gated_act', gate),
  };
  if (config.maxDistance <= config.buckets / 4) {
    cfg.refuse('relative_attention_max_distance', `more than a quarter of ${config.buckets} buckets`);
  }
  cfg.only('pruned_heads', {}, null);
  cfg.ignored([...NO_CHANGE, 'eos_token_id']);
  cfg.done();
  return config;
}
