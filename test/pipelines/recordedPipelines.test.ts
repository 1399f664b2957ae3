/** Runs of diffusers' pipelines on tiny networks, pictures in, latents out: see test/fixtures/README.md. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { InvalidArgumentError } from '../../src/engine/index.ts';
import { Checkpoint } from '../../src/loading/index.ts';
import { Pipeline } from '../../src/pipelines/index.ts';
import type { GeneratedImage } from '../../src/pipelines/picture/image.ts';
import { file } from '../loading/files.ts';
import { failure, fixture, fixturesPath, tensorsOf } from '../models/fixtures.ts';
import { expectClose, networkTolerance, TORCH_NORMAL } from '../support/close.ts';
import { adapters } from '../support/gpu.ts';
import { openDevice } from '../support/runGraph.ts';
import { directory, filesOf, json, jsonOf, modelIndex, schedule, vaeFiles, type Files } from './tinyModels.ts';

/** Results of a network that are stored one after the other, in all steps of a run. */
const LAYERS = 256;
const device = await openDevice(adapters()[0]);
const cases = jsonOf('pipelines/recorded/cases.json') as Record<string, Record<string, unknown>>;

/** Tensors of a recording. */
async function recording(name: string) {
  const checkpoint = await Checkpoint.open(await fixture('pipelines/recorded').open(`${name}.safetensors`));
  const tensors: Record<string, { data: Float32Array; shape: number[] }> = {};
  for (const key of checkpoint.keys()) {
    tensors[key] = { data: await checkpoint.read(key), shape: [...checkpoint.info(key).shape] };
  }
  await checkpoint.close();
  return tensors;
}

const camel = (key: string) => key.replace(/_(\w)/g, (_, c: string) => c.toUpperCase());
const largest = (values: Float32Array) => values.reduce((m, v) => Math.max(m, Math.abs(v)), 0);

/**
 * Draws differ by up to 2e-6 and are as large as the state at its start; what a network makes of that is of its size.
 */
function agree(got: Float32Array, want: Float32Array, what: string) {
  const scale = largest(want);
  expectClose(got, want, networkTolerance('f32', LAYERS, 4 * scale) + 4 * TORCH_NORMAL * scale, what);
}

/** A folder of parts, with the autoencoder of the recorded pipeline changed. */
function folder(className: string, parts: Files, scheduler: object, vae: object, fields: object = {}) {
  const network = Object.keys(parts).some((path) => path.startsWith('unet/')) ? 'unet' : 'transformer';
  const files = {
    ...vaeFiles(),
    'vae/config.json': json({ ...jsonOf('pipe_sd_ddim/vae/config.json'), ...vae }),
    ...parts,
    'scheduler/scheduler_config.json': json(scheduler),
    'model_index.json': modelIndex(className, [network, 'vae', 'scheduler'], fields),
  };
  return directory(files, className);
}

type Run = Record<string, unknown> & { latents: Float32Array };

/** Runs a case; nothing is left on the GPU. */
async function run(
  name: string,
  source: ReturnType<typeof folder>,
  more: object = {},
  look?: (images: GeneratedImage[]) => Promise<void>,
): Promise<{ got: Float32Array; want: Awaited<ReturnType<typeof recording>> }> {
  await device.idle();
  const before = { ...device.held };
  const want = await recording(name);
  const { seed, ...options } = cases[name];
  const call: Record<string, unknown> = { generator: seed, outputType: look ? 'image' : 'latent', ...more };
  for (const [key, value] of Object.entries(options)) call[camel(key)] = value;
  for (const key of ['image', 'mask_image'].filter((k) => want[k])) call[camel(key)] = want[key];
  for (const key of Object.keys(want).filter((k) => k.endsWith('_embeds'))) call[camel(key)] = want[key];
  const pipe = await Pipeline.fromPretrained(source, { device });
  try {
    const { images, latents } = await pipe(call as unknown as Run & { prompt: string });
    expect(images.length).toBe(look ? 1 : 0);
    await look?.(images);
    images.forEach((image) => image.dispose());
    return { got: latents, want };
  } finally {
    await pipe.dispose();
    expect(device.held).toEqual(before);
  }
}

const SHIFT = { shift_factor: 0.05, scaling_factor: 0.36 };

