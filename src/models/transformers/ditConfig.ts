/** Configs of diffusion transformers: the two forms of diffusers, and the arguments of the authors' own class. */
import { ConfigReader, type RawConfig } from '../../loading/index.ts';
import { FEED_FORWARD_ACTIVATIONS, type FeedForwardActivation } from '../blocks/feedForward.ts';

/** What a diffusion transformer is made of, whoever wrote its config. */
export interface DiTConfig {
  /** Names and shapes of weights: those of diffusers, or of the authors' code (one QKV projection, one embedding). */
  layout: 'diffusers' | 'original';
  /** One embedding of timestep and class for all blocks, where diffusers gives each its own. */
  sharedEmbedding: boolean;
  /** Height and width of the latents in training. */
  sampleSize: number;
  patchSize: number;
  inChannels: number;
  /** Twice inChannels where the variance is learned. */
  outChannels: number;
  layers: number;
  heads: number;
  headDim: number;
  /** Hidden channels of the feed-forward network over those of the trunk. */
  mlpRatio: number;
  activation: FeedForwardActivation;
  /** Biases of the projections to q, k and v. */
  attentionBias: boolean;
  /** Classes; a class of that number, where there is a row for it, is "no class". */
  numClasses: number;
  /** Rows of the table of classes: one more than the classes if some were dropped in training. */
  classRows: number;
  /** Of the norm in front of the feed-forward network. */
  normEps: number;
  normAffine: boolean;
  /** Frequencies of the timestep fall to 1/10,000 after 128 − freqShift steps. */
  freqShift: number;
  /** Positions are divided by it. */
  interpolationScale: number;
}

/** Channels of the timestep features. */
export const TIME_FEATURES = 256;

const ACTIVATION_NAMES = Object.keys(FEED_FORWARD_ACTIVATIONS) as FeedForwardActivation[];

/**
 * Reads `config.json` of `DiTTransformer2DModel`, of `Transformer2DModel` in its patched form (the published DiT-XL/2),
 * or the arguments of the authors' `DiT` (of which only the sizes are needed).
 * @throws ConfigError naming the field.
 */
export function readDiTConfig(raw: RawConfig): DiTConfig {
  if (raw._class_name === 'DiT') return readOriginal(raw);
  return raw._class_name === 'Transformer2DModel' ? readTransformer2D(raw) : readDiTTransformer(raw);
}

/** `DiTTransformer2DModel`, every field of it. */
function readDiTTransformer(raw: RawConfig): DiTConfig {
  const cfg = new ConfigReader(raw, 'DiTTransformer2DModel');
  cfg.only('norm_type', 'ada_norm_zero');
  const config = readFields(cfg, {
    in_channels: 4,
    attention_head_dim: 72,
    num_layers: 28,
    attention_bias: true,
    sample_size: 32,
    patch_size: 2,
    activation_fn: 'gelu-approximate',
    num_embeds_ada_norm: 1000,
    norm_elementwise_affine: false,
  });
  cfg.done();
  return config;
}

/** `Transformer2DModel` as far as it is a DiT; its other forms are not networks of their own. */
function readTransformer2D(raw: RawConfig): DiTConfig {
  const cfg = new ConfigReader(raw, 'Transformer2DModel');
  if (cfg.string('norm_type', 'layer_norm') !== 'ada_norm_zero') cfg.refuse('norm_type', '"ada_norm_zero"');
  for (const field of ['cross_attention_dim', 'num_vector_embeds', 'caption_channels']) cfg.only(field, null);
  for (const field of ['only_cross_attention', 'double_self_attention']) cfg.only(field, false);
  cfg.only('attention_type', 'default');
  cfg.only('use_additional_conditions', null, false);
  const config = readFields(cfg, {
    attention_head_dim: 88,
    num_layers: 1,
    attention_bias: false,
    activation_fn: 'geglu',
    norm_elementwise_affine: true,
  });
  const scale = cfg.nullableNumber('interpolation_scale', null, { above: 0 });
  cfg.ignored(['use_linear_projection']);
  cfg.done();
  return { ...config, interpolationScale: scale ?? Math.max(Math.floor(config.sampleSize / 64), 1) };
}

