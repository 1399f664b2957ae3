/** Files in the layout of their authors: the same weights, bit for bit, as from the folders of diffusers. */
import { describe, expect, test } from 'vitest';
import { ConfigError, FormatError, UnsupportedError, WeightError, type DaguerreError } from '../../src/engine/index.ts';
import { MemorySource, type Checkpoint, type RawConfig } from '../../src/loading/index.ts';
import { ldmUnetKey } from '../../src/loading/original/ldmUnet.ts';
import { AutoencoderKL } from '../../src/models/index.ts';
import { openSingleFile, type SingleFileOptions } from '../../src/models/singleFile.ts';
import { CLIPTextModelWithProjection } from '../../src/models/textEncoders/clipTextModel.ts';
import { unet2dConditionWeights } from '../../src/models/unetCondition/unetConditionModel.ts';
import { readUNetConditionConfig } from '../../src/models/unetCondition/unetConditionConfig.ts';
import { expectError, f32, file, zeros, type Tensor } from '../loading/files.ts';
import { below, ldmVae, openClip, toLdmUnet } from '../loading/originalLayout.ts';
import { adapters } from '../support/gpu.ts';
import { normals } from '../support/random.ts';
import { fixture, tensorsOf } from './fixtures.ts';
import { openDevice } from '../support/runGraph.ts';

const TEXT = 'model.safetensors';
const UNET = 'model.diffusion_model.';

const open = (tensors: Record<string, Tensor>, options?: SingleFileOptions, name = 'sd.safetensors') =>
  openSingleFile(new MemorySource(file(tensors), name), options);

/** The view must hold exactly the tensors of the fixture, with the same bits under the same names. */
async function expectSame(view: Checkpoint, want: Record<string, Tensor>): Promise<void> {
  expect(view.keys().sort()).toEqual(Object.keys(want).sort());
  for (const [key, { shape, bytes, dtype }] of Object.entries(want)) {
    expect(view.info(key), key).toMatchObject({ shape, dtype });
    expect(Buffer.compare(await view.readRaw(key), bytes), key).toBe(0);
  }
}

/** Every field that the shapes tell must be that of the recorded config. */
async function expectConfig(got: RawConfig, name: string, except: readonly string[] = []): Promise<void> {
  const want = (await fixture(name).json('config.json')) as RawConfig;
  for (const [field, value] of Object.entries(got)) {
    if (!except.includes(field)) expect(value, field).toEqual(want[field]);
  }
}

const unetOf = async (name: string, layers: number, upAttention: boolean[]): Promise<Record<string, Tensor>> =>
  Object.fromEntries(
    Object.entries(await tensorsOf(name)).map(([key, tensor]) => [toLdmUnet(key, layers, upAttention), tensor]),
  );