describe('Flux', () => {
  const flow = {
    _class_name: 'FlowMatchEulerDiscreteScheduler',
    use_dynamic_shifting: true,
    base_shift: 0.5,
    max_shift: 1.15,
    base_image_seq_len: 256,
    max_image_seq_len: 4096,
    shift: 3,
  };
  const source = (className: string) => folder(className, filesOf('flux', 'transformer/'), flow, SHIFT);

  it('a negative prompt beside distilled guidance; latents as tokens', async () => {
    const { got, want } = await run('flux_true_cfg', source('FluxPipeline'));
    agree(got, want.latents.data, 'latents');
    const packed = await run('flux_true_cfg', source('FluxPipeline'), { packedLatents: true });
    agree(packed.got, want.packed.data, 'tokens');
  });

  it('from a picture; steps are rounded up', async () => {
    const { got, want } = await run('flux_img2img', source('FluxImg2ImgPipeline'));
    agree(got, want.latents.data, 'latents');
  });

  it.each(['flux_inpaint_7', 'flux_inpaint_10'])('%s', async (name) => {
    const { got, want } = await run(name, source('FluxInpaintPipeline'));
    agree(got, want.latents.data, 'latents');
  });
});

describe('Stable Diffusion 3', () => {
  const flow = { _class_name: 'FlowMatchEulerDiscreteScheduler', shift: 3 };
  const source = (className: string, channels: number) => {
    const parts = { ...filesOf(`pipelines/sd3_${channels}`, 'transformer/'), ...filesOf('pipelines/vae_16', 'vae/') };
    return folder(className, parts, flow, jsonOf('pipelines/vae_16/config.json'));
  };

  it('from a picture', async () => {
    const { got, want } = await run('sd3_img2img', source('StableDiffusion3Img2ImgPipeline', 16));
    agree(got, want.latents.data, 'latents');
  });

  it.each([
    ['sd3_inpaint_16_7', 16],
    ['sd3_inpaint_16_10', 16],
    ['sd3_inpaint_33_7', 33],
    ['sd3_inpaint_33_10', 33],
  ] as const)('%s', async (name, channels) => {
    const { got, want } = await run(name, source('StableDiffusion3InpaintPipeline', channels));
    agree(got, want.latents.data, 'latents');
  });
});

describe('SDXL', () => {
  const euler = schedule('EulerDiscreteScheduler', { steps_offset: 1, timestep_spacing: 'leading' });
  const statistics = {
    latents_mean: [0.1, -0.2, 0.3, 0.05],
    latents_std: [1.5, 0.7, 2, 1.1],
    scaling_factor: 0.5,
  };
  const unet = filesOf('unet_cond_sdxl', 'unet/');

  it('the base stops with noise left', async () => {
    const { got, want } = await run('sdxl_base', folder('StableDiffusionXLPipeline', unet, euler, statistics));
    agree(got, want.latents.data, 'latents');
  });

  it('the refiner goes on from there; latents by mean and deviation to pictures', async () => {
    const own = folder('StableDiffusionXLImg2ImgPipeline', unet, euler, statistics);
    let picture = new Float32Array();
    const look = async ([image]: GeneratedImage[]) => void (picture = (await image.toTensor()).map((v) => 2 * v - 1));
    const { got, want } = await run('sdxl_refine', own, {}, look);
    agree(got, want.latents.data, 'latents');
    agree(picture, want.picture.data, 'picture');
  });

  const plain = { scaling_factor: 0.5 };
  const ancestral = { ...euler, _class_name: 'EulerAncestralDiscreteScheduler' };

  it.each([
    ['sdxl_mask_refine', ancestral],
    ['sdxl_mask_refine_latents', euler],
    ['sdxl_mask_ancestral', ancestral],
  ] as const)('%s: a mask is filled, from a part of the schedule on', async (name, scheduler) => {
    const { got, want } = await run(name, folder('StableDiffusionXLInpaintPipeline', unet, scheduler, plain));
    agree(got, want.latents.data, 'latents');
  });

  it('a mask from a part of the schedule on, by a network that sees it', async () => {
    const files = await widened('unet_cond_sdxl', 'sdxl_mask_refine_9');
    const own = folder('StableDiffusionXLInpaintPipeline', files, ancestral, plain);
    const { got, want } = await run('sdxl_mask_refine_9', own);
    agree(got, want.latents.data, 'latents');
  });

  it.each(['edit_xl', 'edit_xl_cos'])('%s: InstructPix2Pix, its picture scaled or not', async (name) => {
    const files = await widened('unet_cond_sdxl', name);
    const fields = { is_cosxl_edit: name === 'edit_xl_cos' };
    const own = folder('StableDiffusionXLInstructPix2PixPipeline', files, ancestral, statistics, fields);
    const { got, want } = await run(name, own);
    agree(got, want.latents.data, 'latents');
  });

  it('a score in place of the size', async () => {
    const key = 'add_embedding.linear_1.weight';
    const tensors = await tensorsOf('unet_cond_sdxl');
    const { bytes, shape, dtype } = tensors[key];
    const row = bytes.length / shape[0];
    const cut = new Uint8Array((shape[0] * row * 60) / 68);
    for (let o = 0; o < shape[0]; o++) {
      cut.set(bytes.subarray(o * row, o * row + (row * 60) / 68), (o * row * 60) / 68);
    }
    tensors[key] = { dtype, shape: [shape[0], 60], bytes: cut };
    const config = { ...jsonOf('unet_cond_sdxl/config.json'), projection_class_embeddings_input_dim: 60 };
    const files = { 'unet/config.json': json(config), 'unet/diffusion_pytorch_model.safetensors': file(tensors) };
    const fields = { requires_aesthetics_score: true };
    const own = folder('StableDiffusionXLImg2ImgPipeline', files, euler, statistics, fields);
    const { got, want } = await run('sdxl_aesthetic', own);
    agree(got, want.latents.data, 'latents');
  });
});

