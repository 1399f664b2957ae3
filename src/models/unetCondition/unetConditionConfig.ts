/** The config of a U-Net with cross-attention, `UNet2DConditionModel` of diffusers, every field of it. */
import type { Activation } from '../../kernels/index.ts';
import { ConfigReader, type RawConfig } from '../../loading/index.ts';
import { readActivation } from '../activation.ts';
import type { TimeNorm } from '../blocks/resnetBlock.ts';
import { checkGroups, checkOwnGroups, groupsOf32 } from '../normGroups.ts';
import { OBJECT_ATTENTIONS, type ObjectAttention } from './objects.ts';
import { readDownDepths, readUpDepths } from './transformerDepths.ts';

/** Blocks of the way down, by the names of diffusers. */
export const CONDITION_DOWN_BLOCKS = [
  'CrossAttnDownBlock2D',
  'DownBlock2D',
  'AttnDownBlock2D',
  'ResnetDownsampleBlock2D',
  'SimpleCrossAttnDownBlock2D',
  'KDownBlock2D',
  'KCrossAttnDownBlock2D',
] as const;
/** One of {@link CONDITION_DOWN_BLOCKS}. */
export type ConditionDownBlock = (typeof CONDITION_DOWN_BLOCKS)[number];

/** Blocks of the way up, by the names of diffusers. */
export const CONDITION_UP_BLOCKS = [
  'CrossAttnUpBlock2D',
  'UpBlock2D',
  'AttnUpBlock2D',
  'ResnetUpsampleBlock2D',
  'SimpleCrossAttnUpBlock2D',
  'KUpBlock2D',
  'KCrossAttnUpBlock2D',
] as const;
/** One of {@link CONDITION_UP_BLOCKS}. */
export type ConditionUpBlock = (typeof CONDITION_UP_BLOCKS)[number];

/** Blocks of the middle, by the names of diffusers. */
export const CONDITION_MID_BLOCKS = [
  'UNetMidBlock2DCrossAttn',
  'UNetMidBlock2DSimpleCrossAttn',
  'UNetMidBlock2D',
] as const;

/** Rows of a table, features like those of a timestep, the embedding itself, or a vector through one or two layers. */
export type ClassCondition = 'none' | 'table' | 'timestep' | 'identity' | 'projection' | 'simple_projection';
/** What is added to the time embedding. */
export type AdditionCondition = 'none' | 'text' | 'text_time' | 'text_image' | 'image' | 'image_hint';
/** What becomes the context of the cross-attentions. */
export type ContextProjection = 'none' | 'text_proj' | 'text_image_proj' | 'image_proj';

/** What the way down and the middle need: ControlNets have these fields too. Lists are per level, from the finest. */
export interface EncoderConfig {
  inChannels: number;
  /** Sides of the first kernel. */
  convInKernel: number;
  timeEmbeddingType: 'positional' | 'fourier';
  /** Width of the embedding. */
  timeEmbeddingDim: number;
  /** For positional features: {@link SinusoidOptions}. */
  freqShift: number;
  flipSinToCos: boolean;
  /** Activation behind the second layer of the time embedding. */
  timestepPostAct: Activation | null;
  /** Activation on the sum of all embeddings, once. */
  timeEmbeddingAct: Activation | null;
  /** Channels of a vector that joins the timestep features (the guidance scale of consistency models). */
  timeCondProjDim: number | null;
  classEmbedding: ClassCondition;
  /** Between the layers of a class timestep. */
  classAct: Activation;
  /** Rows of the table of classes. */
  numClassEmbeds: number | null;
  /** Channels of the class vector, or of text and time ids together. */
  projectionInputDim: number | null;
  /** The class embedding stands beside the time embedding instead of being added. */
  classEmbeddingsConcat: boolean;
  addition: AdditionCondition;
  additionTimeEmbedDim: number | null;
  additionHeads: number;
  contextProjection: ContextProjection;
  /** Channels of what is projected to the context, or of image embeddings. */
  encoderHidDim: number | null;
  downBlockTypes: readonly ConditionDownBlock[];
  midBlockType: (typeof CONDITION_MID_BLOCKS)[number] | null;
  blockOutChannels: readonly number[];
  /** ResNet layers on the way down; one more on the way up. */
  layersPerBlock: readonly number[];
  /** Channels of the context. */
  crossAttentionDim: readonly number[];
  /**
   * Of transformer blocks the number of heads, of all others the channels of one; the names came too late to correct.
   */
  attentionHeadDim: readonly number[];
  /** Transformer blocks of every layer of a level. */
  transformerDepths: readonly (readonly number[])[];
  midTransformerDepth: number;
  /** The first attention too looks at the context. */
  onlyCrossAttention: readonly boolean[];
  midOnlyCrossAttention: boolean;
  dualCrossAttention: boolean;
  crossAttentionNorm: 'layer_norm' | 'group_norm' | null;
  /** What pixels look at between both attentions of a transformer block. */
  objectAttention: ObjectAttention;
  useLinearProjection: boolean;
  /** 0 pads at the right and bottom only. */
  downsamplePadding: number;
  midBlockScaleFactor: number;
  act: Activation;
  /** Null: no norm in front of the last convolution, and in the middle a quarter of the channels, at most 32. */
  normNumGroups: number | null;
  normEps: number;
  timeNorm: TimeNorm;
  /** Resampling ResNets and simple attention blocks take the time embedding without activation. */
  resnetSkipTimeAct: boolean;
  /** The sums of resampling ResNets and simple attention blocks are divided by it. */
  resnetOutScaleFactor: number;
}