describe('Stable Diffusion 1', () => {
  const extras = {
    'model_ema.diffusion_modelinput_blocks00weight': f32([1]),
    sqrt_one_minus_alphas_cumprod: f32([3]),
  };
  const whole = async () => ({
    ...below(UNET, await unetOf('unet_cond_sd15', 1, [false, true])),
    ...below('first_stage_model.', ldmVae(await tensorsOf('vae_kl_sd'), 2)),
    ...below('cond_stage_model.transformer.', await tensorsOf('clip_text', TEXT)),
    ...extras,
  });
  const configs = {
    unet: { attention_head_dim: 4, norm_num_groups: 8, sample_size: 8 },
    vae: { norm_num_groups: 8, sample_size: 16 },
    text_encoder: { num_attention_heads: 4 },
  };

  test('its parts are those of the folder', async () => {
    const sd = await open(await whole(), { configs });
    expect(sd.kind).toBe('sd1');
    expect([...sd.parts.keys()].sort()).toEqual(['text_encoder', 'unet', 'vae']);
    const { unet, vae, text_encoder: text } = Object.fromEntries(sd.parts);
    await expectSame(unet.checkpoint, await tensorsOf('unet_cond_sd15'));
    await expectSame(vae.checkpoint, await tensorsOf('vae_kl_sd'));
    await expectSame(text.checkpoint, await tensorsOf('clip_text', TEXT));
    await expectConfig(unet.config, 'unet_cond_sd15');
    await expectConfig(vae.config, 'vae_kl_sd', ['use_quant_conv', 'use_post_quant_conv', 'mid_block_add_attention']);
    await expectConfig(text.config, 'clip_text', ['eos_token_id', 'projection_dim']);
    expect(sd.scheduler).toMatchObject({ _class_name: 'PNDMScheduler', prediction_type: 'epsilon' });
    expect(sd.ignored).toEqual(['model_ema.diffusion_modelinput_blocks00weight', 'sqrt_one_minus_alphas_cumprod']);
    await sd.close();
  });

  test('its autoencoder runs as the folder’s does', async () => {
    const device = await openDevice(adapters()[0]);
    const sd = await open(await whole(), { configs });
    const latent = { data: normals(2, 4 * 3 * 5), shape: [1, 4, 3, 5] };
    const results: Float32Array[] = [];
    for (const source of [sd.parts.get('vae')!, fixture('vae_kl_sd')]) {
      const model = await AutoencoderKL.load(device, source, { parts: ['decode'] });
      results.push(await (await model.decode({ latent })).read());
      model.dispose();
    }
    expect(results[0]).toEqual(results[1]);
    const projected = await open({
      ...below(UNET, await unetOf('unet_cond_sdxl', 1, [true, false])),
      ...below('conditioner.embedders.1.model.', openClip(await tensorsOf('clip_text_projection', TEXT))),
    });
    const text = projected.parts.get('text_encoder_2')!;
    const source = { ...text, config: { ...text.config, num_attention_heads: 2 } };
    const embeds: Float32Array[] = [];
    for (const from of [source, fixture('clip_text_projection')]) {
      const model = await CLIPTextModelWithProjection.load(device, from);
      const inputIds = { data: [3, 1, 49, 0], shape: [1, 4] };
      // The file's end token is 49407, which is not among these: both count from the start but for this one.
      embeds.push(await (await model.hidden({ inputIds, hiddenStates: [-1] })).hiddenStates[0].read());
      model.dispose();
    }
    expect(embeds[0]).toEqual(embeds[1]);
    await sd.close();
    await projected.close();
  });

  test('a U-Net alone, by the width of its text', async () => {
    const wide = async (width: number) => {
      const tensors = await unetOf('unet_cond_sd15', 1, [false, true]);
      for (const key of Object.keys(tensors)) {
        if (/attn2\.to_[kv]\.weight$/.test(key)) tensors[key] = zeros('F16', [tensors[key].shape[0], width]);
      }
      return open(below(UNET, tensors));
    };
    expect((await wide(768)).kind).toBe('sd1');
    expect((await wide(1024)).kind).toBe('sd2');
    const xl = await wide(2048);
    expect([...xl.parts.keys()]).toEqual(['unet']);
    expect(xl.scheduler).toMatchObject({ _class_name: 'EulerDiscreteScheduler' });
    await expectError(wide(24), FormatError, /got 24; pass a folder/);
  });
});

test('Stable Diffusion 2: the last layer and the projection of its text model are spared', async () => {
  const text = await tensorsOf('clip_text', TEXT);
  const last: Record<string, Tensor> = {};
  for (const [key, tensor] of Object.entries(text)) {
    if (key.includes('layers.2.')) last[key.replace('layers.2.', 'layers.3.')] = tensor;
  }
  const projection = { 'text_projection.weight': f32([32, 32]) };
  const sd = await open(
    {
      ...below(UNET, await unetOf('unet_cond_sd21', 2, [false, true])),
      ...below('cond_stage_model.model.', openClip({ ...text, ...last, ...projection })),
      'cond_stage_model.model.logit_scale': f32([]),
    },
    { configs: { unet: { attention_head_dim: [2, 4], norm_num_groups: 8, sample_size: 8 } } },
  );
  expect(sd.kind).toBe('sd2');
  delete text['text_model.embeddings.position_ids'];
  await expectSame(sd.parts.get('text_encoder')!.checkpoint, text);
  await expectSame(sd.parts.get('unet')!.checkpoint, await tensorsOf('unet_cond_sd21'));
  await expectConfig(sd.parts.get('unet')!.config, 'unet_cond_sd21');
  expect(sd.parts.get('text_encoder')!.config).toMatchObject({ num_hidden_layers: 3, hidden_act: 'gelu' });
  expect(sd.scheduler).toMatchObject({ prediction_type: 'v_prediction' });
  expect(sd.ignored).toHaveLength(12 + 2);
});

