/** The config of `SD3Transformer2DModel`, every field of it. */
import { ConfigReader, type RawConfig } from '../../loading/index.ts';
import { QK_NORMS, type QkNorm } from './jointAttention.ts';

/** The fields of `config.json` in camelCase, defaults filled in. */
export interface SD3Config {
  /** Height and width of the latents in training. */
  sampleSize: number;
  patchSize: number;
  inChannels: number;
  outChannels: number;
  layers: number;
  heads: number;
  headDim: number;
  /** Channels of the text's tokens. */
  jointAttentionDim: number;
  /** Channels of the pooled text. */
  pooledProjectionDim: number;
  /** Side of the stored table of positions, in patches; null where they are computed. */
  posEmbedMaxSize: number | null;
  /** Blocks with a second attention of the picture alone. */
  dualAttentionLayers: readonly number[];
  qkNorm: QkNorm | undefined;
}

/** Reads `config.json`. @throws ConfigError naming the field. */
export function readSD3Config(raw: RawConfig): SD3Config {
  const cfg = new ConfigReader(raw, 'SD3Transformer2DModel');
  const inChannels = cfg.int('in_channels', 16, { min: 1 });
  const config: SD3Config = {
    sampleSize: cfg.int('sample_size', 128, { min: 1 }),
    patchSize: cfg.int('patch_size', 2, { min: 1 }),
    inChannels,
    outChannels: cfg.nullableInt('out_channels', 16, { min: 1 }) ?? inChannels,
    layers: cfg.int('num_layers', 18, { min: 1 }),
    heads: cfg.int('num_attention_heads', 18, { min: 1 }),
    headDim: cfg.int('attention_head_dim', 64, { min: 1 }),
    jointAttentionDim: cfg.int('joint_attention_dim', 4096, { min: 1 }),
    pooledProjectionDim: cfg.int('pooled_projection_dim', 2048, { min: 1 }),
    posEmbedMaxSize: cfg.nullableInt('pos_embed_max_size', 96, { min: 1 }),
    dualAttentionLayers: cfg.intArray('dual_attention_layers', []),
    qkNorm: cfg.nullableEnum('qk_norm', QK_NORMS, null) ?? undefined,
  };
  const width = config.heads * config.headDim;
  // The text joins the picture's stream, so it has to have its width.
  if (cfg.int('caption_projection_dim', 1152, { min: 1 }) !== width) {
    cfg.refuse('caption_projection_dim', `num_attention_heads · attention_head_dim, ${width}`);
  }
  if (width % 4 !== 0) cfg.refuse('attention_head_dim', 'such that 4 divides the width, for its positions');
  if (config.patchSize > config.sampleSize) cfg.refuse('patch_size', `at most sample_size, ${config.sampleSize}`);
  cfg.done();
  return config;
}