/** The fields of `config.json` in camelCase, defaults filled in. */
export interface UNetConditionConfig extends EncoderConfig {
  /** Height and width that the model was trained with. */
  sampleSize: readonly [number, number] | null;
  outChannels: number;
  convOutKernel: number;
  /** x·2 − 1 before anything else. */
  centerInputSample: boolean;
  upBlockTypes: readonly ConditionUpBlock[];
  /** Transformer blocks of every layer, from the coarsest level up. */
  upTransformerDepths: readonly (readonly number[])[];
}

/** Reads `config.json`. @throws ConfigError naming the field. */
export function readUNetConditionConfig(raw: RawConfig): UNetConditionConfig {
  const cfg = new ConfigReader(raw, 'UNet2DConditionModel');
  const levels = cfg.intArray('block_out_channels', [320, 640, 1280, 1280], { min: 1, minLength: 1 });
  const cross = 'CrossAttnUpBlock2D';
  const up = cfg.enumArray('up_block_types', withPrefix(CONDITION_UP_BLOCKS), ['UpBlock2D', cross, cross, cross]);
  if (up.length !== levels.length) cfg.refuse('up_block_types', `${levels.length} blocks, as block_out_channels has`);
  const timeEmbeddingType = cfg.enum('time_embedding_type', ['positional', 'fourier'], 'positional');
  const timeEmbeddingDim =
    cfg.nullableInt('time_embedding_dim', null, { min: 1 }) ?? (timeEmbeddingType === 'fourier' ? 2 : 4) * levels[0];
  const shared = readEncoder(cfg, levels, {
    timeEmbeddingDim,
    layers: cfg.intPerLevel('layers_per_block', levels.length, 2, { min: 1 }),
    crossAttentionDim: cfg.intPerLevel('cross_attention_dim', levels.length, 1280, { min: 1 }),
  });
  const midOnly = cfg.nullableBool('mid_block_only_cross_attention', null);
  const config: UNetConditionConfig = {
    ...shared,
    sampleSize: readSampleSize(cfg),
    outChannels: cfg.int('out_channels', 4, { min: 1 }),
    convInKernel: cfg.int('conv_in_kernel', 3, { min: 1 }),
    convOutKernel: cfg.int('conv_out_kernel', 3, { min: 1 }),
    centerInputSample: cfg.bool('center_input_sample', false),
    upBlockTypes: up.map(plain),
    upTransformerDepths: readUpDepths(cfg, shared.layersPerBlock),
    timeEmbeddingType,
    timestepPostAct: readOptionalActivation(cfg, 'timestep_post_act'),
    timeEmbeddingAct: readOptionalActivation(cfg, 'time_embedding_act_fn'),
    timeCondProjDim: cfg.nullableInt('time_cond_proj_dim', null, { min: 1 }),
    classEmbeddingsConcat: cfg.bool('class_embeddings_concat', false),
    midOnlyCrossAttention: midOnly ?? raw['only_cross_attention'] === true,
    dualCrossAttention: cfg.bool('dual_cross_attention', false),
    objectAttention: cfg.enum('attention_type', OBJECT_ATTENTIONS, 'default'),
    crossAttentionNorm: cfg.nullableEnum('cross_attention_norm', ['layer_norm', 'group_norm'], null),
    resnetSkipTimeAct: cfg.bool('resnet_skip_time_act', false),
    resnetOutScaleFactor: cfg.number('resnet_out_scale_factor', 1),
  };
  check(cfg, config);
  cfg.done();
  return config;
}