test('SD-Turbo is an SD 2.1 in the layout of SDXL', async () => {
  const unet = await unetOf('unet_cond_sd21', 2, [false, true]);
  for (const key of Object.keys(unet)) {
    if (/attn2\.to_[kv]\.weight$/.test(key)) unet[key] = zeros('F32', [unet[key].shape[0], 1024]);
  }
  const text = below('conditioner.embedders.0.model.', openClip(await tensorsOf('clip_text', TEXT)));
  const turbo = await open({ ...below(UNET, unet), ...text });
  expect(turbo.kind).toBe('sd2');
  expect(turbo.parts.get('text_encoder')!.config).toMatchObject({ num_hidden_layers: 2 });
  expect(turbo.scheduler).toMatchObject({ prediction_type: 'epsilon' });
  const refiner = await open({ ...text, 'conditioner.embedders.0.model.text_projection': f32([32, 20]) });
  expect(refiner.kind).toBe('sdxl-refiner');
  expect([...refiner.parts.keys()]).toEqual(['text_encoder_2']);
});

test('Stable Diffusion XL: two text models, time ids, depths by level', async () => {
  const sd = await open(
    {
      ...below(UNET, await unetOf('unet_cond_sdxl', 1, [true, false])),
      ...below('conditioner.embedders.0.transformer.', await tensorsOf('clip_text', TEXT)),
      ...below('conditioner.embedders.1.model.', openClip(await tensorsOf('clip_text_projection', TEXT))),
      ...below('first_stage_model.', ldmVae(await tensorsOf('vae_kl_sd'), 2)),
      'denoiser.sigmas': f32([1000]),
    },
    {
      configs: {
        unet: { attention_head_dim: [2, 4], norm_num_groups: 8, sample_size: 8, addition_time_embed_dim: 8 },
        text_encoder: { num_attention_heads: 4 },
      },
    },
  );
  expect(sd.kind).toBe('sdxl');
  const { unet, vae, text_encoder: one, text_encoder_2: two } = Object.fromEntries(sd.parts);
  await expectSame(unet.checkpoint, await tensorsOf('unet_cond_sdxl'));
  await expectSame(one.checkpoint, await tensorsOf('clip_text', TEXT));
  await expectSame(two.checkpoint, await tensorsOf('clip_text_projection', TEXT));
  await expectConfig(unet.config, 'unet_cond_sdxl');
  expect(two.config).toMatchObject({ architectures: ['CLIPTextModelWithProjection'], projection_dim: 20 });
  expect(vae.config).toMatchObject({ scaling_factor: 0.13025, sample_size: 1024 });
});

test.each([
  ['vae_kl_sd', 2],
  ['vae_kl_sd3_nonsquare', 3],
  ['vae_kl_extra_attn_blocks', 2],
  ['vq_ldm', 2],
] as const)('an autoencoder alone: %s', async (name, levels) => {
  const tensors = await tensorsOf(name);
  const bare = await open(ldmVae(tensors, levels));
  const within = await open(below('first_stage_model.', ldmVae(tensors, levels)));
  for (const { kind, parts, scheduler } of [bare, within]) {
    expect(kind).toBe('vae');
    expect(scheduler).toBeUndefined();
    await expectSame(parts.get('vae')!.checkpoint, tensors);
    const chosen = ['scaling_factor', 'shift_factor', 'sample_size', 'force_upcast', 'vq_embed_dim', 'up_block_types'];
    const absent = ['use_quant_conv', 'use_post_quant_conv', 'mid_block_add_attention'];
    await expectConfig(parts.get('vae')!.config, name, [...chosen, ...absent]);
  }
});

