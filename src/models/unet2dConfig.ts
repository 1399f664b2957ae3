/** The config of an unconditional or class-conditional U-Net, `UNet2DModel` of diffusers, every field of it. */
import type { Activation } from '../kernels/index.ts';
import { ConfigReader, type RawConfig } from '../loading/index.ts';
import { readActivation } from './activation.ts';
import type { TimeNorm } from './blocks/resnetBlock.ts';
import { checkGroups, checkOwnGroups, defaultGroups } from './normGroups.ts';

/** Blocks of the way down, by the names of diffusers. */
export const DOWN_BLOCKS = [
  'DownBlock2D',
  'AttnDownBlock2D',
  'ResnetDownsampleBlock2D',
  'SkipDownBlock2D',
  'AttnSkipDownBlock2D',
] as const;
/** One of {@link DOWN_BLOCKS}. */
export type DownBlockType = (typeof DOWN_BLOCKS)[number];

/** Blocks of the way up, by the names of diffusers. */
export const UP_BLOCKS = [
  'UpBlock2D',
  'AttnUpBlock2D',
  'ResnetUpsampleBlock2D',
  'SkipUpBlock2D',
  'AttnSkipUpBlock2D',
] as const;
/** One of {@link UP_BLOCKS}. */
export type UpBlockType = (typeof UP_BLOCKS)[number];

/** Where a class condition comes in: rows of a table, features like those of a timestep, or the embedding itself. */
export type ClassEmbedding = 'none' | 'table' | 'timestep' | 'identity';

/** The fields of `config.json` in camelCase, defaults filled in. */
export interface UNet2DConfig {
  /** Height and width that the model was trained with. */
  sampleSize: readonly [number, number] | null;
  inChannels: number;
  outChannels: number;
  /** x·2 − 1 before anything else. */
  centerInputSample: boolean;
  timeEmbeddingType: 'positional' | 'fourier' | 'learned';
  /** Width of the embedding that the blocks see. */
  timeEmbeddingDim: number;
  /** For positional features: {@link SinusoidOptions}. */
  freqShift: number;
  flipSinToCos: boolean;
  downBlockTypes: readonly DownBlockType[];
  hasMidBlock: boolean;
  upBlockTypes: readonly UpBlockType[];
  /** Channels per level, from the finest. */
  blockOutChannels: readonly number[];
  /** ResNet layers per level on the way down; one more on the way up. */
  layersPerBlock: number;
  /** Residuals of the middle block are divided by it. */
  midBlockScaleFactor: number;
  /** 0 pads at the right and bottom only. */
  downsamplePadding: number;
  downsampleType: 'conv' | 'resnet';
  upsampleType: 'conv' | 'resnet';
  act: Activation;
  /** Channels per head; null for one head. */
  attentionHeadDim: number | null;
  /** Null: a quarter of the channels, at most 32. */
  normNumGroups: number | null;
  /**
   * Groups of the normalisation before the middle block's attention; null: normNumGroups, or no normalisation where
   * timeNorm is `scale_shift`.
   */
  attnNormNumGroups: number | null;
  normEps: number;
  timeNorm: TimeNorm;
  /** Whether the middle block has attention. */
  addAttention: boolean;
  classEmbedding: ClassEmbedding;
  /** Rows of the table of classes. */
  numClassEmbeds: number | null;
  /** Rows of the table of a learned time embedding. */
  numTrainTimesteps: number | null;
}

/** Reads `config.json`. @throws ConfigError naming the field. */
export function readUNet2DConfig(raw: RawConfig): UNet2DConfig {
  const cfg = new ConfigReader(raw, 'UNet2DModel');
  const levels = cfg.intArray('block_out_channels', [224, 448, 672, 896], { min: 1, minLength: 1 });
  const attn = 'AttnDownBlock2D';
  const down = cfg.enumArray('down_block_types', withPrefix(DOWN_BLOCKS), ['DownBlock2D', attn, attn, attn]);
  const attnUp = 'AttnUpBlock2D';
  const up = cfg.enumArray('up_block_types', withPrefix(UP_BLOCKS), [attnUp, attnUp, attnUp, 'UpBlock2D']);
  if (down.length !== levels.length)
    cfg.refuse('down_block_types', `${levels.length} blocks, as block_out_channels has`);
  if (up.length !== levels.length) cfg.refuse('up_block_types', `${levels.length} blocks, as block_out_channels has`);
  const timeEmbeddingType = cfg.enum('time_embedding_type', ['positional', 'fourier', 'learned'], 'positional');
  const config: UNet2DConfig = {
    sampleSize: readSampleSize(cfg),
    inChannels: cfg.int('in_channels', 3, { min: 1 }),
    outChannels: cfg.int('out_channels', 3, { min: 1 }),
    centerInputSample: cfg.bool('center_input_sample', false),
    timeEmbeddingType,
    timeEmbeddingDim: cfg.nullableInt('time_embedding_dim', null, { min: 1 }) ?? 4 * levels[0],
    freqShift: cfg.number('freq_shift', 0),
    flipSinToCos: cfg.bool('flip_sin_to_cos', true),
    downBlockTypes: down.map(plain),
    hasMidBlock: cfg.nullableEnum('mid_block_type', ['UNetMidBlock2D'], 'UNetMidBlock2D') !== null,
    upBlockTypes: up.map(plain),
    blockOutChannels: levels,
    layersPerBlock: cfg.int('layers_per_block', 2, { min: 1 }),
    midBlockScaleFactor: cfg.number('mid_block_scale_factor', 1, { above: 0 }),
    downsamplePadding: cfg.int('downsample_padding', 1, { min: 0 }),
    downsampleType: cfg.enum('downsample_type', ['conv', 'resnet'], 'conv', { nullIsDefault: true }),
    upsampleType: cfg.enum('upsample_type', ['conv', 'resnet'], 'conv', { nullIsDefault: true }),
    act: readActivation(cfg, 'act_fn', 'silu'),
    attentionHeadDim: cfg.nullableInt('attention_head_dim', 8, { min: 1 }),
    normNumGroups: cfg.nullableInt('norm_num_groups', 32, { min: 1 }),
    attnNormNumGroups: cfg.nullableInt('attn_norm_num_groups', null, { min: 1 }),
    normEps: cfg.number('norm_eps', 1e-5, { min: 0 }),
    timeNorm: cfg.enum('resnet_time_scale_shift', ['default', 'scale_shift'], 'default'),
    addAttention: cfg.bool('add_attention', true),
    ...readClassEmbedding(cfg),
    numTrainTimesteps: cfg.nullableInt('num_train_timesteps', null, { min: 1 }),
  };
  check(cfg, config);
  cfg.ignored(['dropout']);
  cfg.done();
  return config;
}

