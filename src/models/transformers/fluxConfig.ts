/** The config of `FluxTransformer2DModel`, every field of it. */
import { ConfigReader, type RawConfig } from '../../loading/index.ts';

/** The fields of `config.json` in camelCase, defaults filled in. */
export interface FluxConfig {
  /** A token of the output holds that many squared times outChannels; the input is packed already. */
  patchSize: number;
  /** Channels of a packed token. */
  inChannels: number;
  outChannels: number;
  /** Blocks of two streams. */
  layers: number;
  /** Blocks behind them, of one stream. */
  singleLayers: number;
  heads: number;
  headDim: number;
  /** Channels of the text's tokens. */
  jointAttentionDim: number;
  /** Channels of the pooled text. */
  pooledProjectionDim: number;
  /** Whether the guidance scale was distilled into the network ("dev"), which then has to be told it. */
  guidanceEmbeds: boolean;
  /** Channels of a head that each axis of the positions turns. */
  axesDimsRope: readonly number[];
}

/** Reads `config.json`. @throws ConfigError naming the field. */
export function readFluxConfig(raw: RawConfig): FluxConfig {
  const cfg = new ConfigReader(raw, 'FluxTransformer2DModel');
  const inChannels = cfg.int('in_channels', 64, { min: 1 });
  const config: FluxConfig = {
    patchSize: cfg.int('patch_size', 1, { min: 1 }),
    inChannels,
    outChannels: cfg.nullableInt('out_channels', null, { min: 1 }) ?? inChannels,
    layers: cfg.int('num_layers', 19, { min: 0 }),
    singleLayers: cfg.int('num_single_layers', 38, { min: 0 }),
    heads: cfg.int('num_attention_heads', 24, { min: 1 }),
    headDim: cfg.int('attention_head_dim', 128, { min: 1 }),
    jointAttentionDim: cfg.int('joint_attention_dim', 4096, { min: 1 }),
    pooledProjectionDim: cfg.int('pooled_projection_dim', 768, { min: 1 }),
    guidanceEmbeds: cfg.bool('guidance_embeds', false),
    axesDimsRope: cfg.intArray('axes_dims_rope', [16, 56, 56], { min: 2, minLength: 1 }),
  };
  const { axesDimsRope: axes, headDim } = config;
  if (axes.some((d) => d % 2 !== 0) || axes.reduce((a, b) => a + b, 0) !== headDim) {
    cfg.refuse('axes_dims_rope', `even numbers whose sum is attention_head_dim, ${headDim}`);
  }
  cfg.done();
  return config;
}