test('a DiT in its authors’ layout', async () => {
  const dit = await open({
    'x_embedder.proj.weight': f32([64, 4, 2, 2]),
    'x_embedder.proj.bias': f32([64]),
    pos_embed: f32([1, 16, 64]),
    'y_embedder.embedding_table.weight': f32([11, 64]),
    'final_layer.linear.weight': f32([32, 64]),
    'blocks.0.mlp.fc1.weight': f32([256, 64]),
    'blocks.0.attn.qkv.weight': f32([192, 64]),
  });
  expect(dit.kind).toBe('dit');
  expect(dit.parts.get('transformer')!.config).toMatchObject({ input_size: 8, depth: 1, learn_sigma: true });
});

describe('what is refused', () => {
  const zip = Uint8Array.of(0x50, 0x4b, 3, 4, 0, 0);
  const pickled = Uint8Array.of(0x80, 2, 0x7d);
  test.each([
    ['model.ckpt', new Uint8Array(20)],
    ['v1-5.pt', new Uint8Array(20)],
    ['model.safetensors', zip],
    ['model.safetensors', pickled],
  ])('a pickle: %s', async (name, bytes) => {
    await expectError(openSingleFile(new MemorySource(bytes, name)), FormatError, /pickle/, /take the \.safetensors/);
  });

  const unet = `${UNET}input_blocks.0.0.weight`;
  test.each<[string, Record<string, Tensor>, abstract new (...args: never[]) => DaguerreError, RegExp]>([
    ['a component of diffusers', { 'down_blocks.0.x': f32([1]) }, FormatError, /pass its folder, config\.json/],
    ['something else', { 'layers.0.weight': f32([1]) }, FormatError, /got layers\.0\.weight/],
    ['a ControlNet', { 'control_model.x': f32([1]) }, UnsupportedError, /as a folder of diffusers/],
    ['an unCLIP', { 'noise_augmentor.x': f32([1]) }, UnsupportedError, /unCLIP/],
    [
      'half a U-Net',
      { [unet]: f32([4, 4, 3, 3]), 'cond_stage_model.model.x': f32([1]) },
      ConfigError,
      /pass its config/,
    ],
  ])('%s', async (_, tensors, type, message) => {
    await expectError(open(tensors), type, message);
  });

  test('keys of no part are named', async () => {
    const tensors = ldmVae(await tensorsOf('vae_kl_sd'), 2);
    const error = await expectError(
      open({ ...tensors, 'encoder.extra.weight': f32([1]) }),
      WeightError,
      /1 that belong to no part of it: encoder\.extra\.weight/,
    );
    expect(error.keys).toEqual(['encoder.extra.weight']);
  });

  test('a fused matrix of the wrong height', async () => {
    const tensors = below('cond_stage_model.model.', openClip(await tensorsOf('clip_text', TEXT)));
    tensors['cond_stage_model.model.transformer.resblocks.0.attn.in_proj_bias'] = f32([97]);
    await expectError(open(tensors), WeightError, /3 equal parts .* got \[97\]/);
  });
});

test('every key of the U-Net of SD 1.5 has a place, and comes back from it', () => {
  const config = readUNetConditionConfig({
    block_out_channels: [320, 640, 1280, 1280],
    cross_attention_dim: 768,
    sample_size: 64,
  });
  const keys = [...unet2dConditionWeights(config).keys()];
  expect(keys).toHaveLength(686);
  const stored = keys.map((key) => toLdmUnet(key, 2, [false, true, true, true]));
  expect(new Set(stored).size).toBe(686);
  expect(stored).toContain('output_blocks.5.2.conv.weight');
  expect(stored).toContain('output_blocks.2.1.conv.weight');
  expect(stored).toContain('input_blocks.9.0.op.bias');
  expect(stored.map((key) => ldmUnetKey(key, 2))).toEqual(keys);
});