/** What ControlNets share, with the defaults of what they lack. */
export function readEncoder(
  cfg: ConfigReader,
  levels: readonly number[],
  own: { timeEmbeddingDim: number; layers: readonly number[]; crossAttentionDim: readonly number[] },
): EncoderConfig {
  const n = levels.length;
  const cross = 'CrossAttnDownBlock2D';
  const down = cfg.enumArray('down_block_types', withPrefix(CONDITION_DOWN_BLOCKS), [
    cross,
    cross,
    cross,
    'DownBlock2D',
  ]);
  if (down.length !== n) cfg.refuse('down_block_types', `${n} blocks, as block_out_channels has`);
  // The class refuses it too: what other models call by this name stands in attention_head_dim.
  cfg.only('num_attention_heads', null);
  const depths = readDownDepths(cfg, own.layers);
  const classType = cfg.nullableEnum(
    'class_embed_type',
    ['timestep', 'identity', 'projection', 'simple_projection'],
    null,
  );
  const numClassEmbeds = cfg.nullableInt('num_class_embeds', null, { min: 1 });
  const encoderHidDim = cfg.nullableInt('encoder_hid_dim', null, { min: 1 });
  const projections = ['text_proj', 'text_image_proj', 'image_proj'] as const;
  const contextProjection = cfg.nullableEnum('encoder_hid_dim_type', projections, null);
  const additions = ['text', 'text_time', 'text_image', 'image', 'image_hint'] as const;
  const act = readActivation(cfg, 'act_fn', 'silu');
  const config: EncoderConfig = {
    inChannels: cfg.int('in_channels', 4, { min: 1 }),
    convInKernel: 3,
    timeEmbeddingType: 'positional',
    timeEmbeddingDim: own.timeEmbeddingDim,
    freqShift: cfg.number('freq_shift', 0),
    flipSinToCos: cfg.bool('flip_sin_to_cos', true),
    timestepPostAct: null,
    timeEmbeddingAct: null,
    timeCondProjDim: null,
    classEmbedding: classType ?? (numClassEmbeds === null ? 'none' : 'table'),
    classAct: act,
    numClassEmbeds,
    projectionInputDim: cfg.nullableInt('projection_class_embeddings_input_dim', null, { min: 1 }),
    classEmbeddingsConcat: false,
    addition: cfg.nullableEnum('addition_embed_type', additions, null) ?? 'none',
    additionTimeEmbedDim: cfg.nullableInt('addition_time_embed_dim', null, { min: 2 }),
    additionHeads: cfg.int('addition_embed_type_num_heads', 64, { min: 1 }),
    contextProjection: contextProjection ?? (encoderHidDim === null ? 'none' : 'text_proj'),
    encoderHidDim,
    downBlockTypes: down.map(plain),
    midBlockType: cfg.nullableEnum('mid_block_type', CONDITION_MID_BLOCKS, 'UNetMidBlock2DCrossAttn'),
    blockOutChannels: levels,
    layersPerBlock: own.layers,
    crossAttentionDim: own.crossAttentionDim,
    attentionHeadDim: cfg.intPerLevel('attention_head_dim', n, 8, { min: 1 }),
    transformerDepths: depths.down,
    midTransformerDepth: depths.mid,
    onlyCrossAttention: cfg.boolPerLevel('only_cross_attention', n, false),
    midOnlyCrossAttention: false,
    dualCrossAttention: false,
    crossAttentionNorm: null,
    objectAttention: 'default',
    useLinearProjection: cfg.bool('use_linear_projection', false),
    downsamplePadding: cfg.int('downsample_padding', 1, { min: 0 }),
    midBlockScaleFactor: cfg.number('mid_block_scale_factor', 1),
    act,
    normNumGroups: cfg.nullableInt('norm_num_groups', 32, { min: 1 }),
    normEps: cfg.number('norm_eps', 1e-5, { min: 0 }),
    timeNorm: cfg.enum('resnet_time_scale_shift', ['default', 'scale_shift'], 'default'),
    resnetSkipTimeAct: false,
    resnetOutScaleFactor: 1,
  };
  cfg.ignored(['dropout', 'upcast_attention']);
  checkEncoder(cfg, config);
  return config;
}

