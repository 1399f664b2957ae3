/** SDXL, its refiner, Turbo, LCM, nine channels, and options of a run, against runs composed by hand on the host. */
import { describe, expect, it } from 'vitest';
import { InvalidArgumentError, UnsupportedError } from '../../../src/engine/index.ts';
import { Tokenizer } from '../../../src/loading/tokenizers/tokenizer.ts';
import { ControlNet } from '../../../src/models/controlNet/controlNetModel.ts';
import { AutoencoderKL } from '../../../src/models/index.ts';
import { CLIPTextModel, CLIPTextModelWithProjection } from '../../../src/models/textEncoders/clipTextModel.ts';
import { Pipeline } from '../../../src/pipelines/index.ts';
import { guidanceFeatures, sdxlTimeIds } from '../../../src/pipelines/stableDiffusion/conditions.ts';
import { CounterGenerator, PhiloxGenerator, TorchGenerator } from '../../../src/sampler/index.ts';
import { failure } from '../../models/fixtures.ts';
import { expectClose, networkTolerance, TORCH_NORMAL } from '../../support/close.ts';
import { adapters } from '../../support/gpu.ts';
import { normals } from '../../support/random.ts';
import { openDevice } from '../../support/runGraph.ts';
import { byHand, latentsOf, type Told } from '../byHand.ts';
import {
  controlNetFiles,
  directory,
  filesOf,
  json,
  modelIndex,
  schedule,
  textFiles,
  unetFiles,
  vaeFiles,
  type Files,
} from '../tinyModels.ts';

/** Results of the U-Net that are stored one after the other. */
const LAYERS = 64;
const SD = 'pipe_sd_ddim/unet/config.json';
const XL_FOLDER = 'unet_cond_sdxl';
const XL = `${XL_FOLDER}/config.json`;
const device = await openDevice(adapters()[0]);

const largest = (values: Float32Array) => values.reduce((m, v) => Math.max(m, Math.abs(v)), 0);
const agree = (got: Float32Array, want: Float32Array, what: string) =>
  expectClose(got, want, networkTolerance('f32', LAYERS, 4 * largest(want)), what);

/** A folder with the autoencoder of the recorded pipeline. */
function folder(className: string, scheduler: object, files: Files, parts: string[] = [], fields: object = {}) {
  const all = {
    ...vaeFiles(),
    ...files,
    'scheduler/scheduler_config.json': json(scheduler),
    'model_index.json': modelIndex(className, ['unet', 'vae', 'scheduler', ...parts], fields),
  };
  return directory(all, className);
}

const states = (seed: number, width: number, N = 1) => ({ data: normals(seed, N * 6 * width), shape: [N, 6, width] });
const pooled = (seed: number, width: number, N = 1) => ({ data: normals(seed, N * width), shape: [N, width] });

/** Runs a call, and sees that nothing is left on the GPU. */
async function run(source: Parameters<typeof Pipeline.fromPretrained>[0], options: object): Promise<Float32Array> {
  const before = { ...device.held };
  const pipe = await Pipeline.fromPretrained(source, { device });
  try {
    const { latents, images } = await pipe(options as { prompt: string });
    images.forEach((image) => image.dispose());
    return latents;
  } finally {
    await pipe.dispose();
    expect(device.held).toEqual(before);
  }
}

