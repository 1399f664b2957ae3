/**
 * The configs of OpenAI's networks: the arguments of their constructors, by the names that the original code gives
 * them.
 */
import { ConfigReader, type RawConfig } from '../../loading/index.ts';

/** What U-Net and classifier have in common. */
export interface AdmEncoderConfig {
  /** Height and width that the network was trained with; null where the config does not say. */
  imageSize: number | null;
  /** Channels of a picture; a super-resolution network sees twice as many. */
  inChannels: number;
  /** Channels that `channelMult` multiplies. */
  modelChannels: number;
  outChannels: number;
  /** Residual blocks per level on the way down; one more on the way up. */
  numResBlocks: number;
  /** Factors of downsampling at which there is attention. */
  attentionResolutions: readonly number[];
  /** Per level, from the finest. */
  channelMult: readonly number[];
  /** Whether plain resampling has a convolution. */
  convResample: boolean;
  numHeads: number;
  /** Channels of a head; null: as many as `numHeads` leave. */
  numHeadChannels: number | null;
  /** Whether the timestep is scale and shift of the second norm, or added before it. */
  useScaleShiftNorm: boolean;
  /** Whether levels end in a residual block that resamples, or in plain resampling. */
  resblockUpdown: boolean;
  /** How the channels of q, k and v stand: (heads, 3, dim) or (3, heads, dim). */
  attentionOrder: 'heads-first' | 'qkv-first';
  /** Spatial dimensions of the weights of 1×1 convolutions in attention: 1, or 2 in consistency models. */
  attentionDims: 1 | 2;
}

/** `UNetModel` and `SuperResModel` of guided-diffusion, improved-diffusion and consistency_models. */
export interface AdmConfig extends AdmEncoderConfig {
  /** A `SuperResModel`: a small picture comes along. */
  superRes: boolean;
  /** Rows of the table of classes; null for none. */
  numClasses: number | null;
  /** Heads on the way up, where `numHeadChannels` does not say. */
  numHeadsUpsample: number;
}

/** How the way down ends: by average, by attention, or with features of every level. */
export const POOLS = ['adaptive', 'attention', 'spatial', 'spatial_v2'] as const;
/** One of {@link POOLS}. */
export type Pool = (typeof POOLS)[number];

/** `EncoderUNetModel` of guided-diffusion. */
export interface ClassifierConfig extends AdmEncoderConfig {
  pool: Pool;
}

/** Every norm of these networks. */
export const ADM_GROUPS = 32;
/** Of every norm. */
export const ADM_EPS = 1e-5;

/**
 * Reads the config of a U-Net. `_class_name` tells `UNetModel` and `SuperResModel` apart; `attention_type`, which only
 * consistency_models has, says that its attention is meant (qkv-first, with weights of two-dimensional convolutions).
 * @throws ConfigError naming the field
 */
export function readAdmConfig(raw: RawConfig): AdmConfig {
  const superRes = raw['_class_name'] === 'SuperResModel';
  const cfg = new ConfigReader(raw, superRes ? 'SuperResModel' : 'UNetModel');
  const encoder = readEncoder(cfg);
  const numHeadsUpsample = cfg.int('num_heads_upsample', -1, { min: -1 });
  const config: AdmConfig = {
    ...encoder,
    superRes,
    numClasses: cfg.nullableInt('num_classes', null, { min: 1 }),
    numHeadsUpsample: numHeadsUpsample === -1 ? encoder.numHeads : numHeadsUpsample,
  };
  checkHeads(cfg, config, 'num_heads_upsample', config.numHeadsUpsample);
  cfg.done();
  return config;
}

/** Reads the config of a classifier. @throws ConfigError naming the field */
export function readClassifierConfig(raw: RawConfig): ClassifierConfig {
  const cfg = new ConfigReader(raw, 'EncoderUNetModel');
  const config: ClassifierConfig = { ...readEncoder(cfg), pool: cfg.enum('pool', POOLS, 'adaptive') };
  if (config.pool === 'attention') {
    if (config.numHeadChannels === null) cfg.refuse('num_head_channels', 'an integer, because pool is "attention"');
    if (config.imageSize === null) cfg.refuse('image_size', 'an integer, because pool is "attention"');
  }
  cfg.ignored(['num_heads_upsample']); // there is no way up
  cfg.done();
  return config;
}

