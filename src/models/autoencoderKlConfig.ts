/** The config of a KL autoencoder, `AutoencoderKL` of diffusers, every field of it. */
import type { Activation } from '../kernels/index.ts';
import { ConfigReader, type RawConfig } from '../loading/index.ts';
import { readActivation } from './activation.ts';
import { checkGroups } from './normGroups.ts';

/** Blocks of the encoder, by the names of diffusers. */
export const ENCODER_BLOCKS = ['DownEncoderBlock2D', 'AttnDownEncoderBlock2D'] as const;
/** Blocks of the decoder, by the names of diffusers. */
export const DECODER_BLOCKS = ['UpDecoderBlock2D', 'AttnUpDecoderBlock2D'] as const;

/** The fields of `config.json` in camelCase, defaults filled in. */
export interface AutoencoderKLConfig {
  inChannels: number;
  outChannels: number;
  downBlockTypes: readonly (typeof ENCODER_BLOCKS)[number][];
  upBlockTypes: readonly (typeof DECODER_BLOCKS)[number][];
  /** Channels per level, from the finest. */
  blockOutChannels: readonly number[];
  /** ResNet layers per level of the encoder; the decoder has one more. */
  layersPerBlock: number;
  act: Activation;
  latentChannels: number;
  normNumGroups: number;
  /** Height and width that the model was trained with. */
  sampleSize: readonly [number, number];
  /** What a pipeline does with latents: (z − shift)·scale before the denoiser, back behind it. Not applied in here. */
  scalingFactor: number;
  shiftFactor: number | null;
  latentsMean: readonly number[] | null;
  latentsStd: readonly number[] | null;
  /** The model's authors say that f16 overflows. */
  forceUpcast: boolean;
  useQuantConv: boolean;
  usePostQuantConv: boolean;
  /** Whether the middle blocks have attention. */
  midBlockAddAttention: boolean;
}

/** Reads `config.json`. @throws ConfigError naming the field. */
export function readAutoencoderKLConfig(raw: RawConfig): AutoencoderKLConfig {
  const cfg = new ConfigReader(raw, 'AutoencoderKL');
  const levels = cfg.intArray('block_out_channels', [64], { min: 1, minLength: 1 });
  const downBlockTypes = cfg.enumArray('down_block_types', ENCODER_BLOCKS, ['DownEncoderBlock2D']);
  const upBlockTypes = cfg.enumArray('up_block_types', DECODER_BLOCKS, ['UpDecoderBlock2D']);
  const asMany = `${levels.length} blocks, as block_out_channels has`;
  if (downBlockTypes.length !== levels.length) cfg.refuse('down_block_types', asMany);
  if (upBlockTypes.length !== levels.length) cfg.refuse('up_block_types', asMany);
  const [height, width] = cfg.intPerLevel('sample_size', 2, 32, { min: 1, nullIsDefault: true });
  const config: AutoencoderKLConfig = {
    inChannels: cfg.int('in_channels', 3, { min: 1 }),
    outChannels: cfg.int('out_channels', 3, { min: 1 }),
    downBlockTypes,
    upBlockTypes,
    blockOutChannels: levels,
    layersPerBlock: cfg.int('layers_per_block', 1, { min: 1 }),
    act: readActivation(cfg, 'act_fn', 'silu'),
    latentChannels: cfg.int('latent_channels', 4, { min: 1 }),
    normNumGroups: cfg.int('norm_num_groups', 32, { min: 1 }),
    sampleSize: [height, width],
    scalingFactor: cfg.number('scaling_factor', 0.18215, { above: 0 }),
    shiftFactor: cfg.nullableNumber('shift_factor', null),
    latentsMean: cfg.nullableNumberArray('latents_mean', null),
    latentsStd: cfg.nullableNumberArray('latents_std', null),
    forceUpcast: cfg.bool('force_upcast', true, { nullIsDefault: true }),
    useQuantConv: cfg.bool('use_quant_conv', true),
    usePostQuantConv: cfg.bool('use_post_quant_conv', true),
    midBlockAddAttention: cfg.bool('mid_block_add_attention', true),
  };
  checkGroups(cfg, 'norm_num_groups', config.normNumGroups, levels);
  cfg.done();
  return config;
}