describe('SDXL', () => {
  const euler = schedule('EulerDiscreteScheduler', { steps_offset: 1 });
  const parts = ['text_encoder', 'text_encoder_2', 'tokenizer', 'tokenizer_2'];
  const files = {
    ...unetFiles(XL, { cross_attention_dim: 40 }),
    ...textFiles('', 'CLIPTextModel', 16, 100),
    ...textFiles('_2', 'CLIPTextModelWithProjection', 24, 200),
  };

  /** Both encoders' states before the last layer, side by side, and the second's projection. */
  async function encoded(source: ReturnType<typeof folder>, texts: readonly string[], texts2 = texts) {
    const one = await CLIPTextModel.load(device, source.folder('text_encoder'));
    const two = await CLIPTextModelWithProjection.load(device, source.folder('text_encoder_2'));
    const tokenizer = await Tokenizer.open(source.folder('tokenizer'));
    const out: Told[] = [];
    for (const [i, text] of texts.entries()) {
      const a = await (
        await one.hidden({ inputIds: tokenizer.encode(text).inputIds, hiddenStates: [1] })
      ).hiddenStates[0].read();
      const second = await two.forward({ inputIds: tokenizer.encode(texts2[i]).inputIds, hiddenStates: [1] });
      const b = await second.hiddenStates[0].read();
      const data = new Float32Array(12 * 40);
      for (let t = 0; t < 12; t++) {
        data.set(a.subarray(16 * t, 16 * (t + 1)), 40 * t);
        data.set(b.subarray(24 * t, 24 * (t + 1)), 40 * t + 16);
      }
      const textEmbeds = { data: await second.textEmbeds.read(), shape: [1, 20] };
      out.push({ encoderHiddenStates: { data, shape: [1, 12, 40] }, addedCondKwargs: { textEmbeds } });
    }
    one.dispose();
    two.dispose();
    return out;
  }

  const sized = (told: Told, ids: readonly number[]): Told => ({
    ...told,
    addedCondKwargs: { ...told.addedCondKwargs, timeIds: { data: ids, shape: [1, ids.length] } },
  });

  const zeroed = (told: Told): Told => {
    const zeros = (t: { shape: readonly number[]; data: unknown }) => ({
      data: new Float32Array((t.data as Float32Array).length),
      shape: t.shape,
    });
    return {
      encoderHiddenStates: zeros(told.encoderHiddenStates!),
      addedCondKwargs: { textEmbeds: zeros(told.addedCondKwargs!.textEmbeds!) },
    };
  };

  it('two prompts through both encoders, sizes, zeros for no negative prompt', async () => {
    const source = folder('StableDiffusionXLPipeline', euler, files, parts);
    const prompt = ['a red heart', 'a cat'];
    const noise = normals(1, 2 * 4 * 6 * 8);
    const got = await run(source, {
      prompt,
      prompt2: 'a small cat',
      latents: noise,
      width: 16,
      height: 12,
      numInferenceSteps: 3,
      originalSize: [30, 40],
      cropsCoordsTopLeft: [2, 4],
      negativeTargetSize: [7, 9],
    });
    const told = await encoded(source, prompt, ['a small cat', 'a small cat']);
    const want = await byHand(device, source, {
      scheduler: euler,
      item: [4, 6, 8],
      noise,
      numInferenceSteps: 3,
      guidanceScale: 5,
      text: told.map((t) => sized(t, [30, 40, 2, 4, 12, 16])),
      negative: told.map((t) => sized(zeroed(t), [30, 40, 2, 4, 7, 9])),
    });
    agree(got, want, 'SDXL');
  });

  it('an empty negative prompt is read where the folder does not force zeros', async () => {
    const source = folder('StableDiffusionXLPipeline', euler, files, parts, { force_zeros_for_empty_prompt: false });
    const noise = normals(2, 4 * 8 * 8);
    const got = await run(source, { prompt: 'a heart', latents: noise, numInferenceSteps: 2, guidanceScale: 3 });
    const ids = [16, 16, 0, 0, 16, 16];
    const [text, negative] = (await encoded(source, ['a heart', ''])).map((t) => sized(t, ids));
    const common = { scheduler: euler, item: [4, 8, 8] as const, noise, numInferenceSteps: 2, guidanceScale: 3 };
    agree(got, await byHand(device, source, { ...common, text: [text], negative: [negative] }), 'forced');
  });

  it('a refiner starts from a picture and is told a score', async () => {
    const ddim = schedule('DDIMScheduler', { clip_sample: false, set_alpha_to_one: false });
    const unet = filesOf('unet_cond_sdxl', 'unet/');
    const fields = { requires_aesthetics_score: true, force_zeros_for_empty_prompt: false };
    const source = folder('StableDiffusionXLImg2ImgPipeline', ddim, unet, [], fields);
    const image = { data: normals(4, 3 * 256, { std: 0.3 }), shape: [1, 3, 16, 16] };
    const text = { promptEmbeds: states(5, 24), pooledPromptEmbeds: pooled(6, 28) };
    const negative = { negativePromptEmbeds: states(7, 24), negativePooledPromptEmbeds: pooled(8, 28) };
    const got = await run(source, { ...text, ...negative, image, numInferenceSteps: 10, generator: 9 });
    const generator = new TorchGenerator(9);
    const vae = await AutoencoderKL.load(device, source.folder('vae'));
    const start = await latentsOf(vae, image, generator.randn(256));
    vae.dispose();
    const told = (hidden: typeof text.promptEmbeds, vector: typeof text.pooledPromptEmbeds, score: number): Told => ({
      encoderHiddenStates: hidden,
      addedCondKwargs: { textEmbeds: vector, timeIds: { data: [16, 16, 0, 0, score], shape: [1, 5] } },
    });
    const want = await byHand(device, source, {
      scheduler: ddim,
      item: [4, 8, 8],
      noise: generator.randn(256),
      image: start,
      strength: 0.3,
      numInferenceSteps: 10,
      guidanceScale: 5,
      text: [told(text.promptEmbeds, text.pooledPromptEmbeds, 6)],
      negative: [told(negative.negativePromptEmbeds, negative.negativePooledPromptEmbeds, 2.5)],
    });
    agree(got, want, 'refiner');
    const missing = await failure(run(source, { promptEmbeds: text.promptEmbeds, image, guidanceScale: 0 }));
    expect(missing).toBeInstanceOf(InvalidArgumentError);
    expect(missing.message).toMatch(/pooledPromptEmbeds \[1,P\] on the host with promptEmbeds, got none/);
  });

  it('Turbo: one step, one evaluation, no guidance', async () => {
    const turbo = schedule('EulerAncestralDiscreteScheduler', { timestep_spacing: 'trailing' });
    const source = folder('StableDiffusionXLPipeline', turbo, unetFiles(XL, { cross_attention_dim: 40 }));
    const noise = normals(3, 256);
    const told = {
      encoderHiddenStates: states(5, 40),
      addedCondKwargs: { textEmbeds: pooled(6, 20), timeIds: { data: [16, 16, 0, 0, 16, 16], shape: [1, 6] } },
    };
    const text = { promptEmbeds: told.encoderHiddenStates, pooledPromptEmbeds: told.addedCondKwargs.textEmbeds };
    const options = { ...text, latents: noise, guidanceScale: 0, numInferenceSteps: 1, generator: 5 };
    const generator = new TorchGenerator(5);
    const hand = { scheduler: turbo, item: [4, 8, 8] as const, noise, numInferenceSteps: 1, generator, text: [told] };
    agree(await run(source, options), await byHand(device, source, hand), 'Turbo');
  });

  it.each([false, true])('a ControlNet reads vector and sizes too; guess mode %s', async (guessMode) => {
    const own = { ...filesOf(XL_FOLDER, 'unet/'), ...controlNetFiles(XL, 500) };
    const source = folder('StableDiffusionXLControlNetPipeline', euler, own, ['controlnet']);
    const noise = normals(3, 256);
    const told = (seed: number, ids: readonly number[]): Told => ({
      encoderHiddenStates: states(seed, 24),
      addedCondKwargs: { textEmbeds: pooled(seed + 1, 20), timeIds: { data: ids, shape: [1, 6] } },
    });
    const [text, negative] = [told(5, [16, 16, 0, 0, 16, 16]), told(7, [9, 9, 0, 0, 16, 16])];
    const controlImage = { data: normals(9, 3 * 256).map(Math.abs), shape: [1, 3, 16, 16] };
    const got = await run(source, {
      promptEmbeds: text.encoderHiddenStates,
      pooledPromptEmbeds: text.addedCondKwargs!.textEmbeds,
      negativePromptEmbeds: negative.encoderHiddenStates,
      negativePooledPromptEmbeds: negative.addedCondKwargs!.textEmbeds,
      negativeOriginalSize: [9, 9],
      controlImage,
      guessMode,
      latents: noise,
      numInferenceSteps: 2,
    });
    const net = await ControlNet.load(device, source.folder('controlnet'));
    const common = { scheduler: euler, item: [4, 8, 8] as const, noise, numInferenceSteps: 2, guidanceScale: 5 };
    const control = { net, picture: controlImage };
    const both = await byHand(device, source, { ...common, text: [text], negative: [negative], control });
    net.dispose();
    if (!guessMode) agree(got, both, 'ControlNet');
    else expect(got).not.toEqual(both);
  });

  it('sizes as pairs', () => {
    expect(sdxlTimeIds({}, [12, 16], false).text).toEqual([12, 16, 0, 0, 12, 16]);
    expect(() => sdxlTimeIds({ originalSize: [1] as unknown as [number, number] }, [1, 1], false)).toThrow(/pairs/);
  });
});

