import { describe, expect, test } from 'vitest';
import { ConfigError } from '../../src/engine/index.ts';
import { readAutoencoderKLConfig, readUNet2DConfig } from '../../src/models/index.ts';

const field = (read: () => unknown): string => {
  try {
    read();
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    return (error as ConfigError).field;
  }
  throw new Error('expected a ConfigError');
};

const ALL_SKIP = {
  down_block_types: Array(4).fill('SkipDownBlock2D'),
  up_block_types: Array(4).fill('SkipUpBlock2D'),
};

describe('UNet2DModel', () => {
  test('an empty config is the library default', () => {
    expect(readUNet2DConfig({})).toMatchObject({
      blockOutChannels: [224, 448, 672, 896],
      timeEmbeddingDim: 896,
      upBlockTypes: ['AttnUpBlock2D', 'AttnUpBlock2D', 'AttnUpBlock2D', 'UpBlock2D'],
      attentionHeadDim: 8,
      classEmbedding: 'none',
      hasMidBlock: true,
    });
  });

  test('old names of blocks and activations', () => {
    const config = readUNet2DConfig({
      block_out_channels: [32],
      down_block_types: ['UNetResDownBlock2D'],
      up_block_types: ['UNetResAttnUpBlock2D'],
      act_fn: 'SWISH',
      sample_size: 8,
    });
    expect(config).toMatchObject({
      downBlockTypes: ['DownBlock2D'],
      upBlockTypes: ['AttnUpBlock2D'],
      act: 'silu',
      sampleSize: [8, 8],
    });
  });

  test.each(['silu', 'gelu', 'relu', 'mish'])('act_fn %s', (act) => {
    expect(readUNet2DConfig({ act_fn: act }).act).toBe(act);
  });

  test.each([
    ['down_block_types', { down_block_types: ['DownBlock2D'] }],
    ['up_block_types', { up_block_types: ['UpBlock2D', 'UpBlock2D'] }],
    ['down_block_types', { down_block_types: ['KDownBlock2D', 'DownBlock2D', 'DownBlock2D', 'DownBlock2D'] }],
    ['act_fn', { act_fn: 'softplus' }],
    ['downsample_type', { downsample_type: 'fir' }],
    ['resnet_time_scale_shift', { resnet_time_scale_shift: 'ada_group' }],
    ['num_train_timesteps', { time_embedding_type: 'learned' }],
    ['norm_num_groups', { norm_num_groups: null }],
    ['freq_shift', { freq_shift: 112 }],
    ['norm_num_groups', { norm_num_groups: 64 }],
    ['attn_norm_num_groups', { attn_norm_num_groups: 5 }],
    ['block_out_channels', { ...ALL_SKIP, block_out_channels: [224, 144, 672, 896] }],
    ['class_embed_type', { class_embed_type: 'projection' }],
    ['layers_per_block', { layers_per_block: 0 }],
    ['attention_legacy_order', { attention_legacy_order: true }],
    ['in_channels', { in_channels: 4, down_block_types: ['SkipDownBlock2D', ...Array(3).fill('SkipDownBlock2D')] }],
    ['out_channels', { out_channels: 6, up_block_types: Array(4).fill('SkipUpBlock2D') }],
  ])('%s of %o is refused', (name, config) => {
    expect(field(() => readUNet2DConfig(config))).toBe(name);
  });
});

describe('AutoencoderKL', () => {
  test('an empty config is the library default', () => {
    expect(readAutoencoderKLConfig({})).toMatchObject({
      blockOutChannels: [64],
      latentChannels: 4,
      scalingFactor: 0.18215,
      shiftFactor: null,
      useQuantConv: true,
      midBlockAddAttention: true,
    });
  });

  test.each([
    ['down_block_types', { down_block_types: ['DownBlock2D'] }],
    ['up_block_types', { block_out_channels: [8, 8], down_block_types: Array(2).fill('DownEncoderBlock2D') }],
    ['norm_num_groups', { norm_num_groups: null }],
    ['norm_num_groups', { norm_num_groups: 24 }],
    ['norm_type', { norm_type: 'spatial' }],
    ['scaling_factor', { scaling_factor: 0 }],
  ])('%s of %o is refused', (name, config) => {
    expect(field(() => readAutoencoderKLConfig(config))).toBe(name);
  });
});
