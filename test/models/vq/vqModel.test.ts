/**
 * Autoencoders with a codebook and tiny ones: recorded numbers, the ways through, what is refused, what is left behind.
 */
import { describe, expect, test } from 'vitest';
import { type ConfigError, InvalidArgumentError, ShapeError } from '../../../src/engine/index.ts';
import { AutoencoderTiny } from '../../../src/models/tiny/autoencoderTinyModel.ts';
import { readAutoencoderTinyConfig } from '../../../src/models/tiny/autoencoderTinyConfig.ts';
import { readVQConfig } from '../../../src/models/vq/vqConfig.ts';
import { VQModel } from '../../../src/models/vq/vqModel.ts';
import { runVaeTinyCase, runVQCase } from '../../../src/node/parity/latentCase.ts';
import { expectClose, NETWORK_NORM, ROUNDOFF } from '../../support/close.ts';
import { adapters, isFullRun } from '../../support/gpu.ts';
import { normals } from '../../support/random.ts';
import { changed, failure, fixture } from '../fixtures.ts';
import { openDevice } from '../../support/runGraph.ts';

const CASES = [
  ['vq_ldm', runVQCase],
  ['vae_tiny', runVaeTinyCase],
  ['vq_extra_embed_dim', runVQCase],
  ['vq_extra_spatial', runVQCase],
  ['vae_tiny_extra_factors', runVaeTinyCase],
] as const;

describe.each(adapters())('recorded autoencoders on %s', async (adapter) => {
  const device = await openDevice(adapter);

  // lavapipe takes a second for each new pipeline: there the extra cases are for the full run.
  const chosen = CASES.filter(([name]) => adapter === 'swiftshader' || isFullRun || !name.includes('_extra_'));

  // Indices are compared as numbers, so one wrong index is an error of a whole one; pictures are of magnitude 2 to 12.
  test.each(chosen)('%s', async (name, run) => {
    const worst = await run(device, fixture(name), 'f32');
    if (process.env.SHOW) console.log(adapter, name, worst);
    expect(worst).toBeLessThan(NETWORK_NORM);
  });
});

const device = await openDevice(adapters()[0]);
const image = { data: normals(1, 3 * 16 * 16), shape: [1, 3, 16, 16] };
const latent = { data: normals(2, 3 * 2 * 3), shape: [1, 3, 2, 3] };

describe('VQModel', () => {
  test('picture → indices → picture is picture → latents → nearest entries → picture', async () => {
    const before = { ...device.held };
    const model = await VQModel.load(device, fixture('vq_ldm'));
    expect(model.downsampling).toBe(2);
    const codes = await model.encodeToIndices({ image });
    expect(codes.shape).toEqual([1, 8, 8]);
    const data = await codes.read();
    const encoded = await model.encode({ image });
    const latents = { data: await encoded.read(), shape: encoded.shape };
    const { indices, quantized } = await model.quantize({ latent: latents });
    expect(await indices.read()).toEqual(data);
    const entries = { data: await quantized.read(), shape: quantized.shape };
    const pictures: Float32Array[] = [];
    for (const out of [
      () => model.decode({ latent: latents }),
      () => model.decodeIndices({ indices: { data, shape: indices.shape } }),
      () => model.decode({ latent: entries, forceNotQuantize: true }),
    ]) {
      pictures.push(await (await out()).read());
    }
    expect(pictures[1]).toEqual(pictures[0]);
    expect(pictures[2]).toEqual(pictures[0]);
    model.dispose();
    await device.idle();
    expect(device.held).toEqual(before);
  });

  test('what does not fit', async () => {
    const model = await VQModel.load(device, fixture('vq_ldm'));
    const wrong = { data: normals(1, 4 * 4), shape: [1, 4, 2, 2] };
    expect(await failure(model.encode({ image: wrong }))).toBeInstanceOf(ShapeError);
    expect(await failure(model.encode({ image: { ...wrong, shape: [4, 2, 2] } }))).toBeInstanceOf(InvalidArgumentError);
    expect(await failure(model.decode({ latent: wrong }))).toBeInstanceOf(ShapeError);
    const beyond = failure(model.decodeIndices({ indices: { data: [0, 64], shape: [1, 1, 2] } }));
    expect((await beyond).message).toMatch(/ids from 0 to 63, got 64 at position 1/);
    const flat = failure(model.decodeIndices({ indices: { data: [0, 1], shape: [2] } }));
    expect((await flat).message).toMatch(/indices of shape \[B,h,w\]/);
    model.dispose();
    const looksUp = await changed('vq_ldm', { config: (json) => (json['lookup_from_codebook'] = true) });
    const other = await VQModel.load(device, looksUp);
    const error = await failure(other.decode({ latent, forceNotQuantize: true }));
    expect(error.message).toMatch(/call decodeIndices/);
    other.dispose();
  });

  test('an empty config is the library default', () => {
    expect(readVQConfig({})).toMatchObject({
      blockOutChannels: [64],
      latentChannels: 3,
      vqEmbedDim: 3,
      numVqEmbeddings: 256,
      normType: 'group',
      forceUpcast: false,
    });
  });

  test.each([
    ['norm_type', { norm_type: 'layer' }],
    ['vq_embed_dim', { norm_type: 'spatial', vq_embed_dim: 5 }],
    ['down_block_types', { down_block_types: ['DownBlock2D'] }],
    ['up_block_types', { block_out_channels: [8, 8], down_block_types: Array(2).fill('DownEncoderBlock2D') }],
    ['shift_factor', { shift_factor: 1 }],
    ['norm_num_groups', { norm_num_groups: 24 }],
    ['block_out_channels', { norm_type: 'spatial', norm_num_groups: 8, block_out_channels: [40] }],
  ])('%s of %o is refused', (field, config) => {
    expect(() => readVQConfig(config)).toThrow(expect.objectContaining({ field }) as ConfigError);
  });
});

describe('AutoencoderTiny', () => {
  test('latents as a picture and back; nothing is left behind', async () => {
    const before = { ...device.held };
    const model = await AutoencoderTiny.load(device, fixture('vae_tiny'));
    expect(model.downsampling).toBe(4);
    const within = Float32Array.of(-2.9, -1, 0, 0.5, 2.9);
    expectClose(model.unscaleLatents(model.scaleLatents(within)), within, 8 * ROUNDOFF.f32);
    expect([...model.scaleLatents(Float32Array.of(-9, 9))]).toEqual([0, 1]);
    model.dispose();
    await device.idle();
    expect(device.held).toEqual(before);
  });

  test.each([
    ['encoder_block_out_channels', { encoder_block_out_channels: [8, 8, 8] }],
    ['decoder_block_out_channels', { decoder_block_out_channels: [8, 8, 8, 16] }],
    ['upsample_fn', { upsample_fn: 'bilinear' }],
    ['act_fn', { act_fn: 'tanh' }],
  ])('%s of %o is refused', (field, config) => {
    expect(() => readAutoencoderTinyConfig(config)).toThrow(expect.objectContaining({ field }) as ConfigError);
  });
});