/** Combinations that the fields allow one by one but that no network has. */
function checkEncoder(cfg: ConfigReader, c: EncoderConfig): void {
  if (c.contextProjection !== 'none' && c.encoderHidDim === null) {
    cfg.refuse('encoder_hid_dim', 'an integer, because of encoder_hid_dim_type');
  }
  const projects = ['projection', 'simple_projection'].includes(c.classEmbedding) || c.addition === 'text_time';
  if (projects && c.projectionInputDim === null) {
    cfg.refuse('projection_class_embeddings_input_dim', 'an integer, because of class_embed_type or text_time');
  }
  if (c.addition === 'text_time') {
    if (c.additionTimeEmbedDim === null) cfg.refuse('addition_time_embed_dim', 'an integer, because of text_time');
    if (c.projectionInputDim! <= c.additionTimeEmbedDim) {
      cfg.refuse('addition_time_embed_dim', 'less than projection_class_embeddings_input_dim');
    }
  }
  if (c.addition.startsWith('image') && c.encoderHidDim === null) {
    cfg.refuse('encoder_hid_dim', 'an integer, because of addition_embed_type');
  }
  const textWidth = c.encoderHidDim ?? c.crossAttentionDim[0];
  if (c.addition === 'text' && textWidth % c.additionHeads !== 0) {
    cfg.refuse('addition_embed_type_num_heads', `a divisor of the text's ${textWidth} channels`);
  }
  const ordinary = c.downBlockTypes.find((type) => !type.startsWith('K'));
  if (c.normNumGroups === null && ordinary) cfg.refuse('norm_num_groups', `an integer, because of ${ordinary}`);
  const n = c.blockOutChannels.length;
  const own = c.blockOutChannels.filter((_, i) => {
    return (i === n - 1 && c.midBlockType !== null) || !c.downBlockTypes[i].startsWith('K');
  });
  checkGroups(cfg, 'norm_num_groups', c.normNumGroups, own);
  const kLevels = c.blockOutChannels.filter((_, i) => c.downBlockTypes[i].startsWith('K'));
  checkOwnGroups(cfg, groupsOf32, kLevels, 'K blocks');
}

function check(cfg: ConfigReader, c: UNetConditionConfig): void {
  if (c.addition === 'image_hint' && c.inChannels <= 4) {
    cfg.refuse('in_channels', 'more than 4, because a hint takes four of them');
  }
  const gated = c.objectAttention !== 'default';
  if (gated && c.crossAttentionDim.some((E) => E !== c.crossAttentionDim[0])) {
    cfg.refuse('cross_attention_dim', 'one width for all levels, because of attention_type');
  }
  if (gated && c.dualCrossAttention) cfg.refuse('attention_type', '"default", because of dual_cross_attention');
  const ordinary = c.upBlockTypes.find((type) => !type.startsWith('K'));
  if (c.normNumGroups === null && ordinary) cfg.refuse('norm_num_groups', `an integer, because of ${ordinary}`);
  const up = c.blockOutChannels.filter((_, i) => i === 0 || !c.upBlockTypes.at(-1 - i)!.startsWith('K'));
  checkGroups(cfg, 'norm_num_groups', c.normNumGroups, up);
  const kLevels = c.blockOutChannels.filter((_, i) => c.upBlockTypes.at(-1 - i)!.startsWith('K'));
  checkOwnGroups(cfg, groupsOf32, kLevels, 'K blocks');
  if (c.classEmbeddingsConcat && (c.classEmbedding === 'none' || c.addition !== 'none')) {
    cfg.refuse('class_embeddings_concat', 'false, because there is no class embedding, or one is added to the sum');
  }
  if (c.timeEmbeddingType === 'fourier' && c.timeEmbeddingDim % 2 !== 0) {
    cfg.refuse('time_embedding_dim', 'even, because of the Fourier features');
  }
  if (c.timeEmbeddingType === 'positional' && Math.floor(c.blockOutChannels[0] / 2) === c.freqShift) {
    cfg.refuse('freq_shift', `other than half of block_out_channels[0], ${c.freqShift}`);
  }
}

function readOptionalActivation(cfg: ConfigReader, field: string): Activation | null {
  return cfg.nullableString(field, null) === null ? null : readActivation(cfg, field, 'silu');
}

function readSampleSize(cfg: ConfigReader): readonly [number, number] | null {
  if (!cfg.has('sample_size')) {
    cfg.ignored(['sample_size']);
    return null;
  }
  const [height, width] = cfg.intPerLevel('sample_size', 2, undefined, { min: 1 });
  return [height, width];
}

/** Early configs write `UNetResDownBlock2D` for `DownBlock2D`, and so on. */
function withPrefix<const T extends string>(types: readonly T[]): (T | `UNetRes${T}`)[] {
  return types.flatMap((type) => [type, `UNetRes${type}` as const]);
}

function plain<T extends string>(type: T | `UNetRes${T}`): T {
  return type.replace(/^UNetRes/, '') as T;
}
