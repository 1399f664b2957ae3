/**
 * The config of NCSNv2 and its two deeper forms (`models/ncsnv2.py` of ermongroup/ncsnv2): sections `model` and `data`.
 */
import { configClass, type RawConfig } from '../../loading/index.ts';
import { readNonlinearity, section, type Nonlinearity } from './sections.ts';

/** The networks for pictures below 96 pixels, for 96 … 128, and for 256. */
export const NCSNV2_CLASSES = ['NCSNv2', 'NCSNv2Deeper', 'NCSNv2Deepest'] as const;
/** One of {@link NCSNV2_CLASSES}. */
export type Ncsnv2Class = (typeof NCSNV2_CLASSES)[number];

/** Norms by the names of the configs. */
export const NCSNV2_NORMS = ['InstanceNorm++', 'InstanceNorm', 'VarianceNorm', 'BatchNorm', 'NoneNorm'] as const;
/** One of {@link NCSNV2_NORMS}. */
export type Ncsnv2Norm = (typeof NCSNV2_NORMS)[number];

/** Every option that changes the result, in camelCase. */
export interface Ncsnv2Config {
  variant: Ncsnv2Class;
  channels: number;
  /** Pictures are in 0 … 1, and the network maps them to −1 … 1. */
  unitRange: boolean;
  ngf: number;
  /** Noise levels; the network is told an index. */
  numClasses: number;
  normalization: Ncsnv2Norm;
  nonlinearity: Nonlinearity;
}

/** Reads `config.json`: the sections of the authors' config as they stand. @throws ConfigError naming the field. */
export function readNcsnv2Config(raw: RawConfig): Ncsnv2Config {
  const model = section(raw, 'NCSNv2', 'model');
  const data = section(raw, 'NCSNv2', 'data');
  const config: Ncsnv2Config = {
    variant: NCSNV2_CLASSES.find((c) => c === configClass(raw)) ?? 'NCSNv2',
    channels: data.int('channels', undefined, { min: 1 }),
    unitRange: !data.bool('logit_transform', false) && !data.bool('rescaled', false),
    ngf: model.int('ngf', undefined, { min: 2 }),
    numClasses: model.int('num_classes', undefined, { min: 1 }),
    normalization: model.enum('normalization', NCSNV2_NORMS),
    nonlinearity: readNonlinearity(model),
  };
  // The levels that these make are stored with the weights; spectral norm is for NCSN alone.
  model.ignored(['sigma_dist', 'sigma_begin', 'sigma_end', 'spec_norm', 'ema', 'ema_rate']);
  model.done();
  return config;
}

/** Height and width must be multiples of this: only blocks without dilation halve. */
export function ncsnv2SizeMultiple({ variant }: Ncsnv2Config): number {
  return { NCSNv2: 2, NCSNv2Deeper: 4, NCSNv2Deepest: 8 }[variant];
}
