/** The config of an autoencoder with a codebook, `VQModel` of diffusers, every field of it. */
import { ConfigReader, type RawConfig } from '../../loading/index.ts';
import { readActivation } from '../activation.ts';
import type { AutoencoderTrunk } from '../autoencoderKl.ts';
import { DECODER_BLOCKS, ENCODER_BLOCKS } from '../autoencoderKlConfig.ts';
import { checkGroups, checkOwnGroups } from '../normGroups.ts';
import { SPATIAL_GROUPS } from './spatialDecoder.ts';

/** The fields of `config.json` in camelCase, defaults filled in. */
export interface VQConfig extends AutoencoderTrunk {
  inChannels: number;
  /** Channels between encoder and decoder, before and behind the 1×1 convolutions around the codebook. */
  latentChannels: number;
  /** Entries of the codebook. */
  numVqEmbeddings: number;
  /** Channels of an entry, and of the latents. */
  vqEmbedDim: number;
  /** `spatial`: the decoder's norms are modulated by the latents (MoVQ). */
  normType: 'group' | 'spatial';
  /** Latents given to `decode` without quantising are indices. */
  lookupFromCodebook: boolean;
  /** Height and width that the model was trained with. */
  sampleSize: readonly [number, number];
  /** What a pipeline multiplies latents by before the denoiser, and divides by behind it. Not applied in here. */
  scalingFactor: number;
  forceUpcast: boolean;
}

/** Reads `config.json`. @throws ConfigError naming the field. */
export function readVQConfig(raw: RawConfig): VQConfig {
  const cfg = new ConfigReader(raw, 'VQModel');
  const levels = cfg.intArray('block_out_channels', [64], { min: 1, minLength: 1 });
  const downBlockTypes = cfg.enumArray('down_block_types', ENCODER_BLOCKS, ['DownEncoderBlock2D']);
  const upBlockTypes = cfg.enumArray('up_block_types', DECODER_BLOCKS, ['UpDecoderBlock2D']);
  const asMany = `${levels.length} blocks, as block_out_channels has`;
  if (downBlockTypes.length !== levels.length) cfg.refuse('down_block_types', asMany);
  if (upBlockTypes.length !== levels.length) cfg.refuse('up_block_types', asMany);
  const [height, width] = cfg.intPerLevel('sample_size', 2, 32, { min: 1, nullIsDefault: true });
  const latentChannels = cfg.int('latent_channels', 3, { min: 1 });
  const config: VQConfig = {
    inChannels: cfg.int('in_channels', 3, { min: 1 }),
    outChannels: cfg.int('out_channels', 3, { min: 1 }),
    downBlockTypes,
    upBlockTypes,
    blockOutChannels: levels,
    layersPerBlock: cfg.int('layers_per_block', 1, { min: 1 }),
    act: readActivation(cfg, 'act_fn', 'silu'),
    latentChannels,
    numVqEmbeddings: cfg.int('num_vq_embeddings', 256, { min: 1 }),
    vqEmbedDim: cfg.nullableInt('vq_embed_dim', null, { min: 1 }) ?? latentChannels,
    normNumGroups: cfg.int('norm_num_groups', 32, { min: 1 }),
    normType: cfg.enum('norm_type', ['group', 'spatial'], 'group'),
    midBlockAddAttention: cfg.bool('mid_block_add_attention', true),
    lookupFromCodebook: cfg.bool('lookup_from_codebook', false),
    sampleSize: [height, width],
    scalingFactor: cfg.number('scaling_factor', 0.18215, { above: 0 }),
    forceUpcast: cfg.bool('force_upcast', false, { nullIsDefault: true }),
  };
  if (config.normType === 'spatial' && config.vqEmbedDim !== latentChannels) {
    cfg.refuse('vq_embed_dim', `latent_channels ${latentChannels}, which norm_type "spatial" needs`);
  }
  checkGroups(cfg, 'norm_num_groups', config.normNumGroups, levels);
  if (config.normType === 'spatial') checkOwnGroups(cfg, () => SPATIAL_GROUPS, levels, 'norms of norm_type "spatial"');
  cfg.done();
  return config;
}