/** What the classes give where a field is absent; a field without a value here is required. */
interface Defaults {
  in_channels?: number;
  attention_head_dim: number;
  num_layers: number;
  attention_bias: boolean;
  sample_size?: number;
  patch_size?: number;
  activation_fn: FeedForwardActivation;
  num_embeds_ada_norm?: number;
  norm_elementwise_affine: boolean;
}

function readFields(cfg: ConfigReader, d: Defaults): DiTConfig {
  const inChannels = cfg.int('in_channels', d.in_channels, { min: 1 });
  const heads = cfg.int('num_attention_heads', 16, { min: 1 });
  const headDim = cfg.int('attention_head_dim', d.attention_head_dim, { min: 1 });
  const numClasses = cfg.int('num_embeds_ada_norm', d.num_embeds_ada_norm, { min: 1 });
  if ((heads * headDim) % 4 !== 0) cfg.refuse('attention_head_dim', 'such that 4 divides the width, for its positions');
  const config: DiTConfig = {
    layout: 'diffusers',
    sharedEmbedding: false,
    sampleSize: cfg.int('sample_size', d.sample_size, { min: 1 }),
    patchSize: cfg.int('patch_size', d.patch_size, { min: 1 }),
    inChannels,
    outChannels: cfg.nullableInt('out_channels', null, { min: 1 }) ?? inChannels,
    layers: cfg.int('num_layers', d.num_layers, { min: 1 }),
    heads,
    headDim,
    mlpRatio: 4,
    activation: cfg.enum('activation_fn', ACTIVATION_NAMES, d.activation_fn),
    attentionBias: cfg.bool('attention_bias', d.attention_bias),
    numClasses,
    classRows: numClasses + 1,
    normEps: cfg.number('norm_eps', 1e-5, { min: 0 }),
    normAffine: cfg.bool('norm_elementwise_affine', d.norm_elementwise_affine),
    freqShift: 1,
    interpolationScale: 1,
  };
  if (config.patchSize > config.sampleSize) cfg.refuse('patch_size', `at most sample_size, ${config.sampleSize}`);
  cfg.ignored(['dropout', 'norm_num_groups', 'upcast_attention']);
  return config;
}

/** The arguments of the authors' `DiT`, under their names. */
function readOriginal(raw: RawConfig): DiTConfig {
  const cfg = new ConfigReader(raw, 'DiT');
  const inChannels = cfg.int('in_channels', 4, { min: 1 });
  const width = cfg.int('hidden_size', 1152, { min: 4 });
  const heads = cfg.int('num_heads', 16, { min: 1 });
  const numClasses = cfg.int('num_classes', 1000, { min: 1 });
  const dropped = cfg.number('class_dropout_prob', 0.1, { min: 0, max: 1 }) > 0;
  if (width % heads !== 0) cfg.refuse('num_heads', `a divisor of hidden_size, ${width}`);
  if (width % 4 !== 0) cfg.refuse('hidden_size', 'divisible by 4, for its positions');
  const config: DiTConfig = {
    layout: 'original',
    sharedEmbedding: true,
    sampleSize: cfg.int('input_size', 32, { min: 1 }),
    patchSize: cfg.int('patch_size', 2, { min: 1 }),
    inChannels,
    outChannels: cfg.bool('learn_sigma', true) ? 2 * inChannels : inChannels,
    layers: cfg.int('depth', 28, { min: 1 }),
    heads,
    headDim: width / heads,
    mlpRatio: cfg.number('mlp_ratio', 4, { above: 0 }),
    activation: 'gelu-approximate',
    attentionBias: true,
    numClasses,
    classRows: dropped ? numClasses + 1 : numClasses,
    normEps: 1e-6,
    normAffine: false,
    freqShift: 0,
    interpolationScale: 1,
  };
  if (config.patchSize > config.sampleSize) cfg.refuse('patch_size', `at most input_size, ${config.sampleSize}`);
  cfg.done();
  return config;
}
