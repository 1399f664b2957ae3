/** Stable Diffusion from one file in its authors' layout: the same pictures, bit for bit, as from the folder. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { ConfigError, FormatError, InvalidArgumentError, NotFoundError } from '../../src/engine/index.ts';
import { MemorySource } from '../../src/loading/index.ts';
import { Pipeline as NodePipeline } from '../../src/node/index.ts';
import { Pipeline, type FromPretrainedOptions, type PretrainedSource } from '../../src/pipelines/index.ts';
import { file, type Tensor } from '../loading/files.ts';
import { below, ldmVae, openClip, toLdmUnet } from '../loading/originalLayout.ts';
import { failure, fixturesPath, tensorsOf } from '../models/fixtures.ts';
import { adapters } from '../support/gpu.ts';
import { normals } from '../support/random.ts';
import { openDevice } from '../support/runGraph.ts';
import {
  directory,
  filesOf,
  json,
  jsonOf,
  modelIndex,
  textFiles,
  textWeights,
  vaeFiles,
  type Files,
} from './tinyModels.ts';

const device = await openDevice(adapters()[0]);
const bytes = (tensors: Record<string, Tensor>) => file(tensors) as Uint8Array<ArrayBuffer>;

const vae = below('first_stage_model.', ldmVae(await tensorsOf('pipe_sd_ddim/vae'), 2));
const whole = {
  ...below(
    'model.diffusion_model.',
    Object.fromEntries(
      Object.entries(await tensorsOf('pipe_sd_ddim/unet')).map(([key, t]) => [toLdmUnet(key, 1, [false, true]), t]),
    ),
  ),
  ...vae,
  ...below('cond_stage_model.transformer.', textWeights('CLIPTextModel', 16, 300)),
};
const configs = {
  unet: { attention_head_dim: 2, norm_num_groups: 4, sample_size: 8 },
  vae: { norm_num_groups: 4, sample_size: 16 },
  text_encoder: { num_attention_heads: 2, eos_token_id: 677 },
};
const sd = bytes(whole);
const picked = new File([sd], 'tiny.safetensors');

const folderFiles: Files = {
  ...filesOf('pipe_sd_ddim'),
  ...textFiles('', 'CLIPTextModel', 16, 300),
  'model_index.json': modelIndex('StableDiffusionPipeline', ['unet', 'vae', 'scheduler', 'text_encoder', 'tokenizer']),
};
const folder = directory(folderFiles, 'folder');
const tokenizers = directory(filesOf('tokenizers/clip'), 'tokenizer');
const scheduler = jsonOf('pipe_sd_ddim/scheduler/scheduler_config.json');
const call = { prompt: 'a red heart', generator: 4, numInferenceSteps: 2, guidanceScale: 3 };

/** Latents of a call; nothing is left on the GPU. */
async function run(source: PretrainedSource, options: FromPretrainedOptions, more: object = call, from = Pipeline) {
  const before = { ...device.held };
  const pipe = await from.fromPretrained(source, { device, ...options });
  try {
    const { latents, images } = await pipe({ scheduler, ...more } as unknown as typeof call);
    images.forEach((image) => image.dispose());
    return latents;
  } finally {
    await pipe.dispose();
    expect(device.held).toEqual(before);
  }
}