describe('LCM', () => {
  it('features of the guidance scale, as PyTorch computes them', () => {
    const recorded = [
      -0.851236, 0.745114, -0.387782, 0.938, 0.681639, -0.524783, -0.666938, 0.921751, 0.346636, 0.731689,
    ];
    expectClose(guidanceFeatures(8.5, 10), Float32Array.from(recorded), TORCH_NORMAL, 'features');
  });

  it('guidance is an input: no second half', async () => {
    const lcm = schedule('LCMScheduler', { original_inference_steps: 50, set_alpha_to_one: true, clip_sample: false });
    const source = folder('LatentConsistencyModelPipeline', lcm, filesOf('unet_cond_lcm', 'unet/'));
    const told: Told = {
      encoderHiddenStates: states(5, 16),
      timestepCond: { data: guidanceFeatures(8.5, 32), shape: [1, 32] },
    };
    const noise = normals(6, 256);
    const got = await run(source, { promptEmbeds: states(5, 16), latents: noise, generator: 4 });
    const generator = new TorchGenerator(4);
    const hand = { scheduler: lcm, item: [4, 8, 8] as const, noise, numInferenceSteps: 4, generator, text: [told] };
    agree(got, await byHand(device, source, hand), 'LCM');
  });
});

describe('a U-Net of nine channels', () => {
  const ddim = schedule('DDIMScheduler', { clip_sample: false, set_alpha_to_one: false, steps_offset: 1 });
  const source = folder('StableDiffusionInpaintPipeline', ddim, unetFiles(SD, { in_channels: 9 }));
  const image = { data: normals(4, 3 * 256, { std: 0.3 }), shape: [1, 3, 16, 16] };
  const mask = Float32Array.from({ length: 2 * 256 }, (_, i) => (i % 16 < (i < 256 ? 7 : 12) ? 0.8 : 0.2));
  const maskImage = { data: mask, shape: [2, 1, 16, 16] };
  const text = { promptEmbeds: states(5, 16, 2), negativePromptEmbeds: states(6, 16) };
  const told = (data: Float32Array): Told => ({ encoderHiddenStates: { data, shape: [1, 6, 16] } });

  it.each([1, 0.5])('sees mask and masked latents, strength %d', async (strength) => {
    const options = { ...text, image, maskImage, strength, numInferenceSteps: 4, guidanceScale: 3, generator: 8 };
    const got = await run(source, options);
    const generator = new TorchGenerator(8);
    const vae = await AutoencoderKL.load(device, source.folder('vae'));
    const start = strength < 1 ? await latentsOf(vae, image, generator.randn(256)) : undefined;
    const noise = generator.randn(512);
    const posterior = generator.randn(512);
    const beside: Float32Array[] = [];
    for (const b of [0, 1]) {
      const own = mask.subarray(256 * b, 256 * (b + 1));
      const grey = image.data.map((v, i) => (own[i % 256] >= 0.5 ? 0 : v));
      const z = await latentsOf(vae, { ...image, data: grey }, posterior.subarray(256 * b, 256 * (b + 1)));
      const cells = Array.from({ length: 64 }, (_, i) => (own[32 * (i >> 3) + 2 * (i & 7)] >= 0.5 ? 1 : 0));
      beside.push(Float32Array.from([...cells, ...z]));
    }
    vae.dispose();
    const want = await byHand(device, source, {
      scheduler: ddim,
      item: [4, 8, 8],
      noise,
      image: start && Float32Array.from([...start, ...start]),
      strength: start && strength,
      numInferenceSteps: 4,
      guidanceScale: 3,
      text: [told(text.promptEmbeds.data.slice(0, 96)), told(text.promptEmbeds.data.slice(96))],
      negative: [told(text.negativePromptEmbeds.data), told(text.negativePromptEmbeds.data)],
      beside,
    });
    agree(got, want, 'inpainting');
  });

  it('wants a picture and a mask', async () => {
    for (const [options, message] of [
      [{}, /expected image and maskImage, since this network fills masks in pictures, got neither/],
      [{ image }, /got no maskImage/],
    ] as const) {
      const error = await failure(run(source, { ...text, ...options }));
      expect(error).toBeInstanceOf(InvalidArgumentError);
      expect(error.message).toMatch(message);
    }
  });

  it('eight channels belong to another pipeline', async () => {
    const strange = folder('StableDiffusionPipeline', ddim, unetFiles(SD, { in_channels: 8 }));
    expect(await failure(run(strange, text))).toBeInstanceOf(UnsupportedError);
    const xl = folder('StableDiffusionPipeline', ddim, filesOf('unet_cond_sdxl', 'unet/'));
    expect((await failure(run(xl, text))).message).toMatch(/addition_embed_type null .* got text_time/);
  });
});