/** Combinations that the fields allow one by one but that no network has. */
function check(cfg: ConfigReader, config: UNet2DConfig): void {
  const { downBlockTypes, upBlockTypes, inChannels, outChannels } = config;
  if (config.timeEmbeddingType === 'learned' && config.numTrainTimesteps === null) {
    cfg.refuse('num_train_timesteps', 'an integer, because time_embedding_type is "learned"');
  }
  const half = Math.floor(config.blockOutChannels[0] / 2);
  if (config.timeEmbeddingType === 'positional' && half === config.freqShift) {
    cfg.refuse('freq_shift', `other than half of block_out_channels[0], ${half}`);
  }
  const ordinary = [...downBlockTypes, ...upBlockTypes].find((type) => !isSkip(type));
  if (config.normNumGroups === null && ordinary) cfg.refuse('norm_num_groups', `an integer, because of ${ordinary}`);
  const n = downBlockTypes.length;
  // Skip blocks have groups of their own.
  const grouped = config.blockOutChannels.filter((_, i) => {
    const ends = i === 0 || (i === n - 1 && config.hasMidBlock);
    return ends || !isSkip(downBlockTypes[i]) || !isSkip(upBlockTypes[n - 1 - i]);
  });
  checkGroups(cfg, 'norm_num_groups', config.normNumGroups, grouped);
  const skips = config.blockOutChannels.filter((_, i) => isSkip(downBlockTypes[i]) || isSkip(upBlockTypes[n - 1 - i]));
  checkOwnGroups(cfg, defaultGroups, skips, 'skip blocks');
  if (config.hasMidBlock && config.addAttention) {
    checkGroups(cfg, 'attn_norm_num_groups', config.attnNormNumGroups, config.blockOutChannels.slice(-1));
  }
  // The reference library builds the image branch of skip blocks for RGB, whatever the channels are.
  const last = n - 1;
  if (downBlockTypes.some((type, i) => isSkip(type) && i < last) && inChannels !== 3) {
    cfg.refuse('in_channels', '3, because skip blocks resample the picture itself');
  }
  if (upBlockTypes.some((type, i) => isSkip(type) && i < last) && outChannels !== 3) {
    cfg.refuse('out_channels', '3, because skip blocks add up a picture');
  }
}

/** Whether a block carries a picture beside the features. */
export function isSkip(type: DownBlockType | UpBlockType): boolean {
  return type.includes('Skip');
}

function readSampleSize(cfg: ConfigReader): readonly [number, number] | null {
  if (!cfg.has('sample_size')) {
    cfg.ignored(['sample_size']);
    return null;
  }
  const [height, width] = cfg.intPerLevel('sample_size', 2, undefined, { min: 1 });
  return [height, width];
}

function readClassEmbedding(cfg: ConfigReader): Pick<UNet2DConfig, 'classEmbedding' | 'numClassEmbeds'> {
  const type = cfg.nullableEnum('class_embed_type', ['timestep', 'identity'], null);
  const numClassEmbeds = cfg.nullableInt('num_class_embeds', null, { min: 1 });
  return { classEmbedding: type ?? (numClassEmbeds === null ? 'none' : 'table'), numClassEmbeds };
}

/** Early configs write `UNetResDownBlock2D` for `DownBlock2D`, and so on. */
function withPrefix<const T extends string>(types: readonly T[]): (T | `UNetRes${T}`)[] {
  return types.flatMap((type) => [type, `UNetRes${type}` as const]);
}

function plain<T extends string>(type: T | `UNetRes${T}`): T {
  return type.replace(/^UNetRes/, '') as T;
}
