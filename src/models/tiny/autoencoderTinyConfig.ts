/** The config of a tiny autoencoder, `AutoencoderTiny` of diffusers, every field of it. */
import type { Activation } from '../../kernels/index.ts';
import { ConfigReader, type RawConfig } from '../../loading/index.ts';
import { readActivation } from '../activation.ts';

/** The fields of `config.json` in camelCase, defaults filled in. */
export interface AutoencoderTinyConfig {
  inChannels: number;
  outChannels: number;
  latentChannels: number;
  /** Channels of every layer of either half. */
  encoderChannels: number;
  decoderChannels: number;
  /** Blocks per stage; stages of the encoder halve the size, stages of the decoder multiply it. */
  numEncoderBlocks: readonly number[];
  numDecoderBlocks: readonly number[];
  act: Activation;
  upsamplingScalingFactor: number;
  /** Latents are about ± this large; {@link scaleLatents} brings them to 0 … 1 around the shift. */
  latentMagnitude: number;
  latentShift: number;
  /** What a pipeline does with latents: (z − shift)·scale before the denoiser, back behind it. Not applied in here. */
  scalingFactor: number;
  shiftFactor: number;
}

/** Reads `config.json`. @throws ConfigError naming the field. */
export function readAutoencoderTinyConfig(raw: RawConfig): AutoencoderTinyConfig {
  const cfg = new ConfigReader(raw, 'AutoencoderTiny');
  const counts = (field: string, fallback: number[]) => cfg.intArray(field, fallback, { min: 0, minLength: 1 });
  // A stage's convolution has as many inputs as outputs, so stages of different widths cannot follow each other.
  const width = (field: string, stages: number) => {
    const channels = cfg.intArray(field, [64, 64, 64, 64], { min: 1, minLength: 1 });
    const fits = channels.length === stages && channels.every((c) => c === channels[0]);
    return fits ? channels[0] : cfg.refuse(field, `${stages} times the same number, one per stage of blocks`);
  };
  const numEncoderBlocks = counts('num_encoder_blocks', [1, 3, 3, 3]);
  const numDecoderBlocks = counts('num_decoder_blocks', [3, 3, 3, 1]);
  const config: AutoencoderTinyConfig = {
    inChannels: cfg.int('in_channels', 3, { min: 1 }),
    outChannels: cfg.int('out_channels', 3, { min: 1 }),
    latentChannels: cfg.int('latent_channels', 4, { min: 1 }),
    encoderChannels: width('encoder_block_out_channels', numEncoderBlocks.length),
    decoderChannels: width('decoder_block_out_channels', numDecoderBlocks.length),
    numEncoderBlocks,
    numDecoderBlocks,
    act: readActivation(cfg, 'act_fn', 'relu'),
    upsamplingScalingFactor: cfg.int('upsampling_scaling_factor', 2, { min: 1 }),
    latentMagnitude: cfg.number('latent_magnitude', 3, { above: 0 }),
    latentShift: cfg.number('latent_shift', 0.5),
    scalingFactor: cfg.number('scaling_factor', 1, { above: 0 }),
    shiftFactor: cfg.number('shift_factor', 0),
  };
  // By whole factors the two take the same pixels.
  cfg.only('upsample_fn', 'nearest', 'nearest-exact');
  // A copy of the decoder's widths, and a promise that halves are enough.
  cfg.ignored(['block_out_channels', 'force_upcast']);
  cfg.done();
  return config;
}