function readEncoder(cfg: ConfigReader): AdmEncoderConfig {
  const headChannels = cfg.int('num_head_channels', -1, { min: -1 });
  const ofConsistency = cfg.has('attention_type');
  cfg.only('attention_type', 'flash', 'legacy', 'default');
  const newOrder = cfg.bool('use_new_attention_order', false);
  const config: AdmEncoderConfig = {
    imageSize: cfg.nullableInt('image_size', null, { min: 1 }),
    inChannels: cfg.int('in_channels', undefined, { min: 1 }),
    modelChannels: cfg.int('model_channels', undefined, { min: 1 }),
    outChannels: cfg.int('out_channels', undefined, { min: 1 }),
    numResBlocks: cfg.int('num_res_blocks', undefined, { min: 1 }),
    attentionResolutions: cfg.intArray('attention_resolutions', undefined, { min: 1 }),
    channelMult: cfg.numberArray('channel_mult', [1, 2, 4, 8], { above: 0, minLength: 1 }),
    convResample: cfg.bool('conv_resample', true),
    numHeads: cfg.int('num_heads', 1, { min: 1 }),
    numHeadChannels: headChannels === -1 ? null : headChannels,
    useScaleShiftNorm: cfg.bool('use_scale_shift_norm', false),
    resblockUpdown: cfg.bool('resblock_updown', false),
    // consistency_models accepts use_new_attention_order and has one order only.
    attentionOrder: newOrder || ofConsistency ? 'qkv-first' : 'heads-first',
    attentionDims: ofConsistency ? 2 : 1,
  };
  cfg.only('dims', 2);
  cfg.ignored(['dropout', 'use_checkpoint', 'use_fp16']);
  config.channelMult.forEach((_, level) => {
    if (channelsAt(config, level) % ADM_GROUPS !== 0)
      cfg.refuse('channel_mult', `such that every level has a multiple of ${ADM_GROUPS} channels`);
  });
  checkHeads(cfg, config, 'num_heads', config.numHeads);
  return config;
}

/** Heads must divide the channels wherever there is attention. */
function checkHeads(cfg: ConfigReader, config: AdmEncoderConfig, field: string, numHeads: number): void {
  const { channelMult, attentionResolutions, numHeadChannels } = config;
  const last = channelMult.length - 1;
  channelMult.forEach((_, level) => {
    if (level !== last && !attentionResolutions.includes(2 ** level)) return;
    const channels = channelsAt(config, level);
    if (channels % (numHeadChannels ?? numHeads) !== 0)
      cfg.refuse(
        numHeadChannels === null ? field : 'num_head_channels',
        `a divisor of ${channels}, the channels of a level`,
      );
  });
}

/** Channels of a level. */
export function channelsAt({ channelMult, modelChannels }: AdmEncoderConfig, level: number): number {
  return Math.floor(channelMult[level] * modelChannels);
}

/** Heads of attention over so many channels. */
export function headsOf({ numHeadChannels }: AdmEncoderConfig, channels: number, numHeads: number): number {
  return numHeadChannels === null ? numHeads : channels / numHeadChannels;
}

/**
 * One of `input_blocks` behind the first convolution: a residual block, perhaps with attention, or the end of a level.
 */
export interface AdmInputBlock {
  kind: 'res' | 'down';
  /** Channels of its result. */
  out: number;
  attention: boolean;
}

/** The way down, in the order of `input_blocks` from 1 on. */
export function inputBlocks(config: AdmEncoderConfig): AdmInputBlock[] {
  const { channelMult, numResBlocks, attentionResolutions } = config;
  return channelMult.flatMap((_, level): AdmInputBlock[] => {
    const out = channelsAt(config, level);
    const attention = attentionResolutions.includes(2 ** level);
    const layers = Array.from({ length: numResBlocks }, (): AdmInputBlock => ({ kind: 'res', out, attention }));
    return level === channelMult.length - 1 ? layers : [...layers, { kind: 'down', out, attention: false }];
  });
}
