/** The config of NVlabs/edm's networks: a preconditioning around a SongUNet or a DhariwalUNet, every option of them. */
import { ConfigReader, configClass, type RawConfig } from '../../loading/index.ts';

/** The classes that see a network as a denoiser, and the two networks alone. */
export const EDM_CLASSES = [
  'EDMPrecond',
  'VPPrecond',
  'VEPrecond',
  'iDDPMPrecond',
  'SongUNet',
  'DhariwalUNet',
] as const;
/** One of {@link EDM_CLASSES}. */
export type EdmClass = (typeof EDM_CLASSES)[number];

/** What both networks have. */
interface UNetConfig {
  /** Height and width that the model was trained with; blocks are named after it. */
  imgResolution: number;
  inChannels: number;
  outChannels: number;
  /** Width of a class label, one-hot as a rule; 0 for none. */
  labelDim: number;
  /** Width of an augmentation label; 0 for none. */
  augmentDim: number;
  modelChannels: number;
  /** Channels per level in multiples of modelChannels, from the finest. */
  channelMult: readonly number[];
  /** Width of the embedding in multiples of modelChannels. */
  channelMultEmb: number;
  numBlocks: number;
  /** Levels with attention, by their height where the input has imgResolution. */
  attnResolutions: readonly number[];
}

/** DDPM++ and NCSN++ as EDM restates them. */
export interface SongUNetConfig extends UNetConfig {
  modelType: 'SongUNet';
  embeddingType: 'positional' | 'fourier';
  /** Width of the noise features in multiples of modelChannels. */
  channelMultNoise: number;
  encoderType: 'standard' | 'skip' | 'residual';
  decoderType: 'standard' | 'skip';
  /** Taps of the filter that resamples. */
  resampleFilter: readonly number[];
}

/** ADM as EDM restates it. */
export interface DhariwalUNetConfig extends UNetConfig {
  modelType: 'DhariwalUNet';
  /** 64 in every published network; levels with fewer channels have no attention. */
  channelsPerHead: number;
}

/** How the network is seen as a denoiser: the class and its constants. */
export type PrecondConfig =
  | { type: 'edm'; sigmaData: number; sigmaMin: number; sigmaMax: number }
  | { type: 've'; sigmaMin: number; sigmaMax: number }
  | { type: 'vp'; betaD: number; betaMin: number; M: number; epsilonT: number }
  | { type: 'iddpm'; M: number };

/** A network and, unless it stands alone, its preconditioning. */
export interface EdmConfig {
  net: SongUNetConfig | DhariwalUNetConfig;
  precond?: PrecondConfig;
}

/** Reads `config.json`: the keyword arguments of the class that `_class_name` names. @throws ConfigError */
export function readEdmConfig(raw: RawConfig): EdmConfig {
  const className = EDM_CLASSES.find((c) => c === configClass(raw)) ?? 'EDMPrecond';
  const cfg = new ConfigReader(raw, className);
  const alone = className === 'SongUNet' || className === 'DhariwalUNet';
  const fallback = className === 'VPPrecond' || className === 'VEPrecond' ? 'SongUNet' : 'DhariwalUNet';
  const modelType = alone ? className : cfg.enum('model_type', ['SongUNet', 'DhariwalUNet'], fallback);
  const precond = readPrecond(cfg, className);
  const net = modelType === 'SongUNet' ? readSongUNet(cfg, alone) : readDhariwalUNet(cfg, alone);
  if (precond?.type === 'iddpm') net.outChannels *= 2; // a learned variance behind
  check(cfg, net);
  cfg.ignored(['dropout', 'label_dropout', 'use_fp16', 'class_name', 'precond']);
  cfg.done();
  return { net, precond };
}

function readPrecond(cfg: ConfigReader, className: EdmClass): PrecondConfig | undefined {
  const positive = { above: 0 };
  const count = (): number => cfg.int('M', 1000, { min: 1 });
  switch (className) {
    case 'EDMPrecond':
      return {
        type: 'edm',
        sigmaMin: cfg.number('sigma_min', 0, { min: 0 }),
        sigmaMax: readSigmaMax(cfg),
        sigmaData: cfg.number('sigma_data', 0.5, positive),
      };
    case 'VEPrecond':
      return {
        type: 've',
        sigmaMin: cfg.number('sigma_min', 0.02, { min: 0 }),
        sigmaMax: cfg.number('sigma_max', 100, positive),
      };
    case 'VPPrecond':
      return {
        type: 'vp',
        betaD: cfg.number('beta_d', 19.9, positive),
        betaMin: cfg.number('beta_min', 0.1, positive),
        M: count(),
        epsilonT: cfg.number('epsilon_t', 1e-5, positive),
      };
    case 'iDDPMPrecond':
      cfg.ignored(['C_1', 'C_2']); // the levels that they make are stored with the weights
      return { type: 'iddpm', M: count() };
    default:
      return undefined;
  }
}