describe('Stable Diffusion 1', () => {
  it('a picked file with a tokenizer gives what the folder gives', async () => {
    const want = await run(folder, {});
    expect(await run(picked, { configs, tokenizer: tokenizers })).toEqual(want);
    // A pipeline's folder as the place of the tokenizer; bytes, and the only file of a list, as the source.
    const source = new MemorySource(sd, 'tiny.safetensors');
    expect(await run(source, { configs, tokenizer: folder })).toEqual(want);
    expect(await run([picked].values(), { configs, tokenizer: folder })).toEqual(want);
  });

  it('its own schedule stands for the folder’s', async () => {
    const pipe = await Pipeline.fromPretrained(picked, { device, configs });
    expect(pipe.schedulerConfig).toMatchObject({ _class_name: 'PNDMScheduler', beta_schedule: 'scaled_linear' });
    expect(pipe.sampleSize).toEqual({ width: 16, height: 16 });
    await pipe.dispose();
  });

  it('without a tokenizer texts are embeddings', async () => {
    const embeds = { promptEmbeds: { data: normals(3, 96), shape: [1, 6, 16] }, guidanceScale: 0, generator: 4 };
    const more = { ...embeds, numInferenceSteps: 2 };
    expect(await run(picked, { configs }, more)).toEqual(await run(folder, {}, more));
    const error = await failure(run(picked, { configs }));
    expect(error).toBeInstanceOf(InvalidArgumentError);
    expect(error.message).toMatch(/expected promptEmbeds .* a checkpoint in one file needs option tokenizer/);
  });

  it('refuses a tokenizer of another model, a part alone, a pickle', async () => {
    const before = { ...device.held };
    const t5 = directory(filesOf('tokenizers/t5'), 't5');
    expect(await failure(run(picked, { configs, tokenizer: t5 }))).toBeInstanceOf(ConfigError);
    const alone = await failure(run(new File([bytes(vae)], 'vae.safetensors'), { configs }));
    expect(alone).toBeInstanceOf(ConfigError);
    expect(alone.message).toMatch(/got vae; load a part alone through openSingleFile/);
    expect(await failure(run(new File([sd], 'model.ckpt'), {}))).toBeInstanceOf(FormatError);
    expect(device.held).toEqual(before);
  });
});

describe('SDXL', () => {
  const XL = 'unet_cond_sdxl';
  const files = async () => {
    const unet = Object.entries(await tensorsOf(XL)).map(([key, t]) => [toLdmUnet(key, 1, [true, false]), t] as const);
    return {
      ...below('model.diffusion_model.', Object.fromEntries(unet)),
      ...vae,
      ...below('conditioner.embedders.0.model.', openClip(textWeights('CLIPTextModelWithProjection', 24, 400))),
    };
  };

  it('the refiner: its one text encoder, and a score', async () => {
    const source = new File([bytes(await files())], 'refiner.safetensors');
    const own = {
      unet: { ...jsonOf(`${XL}/config.json`), projection_class_embeddings_input_dim: 68 },
      vae: { ...configs.vae, scaling_factor: 0.18215 },
      text_encoder_2: { num_attention_heads: 2, eos_token_id: 677, hidden_act: 'quick_gelu' },
    };
    const image = { data: normals(4, 3 * 256, { std: 0.3 }), shape: [1, 3, 16, 16] };
    const more = {
      promptEmbeds: { data: normals(5, 6 * 24), shape: [1, 6, 24] },
      pooledPromptEmbeds: { data: normals(6, 28), shape: [1, 28] },
      guidanceScale: 0,
      image,
      strength: 0.5,
      numInferenceSteps: 4,
      generator: 2,
    };
    const fields = { requires_aesthetics_score: true };
    const same = directory(
      {
        ...vaeFiles(),
        ...filesOf(XL, 'unet/'),
        'scheduler/scheduler_config.json': json(scheduler),
        'model_index.json': modelIndex('StableDiffusionXLImg2ImgPipeline', ['unet', 'vae', 'scheduler'], fields),
      },
      'refiner',
    );
    expect(await run(source, { configs: own }, more)).toEqual(await run(same, {}, more));
  });
});

describe('paths in Node', () => {
  const place = mkdtempSync(join(tmpdir(), 'daguerre-'));
  afterAll(() => rmSync(place, { recursive: true }));

  it('a path of a file, and of a tokenizer', async () => {
    const path = join(place, 'tiny.safetensors');
    writeFileSync(path, sd);
    const tokenizer = join(fixturesPath, 'tokenizers/clip');
    const got = await run(path, { configs, tokenizer }, call, NodePipeline as typeof Pipeline);
    expect(got).toEqual(await run(folder, {}));
    const absent = run(join(place, 'absent.safetensors'), {}, call, NodePipeline as typeof Pipeline);
    expect(await failure(absent)).toBeInstanceOf(NotFoundError);
  });
});
