/**
 * The config of score_sde_pytorch's NCSN++ and DDPM++ (`models/ncsnpp.py`): its sections `model`, `data`, `training`.
 */
import type { ConfigReader, RawConfig } from '../../loading/index.ts';
import { readNonlinearity, section, type Nonlinearity } from './sections.ts';

/** Every option that changes the result, in camelCase. */
export interface NcsnppConfig {
  /** Height and width that the model was trained with. */
  imageSize: number;
  numChannels: number;
  /** Pictures are in −1 … 1; otherwise in 0 … 1, and the network maps them. */
  centered: boolean;
  nf: number;
  /** Channels per level in multiples of nf, from the finest. */
  chMult: readonly number[];
  numResBlocks: number;
  /** Levels with attention, by their width where the input has imageSize. */
  attnResolutions: readonly number[];
  nonlinearity: Nonlinearity;
  /** Whether the network is told the noise level. */
  conditional: boolean;
  embeddingType: 'fourier' | 'positional';
  /** Resampling outside of blocks has a convolution. */
  resampWithConv: boolean;
  /** Resampling by the filter, rather than by nearest neighbours and means. */
  fir: boolean;
  firKernel: readonly number[];
  /** Sums of two branches are divided by √2. */
  skipRescale: boolean;
  resblockType: 'ddpm' | 'biggan';
  /** How the output gathers on the way up. */
  progressive: 'none' | 'output_skip' | 'residual';
  /** How the picture accompanies the way down. */
  progressiveInput: 'none' | 'input_skip' | 'residual';
  /** How input_skip joins it. */
  progressiveCombine: 'sum' | 'cat';
  /** The output is divided by sigma. */
  scaleBySigma: boolean;
  /** Noise levels of discrete training, falling; stored with the weights. */
  numScales: number;
}

/** Reads `config.json`: the sections of the authors' config as they stand. @throws ConfigError naming the field. */
export function readNcsnppConfig(raw: RawConfig): NcsnppConfig {
  const model = section(raw, 'NCSNpp', 'model');
  const data = section(raw, 'NCSNpp', 'data');
  const embeddingType = choice(model, 'embedding_type', ['fourier', 'positional']);
  const config: NcsnppConfig = {
    imageSize: data.int('image_size', undefined, { min: 1 }),
    numChannels: data.int('num_channels', undefined, { min: 1 }),
    centered: data.bool('centered'),
    nf: model.int('nf', undefined, { min: 4 }),
    chMult: model.intArray('ch_mult', undefined, { min: 1, minLength: 1 }),
    numResBlocks: model.int('num_res_blocks', undefined, { min: 0 }),
    attnResolutions: model.intArray('attn_resolutions'),
    nonlinearity: readNonlinearity(model),
    conditional: model.bool('conditional'),
    embeddingType,
    resampWithConv: model.bool('resamp_with_conv'),
    fir: model.bool('fir'),
    firKernel: model.numberArray('fir_kernel', [1, 3, 3, 1], { minLength: 1 }),
    skipRescale: model.bool('skip_rescale'),
    resblockType: choice(model, 'resblock_type', ['ddpm', 'biggan']),
    progressive: choice(model, 'progressive', ['none', 'output_skip', 'residual']),
    progressiveInput: choice(model, 'progressive_input', ['none', 'input_skip', 'residual']),
    progressiveCombine: choice(model, 'progressive_combine', ['sum', 'cat']),
    scaleBySigma: model.bool('scale_by_sigma'),
    numScales: model.int('num_scales', 1000, { min: 1 }),
  };
  check(model, data, config);
  model.ignored(['name', 'dropout', 'init_scale', 'fourier_scale', 'conv_size', 'ema_rate', 'normalization']);
  // Only one kind of attention is there, whatever this says; the ranges are the sampler's.
  model.ignored(['attention_type', 'sigma_min', 'sigma_max', 'beta_min', 'beta_max']);
  model.done();
  return config;
}

/** The authors take names in any case. */
function choice<const T extends string>(cfg: ConfigReader, field: string, values: readonly T[]): T {
  const name = cfg.string(field).toLowerCase();
  return values.find((v) => v === name) ?? cfg.refuse(field, values.map((v) => `"${v}"`).join(' or '));
}

function check(model: ConfigReader, data: ConfigReader, config: NcsnppConfig): void {
  const { fir, firKernel, resblockType, resampWithConv, progressive } = config;
  const levels = config.chMult.length;
  if (config.imageSize % 2 ** (levels - 1) !== 0) {
    data.refuse('image_size', `divisible by ${2 ** (levels - 1)}, because ch_mult has ${levels} levels`);
  }
  if (config.embeddingType === 'positional' && Math.floor(config.nf / 2) < 2) {
    model.refuse('nf', '4 or more, because embedding_type is "positional"');
  }
  if (levels === 1 || !fir) return;
  if (firKernel.length % 2 !== 0 || firKernel.length > 16) {
    model.refuse('fir_kernel', 'an even number of taps, at most 16');
  }
  if (progressive === 'residual' || (resblockType === 'ddpm' && resampWithConv)) {
    model.refuse(
      'fir',
      'false where a convolution doubles the size (progressive "residual", or resblock_type "ddpm" with ' +
        'resamp_with_conv)',
      'the authors’ own code cannot run that combination either',
    );
  }
}