/** Infinity by default, which JSON has no word for but Python writes. */
function readSigmaMax(cfg: ConfigReader): number {
  if (cfg.raw.sigma_max !== Infinity) return cfg.has('sigma_max') ? cfg.number('sigma_max') : Infinity;
  cfg.only('sigma_max', Infinity);
  return Infinity;
}

function readUNet(cfg: ConfigReader, alone: boolean, defaults: Pick<UNetConfig, 'modelChannels' | 'channelMult'>) {
  const channels = alone ? undefined : cfg.int('img_channels', undefined, { min: 1 });
  return {
    imgResolution: cfg.int('img_resolution', undefined, { min: 1 }),
    inChannels: channels ?? cfg.int('in_channels', undefined, { min: 1 }),
    outChannels: channels ?? cfg.int('out_channels', undefined, { min: 1 }),
    labelDim: cfg.int('label_dim', 0, { min: 0 }),
    augmentDim: cfg.int('augment_dim', 0, { min: 0 }),
    modelChannels: cfg.int('model_channels', defaults.modelChannels, { min: 1 }),
    channelMult: cfg.intArray('channel_mult', defaults.channelMult, { min: 1, minLength: 1 }),
    channelMultEmb: cfg.int('channel_mult_emb', 4, { min: 1 }),
  };
}

function readSongUNet(cfg: ConfigReader, alone: boolean): SongUNetConfig {
  return {
    modelType: 'SongUNet',
    ...readUNet(cfg, alone, { modelChannels: 128, channelMult: [1, 2, 2, 2] }),
    numBlocks: cfg.int('num_blocks', 4, { min: 0 }),
    attnResolutions: cfg.intArray('attn_resolutions', [16]),
    embeddingType: cfg.enum('embedding_type', ['positional', 'fourier'], 'positional'),
    channelMultNoise: cfg.int('channel_mult_noise', 1, { min: 1 }),
    encoderType: cfg.enum('encoder_type', ['standard', 'skip', 'residual'], 'standard'),
    decoderType: cfg.enum('decoder_type', ['standard', 'skip'], 'standard'),
    resampleFilter: cfg.numberArray('resample_filter', [1, 1], { minLength: 1 }),
  };
}

function readDhariwalUNet(cfg: ConfigReader, alone: boolean): DhariwalUNetConfig {
  return {
    modelType: 'DhariwalUNet',
    ...readUNet(cfg, alone, { modelChannels: 192, channelMult: [1, 2, 3, 4] }),
    numBlocks: cfg.int('num_blocks', 3, { min: 0 }),
    attnResolutions: cfg.intArray('attn_resolutions', [32, 16, 8]),
    channelsPerHead: cfg.int('channels_per_head', 64, { min: 1 }),
  };
}

function check(cfg: ConfigReader, net: SongUNetConfig | DhariwalUNetConfig): void {
  const width = noiseFeatures(net);
  const least = net.modelType === 'SongUNet' && net.embeddingType === 'positional' ? 4 : 2;
  if (width % 2 !== 0 || width < least) {
    cfg.refuse('model_channels', `such that the noise features are even in number and ${least} or more`);
  }
  const levels = net.channelMult.length;
  if (net.imgResolution % 2 ** (levels - 1) !== 0) {
    cfg.refuse('img_resolution', `divisible by ${2 ** (levels - 1)}, because channel_mult has ${levels} levels`);
  }
  if (net.modelType === 'SongUNet' && levels > 1) {
    const taps = net.resampleFilter.length;
    if (taps % 2 !== 0 || taps > 16) cfg.refuse('resample_filter', 'an even number of taps, at most 16');
  }
}

/** Width of the features of the noise level that the host computes. */
export function noiseFeatures(net: SongUNetConfig | DhariwalUNetConfig): number {
  return net.modelChannels * (net.modelType === 'SongUNet' ? net.channelMultNoise : 1);
}