describe('options of a run', async () => {
  const recorded = directory(filesOf('pipe_sd_ddim'), 'pipe_sd_ddim');
  const config = (await recorded.json('scheduler/scheduler_config.json')) as Record<string, unknown>;
  const text = { promptEmbeds: states(5, 16), negativePromptEmbeds: states(6, 16) };
  const hand = {
    scheduler: config,
    item: [4, 8, 8] as const,
    text: [{ encoderHiddenStates: states(5, 16) }],
    negative: [{ encoderHiddenStates: states(6, 16) }],
    guidanceScale: 4,
  };
  const call = { ...text, guidanceScale: 4, numInferenceSteps: 4 };
  const noise = normals(1, 256);

  it('guides in an interval only', async () => {
    const interval = [0.5, 5] as const;
    const got = await run(recorded, { ...call, latents: noise, guidanceInterval: interval });
    agree(got, await byHand(device, recorded, { ...hand, noise, interval, numInferenceSteps: 4 }), 'interval');
    expect(got).not.toEqual(await run(recorded, { ...call, latents: noise }));
  });

  it('another scheduler, by class and as a config; timesteps and sigmas of one’s own', async () => {
    const dpm = { ...config, _class_name: 'DPMSolverMultistepScheduler', use_karras_sigmas: true };
    const byConfig = await run(recorded, { ...call, latents: noise, scheduler: dpm });
    agree(byConfig, await byHand(device, recorded, { ...hand, scheduler: dpm, noise, numInferenceSteps: 4 }), 'config');
    const euler = { ...config, _class_name: 'EulerDiscreteScheduler' };
    const sigmas = [10, 3, 1, 0];
    const byClass = await run(recorded, { ...call, latents: noise, scheduler: 'EulerDiscreteScheduler', sigmas });
    agree(byClass, await byHand(device, recorded, { ...hand, scheduler: euler, noise, sigmas }), 'class and sigmas');
    const timesteps = [900, 500, 20];
    const own = await run(recorded, { ...call, latents: noise, timesteps });
    agree(own, await byHand(device, recorded, { ...hand, noise, timesteps }), 'timesteps');
    const unknown = await failure(run(recorded, { ...call, scheduler: 'NoSuchScheduler' }));
    expect(unknown).toBeInstanceOf(UnsupportedError);
  });

  it('other generators, and Brownian noise', async () => {
    for (const make of [() => new PhiloxGenerator(3), () => new CounterGenerator(3)]) {
      const got = await run(recorded, { ...call, generator: make() });
      expect(got).toEqual(await run(recorded, { ...call, latents: make().randn(256) }));
    }
    const ancestral = { ...call, latents: noise, scheduler: 'EulerAncestralDiscreteScheduler' };
    const brownian = { seed: 5 };
    const one = await run(recorded, { ...ancestral, brownian, generator: 1 });
    expect(await run(recorded, { ...ancestral, brownian, generator: 2 })).toEqual(one);
    expect(await run(recorded, { ...ancestral, brownian: { seed: 6 }, generator: 1 })).not.toEqual(one);
    const scheduler = { ...config, _class_name: 'EulerAncestralDiscreteScheduler' };
    agree(one, await byHand(device, recorded, { ...hand, scheduler, noise, brownian, numInferenceSteps: 4 }), 'path');
  });
});
