/** The config of `PriorTransformer`, every field of it. */
import type { Activation } from '../../kernels/index.ts';
import { ConfigReader, type RawConfig } from '../../loading/index.ts';
import { readActivation } from '../activation.ts';

/** The fields of `config.json` in camelCase, defaults filled in. */
export interface PriorConfig {
  heads: number;
  headDim: number;
  layers: number;
  /** Channels of what is denoised, and of the text's tokens where they are projected. */
  embeddingDim: number;
  /** Tokens of the text. */
  numEmbeddings: number;
  /** Tokens beside them. */
  additionalEmbeddings: number;
  timeEmbedAct: Activation;
  timeEmbedDim: number;
  /** A norm before the first block. */
  normIn: boolean;
  /** A norm of the pooled condition. */
  embeddingProjNorm: boolean;
  /** Channels of the pooled condition. */
  embeddingProjDim: number;
  /** Whether the text's tokens are projected; if not, they have the inner width, and may be left out. */
  projectsText: boolean;
  /** A learned last token, from which the prediction is read; without it, it is read from what is denoised. */
  prdToken: boolean;
  /** Channels of the prediction. */
  clipEmbedDim: number;
}

/** Reads `config.json`. @throws ConfigError naming the field. */
export function readPriorConfig(raw: RawConfig): PriorConfig {
  const cfg = new ConfigReader(raw, 'PriorTransformer');
  const heads = cfg.int('num_attention_heads', 32, { min: 1 });
  const headDim = cfg.int('attention_head_dim', 64, { min: 1 });
  const embeddingDim = cfg.int('embedding_dim', 768, { min: 1 });
  // The class takes a zero for "not given", too.
  const orElse = (field: string, fallback: number) => cfg.nullableInt(field, null, { min: 0 }) || fallback;
  const config: PriorConfig = {
    heads,
    headDim,
    layers: cfg.int('num_layers', 20, { min: 0 }),
    embeddingDim,
    numEmbeddings: cfg.int('num_embeddings', 77, { min: 0 }),
    additionalEmbeddings: cfg.int('additional_embeddings', 4, { min: 0 }),
    timeEmbedAct: readActivation(cfg, 'time_embed_act_fn', 'silu'),
    timeEmbedDim: orElse('time_embed_dim', heads * headDim),
    normIn: cfg.nullableEnum('norm_in_type', ['layer'], null) !== null,
    embeddingProjNorm: cfg.nullableEnum('embedding_proj_norm_type', ['layer'], null) !== null,
    embeddingProjDim: orElse('embedding_proj_dim', embeddingDim),
    projectsText: cfg.nullableEnum('encoder_hid_proj_type', ['linear'], 'linear') !== null,
    prdToken: cfg.nullableEnum('added_emb_type', ['prd'], 'prd') !== null,
    clipEmbedDim: orElse('clip_embed_dim', embeddingDim),
  };
  if (config.numEmbeddings + config.additionalEmbeddings < 1) cfg.refuse('num_embeddings', 'at least 1');
  cfg.ignored(['dropout']);
  cfg.done();
  return config;
}