it('networks that edit refuse what they would not look at', async () => {
  const files = await widened('unet_cond_sdxl', 'edit_xl');
  const euler = schedule('EulerDiscreteScheduler', {});
  const pipe = await Pipeline.fromPretrained(folder('StableDiffusionXLInstructPix2PixPipeline', files, euler, {}), {
    device,
  });
  const { prompt_embeds: promptEmbeds, pooled_prompt_embeds: pooledPromptEmbeds, image } = await recording('edit_xl');
  const call = { promptEmbeds, pooledPromptEmbeds, image, guidanceScale: 1, numInferenceSteps: 1 };
  for (const more of [{ strength: 0.5 }, { denoisingStart: 0.5 }, { maskImage: image }, { guidanceInterval: [0, 1] }]) {
    const error = await failure(pipe({ ...call, ...more } as Parameters<typeof pipe>[0]));
    expect(error).toBeInstanceOf(InvalidArgumentError);
    expect(error.message).toMatch(`expected no ${Object.keys(more)[0]}`);
  }
  expect((await failure(pipe({ ...call, image: undefined }))).message).toMatch(/expected image, which this pipeline/);
  await pipe.dispose();
});

/** A U-Net that sees more channels, as a recording has its first layer. */
async function widened(name: string, recorded: string): Promise<Files> {
  const { data, shape } = (await recording(recorded)).conv_in;
  const tensors = await tensorsOf(name);
  tensors['conv_in.weight'] = { dtype: 'F32', shape, bytes: new Uint8Array(Float32Array.from(data).buffer) };
  const config = { ...jsonOf(`${name}/config.json`), in_channels: shape[1] };
  return { 'unet/config.json': json(config), 'unet/diffusion_pytorch_model.safetensors': file(tensors) };
}

it('InstructPix2Pix: two scales of guidance', async () => {
  const files = await widened('pipe_sd_ddim/unet', 'edit');
  const ancestral = schedule('EulerAncestralDiscreteScheduler', { steps_offset: 1 });
  const { got, want } = await run('edit', folder('StableDiffusionInstructPix2PixPipeline', files, ancestral, {}));
  agree(got, want.latents.data, 'latents');
});

describe('adapters', () => {
  const picked = (name: string) =>
    new File([readFileSync(join(fixturesPath, `pipelines/recorded/lora_${name}.safetensors`))], `${name}.safetensors`);

  it.each(['lora_flux_peft_run', 'lora_flux_kohya_run', 'lora_flux_peft_kohya_run', 'lora_sd3_run'])(
    '%s, and off to the bit',
    async (name) => {
      const flux = name.startsWith('lora_flux');
      const flow = flux
        ? { _class_name: 'FlowMatchEulerDiscreteScheduler', use_dynamic_shifting: true, shift: 3 }
        : { _class_name: 'FlowMatchEulerDiscreteScheduler', shift: 3 };
      const className = flux ? 'FluxPipeline' : 'StableDiffusion3Pipeline';
      const source = folder(className, filesOf(flux ? 'flux' : 'sd3', 'transformer/'), flow, SHIFT);
      const before = { ...device.held };
      const want = await recording(name);
      const { seed, uses, num_inference_steps, guidance_scale, height, width } = cases[name];
      const call = {
        promptEmbeds: want.prompt_embeds,
        pooledPromptEmbeds: want.pooled_prompt_embeds,
        generator: seed as number,
        numInferenceSteps: num_inference_steps as number,
        guidanceScale: guidance_scale as number,
        height: height as number,
        width: width as number,
        outputType: 'latent' as const,
      };
      const pipe = await Pipeline.fromPretrained(source, { device });
      const { latents: plain } = await pipe(call);
      const list = (uses as [string, number][]).map(([which, weight]) => ({
        source: picked(which === 'sd3' ? 'sd3_peft' : `flux_${which}`),
        weight,
      }));
      await pipe.loadLoras(list);
      agree((await pipe(call)).latents, want.latents.data, 'with adapters');
      await pipe.unloadLoras();
      expect((await pipe(call)).latents).toEqual(plain);
      await pipe.dispose();
      expect(device.held).toEqual(before);
    },
  );
});
