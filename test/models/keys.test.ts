/** Complete key lists of published configs, recorded without weights and without a device. */
import { describe, expect, test } from 'vitest';
import { numel } from '../../src/engine/index.ts';
import {
  autoencoderKlWeights,
  planAutoencoderKL,
  planUNet2D,
  readAutoencoderKLConfig,
  readUNet2DConfig,
  unet2dWeights,
} from '../../src/models/index.ts';

const ddpm = {
  attention_head_dim: null,
  downsample_padding: 0,
  flip_sin_to_cos: false,
  freq_shift: 1,
  norm_eps: 1e-6,
};
const [D, A, U, AU] = ['DownBlock2D', 'AttnDownBlock2D', 'UpBlock2D', 'AttnUpBlock2D'];
const cifar = {
  ...ddpm,
  sample_size: 32,
  block_out_channels: [128, 256, 256, 256],
  down_block_types: [D, A, D, D],
  up_block_types: [U, U, AU, U],
};
const celebaHq = {
  ...ddpm,
  sample_size: 256,
  block_out_channels: [128, 128, 256, 256, 512, 512],
  down_block_types: [D, D, D, D, A, D],
  up_block_types: [U, AU, U, U, U, U],
};
const ldm = { attention_head_dim: 32, sample_size: 64 };
const sdVae = {
  block_out_channels: [128, 256, 512, 512],
  down_block_types: Array<string>(4).fill('DownEncoderBlock2D'),
  up_block_types: Array<string>(4).fill('UpDecoderBlock2D'),
  layers_per_block: 2,
  sample_size: 256,
};

const sum = (keys: ReadonlyMap<string, readonly number[]>) => [...keys.values()].reduce((n, s) => n + numel(s), 0);

// Keys and elements of the reference library's state dicts.
test.each([
  ['ddpm-cifar10-32', cifar, 328, 35_746_307],
  ['ddpm-celebahq-256', celebaHq, 450, 113_673_219],
  ['ldm-celebahq-256', ldm, 432, 274_056_163],
])('%s has as many weights as published', (_name, config, count, elements) => {
  const keys = unet2dWeights(readUNet2DConfig(config));
  expect(keys.size).toBe(count);
  expect(sum(keys)).toBe(elements);
});

test('the autoencoder of Stable Diffusion has as many weights as published', () => {
  const keys = autoencoderKlWeights(readAutoencoderKLConfig(sdVae));
  expect(keys.size).toBe(248);
  expect(sum(keys)).toBe(83_653_863);
  expect(keys.get('decoder.up_blocks.3.resnets.0.conv_shortcut.weight')).toEqual([128, 256, 1, 1]);
  expect(keys.get('encoder.mid_block.attentions.0.to_out.0.weight')).toEqual([512, 512]);
});

describe('plans without a device', () => {
  test('a U-Net at default limits', () => {
    const report = planUNet2D(readUNet2DConfig(cifar), { batch: 1, height: 32, width: 32 });
    expect(report.weightBytes).toBeGreaterThanOrEqual(4 * 35_746_307);
    expect(report.peakBytes).toBeLessThanOrEqual(1.15 * report.liveBytes);
    // Six thousand million multiply-adds, as the literature counts for this network.
    expect(Math.round(report.flops / 2e9)).toBe(6);
  });

  test('halves take less memory, for activations and for weights', () => {
    const config = readAutoencoderKLConfig(sdVae);
    const shape = { batch: 1, height: 8, width: 8 };
    const full = planAutoencoderKL(config, 'decode', shape);
    const half = planAutoencoderKL(config, 'decode', shape, 'f16');
    // Values carry the factor by which halves keep the sums, so they leave the projection that queries and keys share.
    expect(half.dispatches).toBeLessThanOrEqual(full.dispatches + 1);
    expect(half.liveBytes).toBeLessThan(full.liveBytes);
    expect(half.weightBytes).toBeLessThan(full.weightBytes);
  });
});
