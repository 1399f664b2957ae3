/** The config of a ControlNet, `ControlNetModel` of diffusers, every field of it. */
import { ConfigReader, type RawConfig } from '../../loading/index.ts';
import { readEncoder, type EncoderConfig } from '../unetCondition/unetConditionConfig.ts';

/** The fields of `config.json` in camelCase, defaults filled in. */
export interface ControlNetConfig extends EncoderConfig {
  /** Channels of the picture that controls. */
  conditioningChannels: number;
  /** Behind each size of the picture's own encoder; all but the first halve it. */
  conditioningOutChannels: readonly number[];
  /** Order in which the network was trained to see colours; callers pass RGB. */
  channelOrder: 'rgb' | 'bgr';
  /** Residuals are means over the map. */
  globalPoolConditions: boolean;
  /** A projection that checkpoints hold and the network never uses. */
  idleProjection: { kind: 'text_proj' | 'text_image_proj'; dim: number } | null;
}

const NAME = 'ControlNetModel';

/** Reads `config.json`. @throws ConfigError naming the field. */
export function readControlNetConfig(raw: RawConfig): ControlNetConfig {
  const cfg = new ConfigReader(raw, NAME);
  const levels = cfg.intArray('block_out_channels', [320, 640, 1280, 1280], { min: 1, minLength: 1 });
  const everywhere = (n: number) => Array<number>(levels.length).fill(n);
  const shared = readEncoder(cfg, levels, {
    timeEmbeddingDim: 4 * levels[0],
    layers: everywhere(cfg.int('layers_per_block', 2, { min: 1 })),
    crossAttentionDim: everywhere(cfg.int('cross_attention_dim', 1280, { min: 1 })),
  });
  if (!['none', 'text', 'text_time'].includes(shared.addition)) {
    cfg.refuse('addition_embed_type', '"text", "text_time" or null, as ControlNets have it');
  }
  if (shared.classEmbedding === 'simple_projection') {
    cfg.refuse('class_embed_type', '"timestep", "identity", "projection" or null, as ControlNets have it');
  }
  if (!['UNetMidBlock2DCrossAttn', 'UNetMidBlock2D'].includes(shared.midBlockType ?? '')) {
    cfg.refuse('mid_block_type', '"UNetMidBlock2DCrossAttn" or "UNetMidBlock2D", as ControlNets have it');
  }
  const { contextProjection: kind, encoderHidDim: dim } = shared;
  if (kind === 'image_proj') return cfg.refuse('encoder_hid_dim_type', '"text_proj", "text_image_proj" or null');
  if (shared.addition === 'text' && dim !== null && dim !== shared.crossAttentionDim[0]) {
    cfg.refuse('encoder_hid_dim', `${shared.crossAttentionDim[0]} as cross_attention_dim, since both read the text`);
  }
  const config: ControlNetConfig = {
    ...shared,
    classAct: 'silu',
    contextProjection: 'none',
    encoderHidDim: null,
    idleProjection: kind === 'none' ? null : { kind, dim: dim! },
    conditioningChannels: cfg.int('conditioning_channels', 3, { min: 1 }),
    conditioningOutChannels: cfg.intArray('conditioning_embedding_out_channels', [16, 32, 96, 256], {
      min: 1,
      minLength: 1,
    }),
    channelOrder: cfg.enum('controlnet_conditioning_channel_order', ['rgb', 'bgr'], 'rgb'),
    globalPoolConditions: cfg.bool('global_pool_conditions', false),
  };
  cfg.done();
  return config;
}
