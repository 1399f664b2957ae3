/**
 * Latent pipelines beside Stable Diffusion: codebook, super-resolution by low-resolution channels; each against its
 * parts.
 */
import { describe, expect, it } from 'vitest';
import { ConfigError, InvalidArgumentError, UnsupportedError } from '../../../src/engine/index.ts';
import { UNet2D, AutoencoderKL } from '../../../src/models/index.ts';
import { UNet2DCondition } from '../../../src/models/unetCondition/unetConditionModel.ts';
import { Tokenizer } from '../../../src/loading/tokenizers/tokenizer.ts';
import { encodeClipPrompts } from '../../../src/models/textEncoders/clipPrompts.ts';
import { CLIPTextModel } from '../../../src/models/textEncoders/clipTextModel.ts';
import { VQModel } from '../../../src/models/vq/vqModel.ts';
import { Pipeline } from '../../../src/pipelines/index.ts';
import { guided, HostSpace, pairOf, samplerFrom, TorchGenerator } from '../../../src/sampler/index.ts';
import { expectClose, NETWORK_NORM } from '../../support/close.ts';
import { adapters } from '../../support/gpu.ts';
import { openDevice } from '../../support/runGraph.ts';
import { failure, fixture, tensorsOf } from '../../models/fixtures.ts';
import { f32 } from '../../loading/files.ts';
import { heldBy, hostNetwork, largest, pipelineFolder } from '../folders.ts';
import { textFiles } from '../tinyModels.ts';

type Config = Record<string, unknown>;
const DDIM: Config = {
  _class_name: 'DDIMScheduler',
  beta_start: 0.0015,
  beta_end: 0.0195,
  beta_schedule: 'scaled_linear',
  clip_sample: false,
};
const unit = (values: Float32Array) => values.map((v) => Math.min(1, Math.max(0, v * 0.5 + 0.5)));
const picture = (seed: number, [B, H, W]: readonly [number, number, number]) => ({
  data: new TorchGenerator(seed).randn(B * 3 * H * W).map((v) => Math.tanh(v)),
  shape: [B, 3, H, W] as const,
});

describe('latents with a codebook', async () => {
  const device = await openDevice(adapters()[0]);
  const folder = (fields: Partial<{ unet: string; scheduler: Config }> = {}) =>
    pipelineFolder({
      className: 'LDMPipeline',
      parts: { unet: fields.unet ?? 'unet2d_ldm_celebahq', vqvae: 'vq_ldm' },
      schedulers: { scheduler: fields.scheduler ?? DDIM },
    });

  it('LDMPipeline: the steps of its scheduler, pictures through the codebook', async () => {
    const before = await heldBy(device);
    const pipe = await Pipeline.fromPretrained(folder(), { device });
    expect(pipe.sampleSize).toEqual({ width: 16, height: 16 });
    expect(pipe.sizeMultiple).toBe(4);
    const { latents, images } = await pipe({ batchSize: 2, numInferenceSteps: 4, eta: 0.3, generator: 3 });
    const [unet, vq] = [
      await UNet2D.load(device, fixture('unet2d_ldm_celebahq')),
      await VQModel.load(device, fixture('vq_ldm')),
    ];
    const [space, generator, shape] = [new HostSpace(), new TorchGenerator(3), [2, 3, 8, 8]];
    const sampler = samplerFrom(DDIM);
    const denoiser = sampler.denoiser(
      hostNetwork(space, shape, (sample, timestep) => unet.forward({ sample, timestep })),
    );
    const x = space.vec(generator.randn(2 * 192), 2);
    const want = await space.read(await sampler.sample({ x, generator, denoiser, numInferenceSteps: 4, eta: 0.3 }));
    expectClose(latents, want, NETWORK_NORM * largest(want), 'latents');
    const out = await vq.decode({ latent: { data: latents.map((v) => v / 0.18215), shape } });
    const pixels = unit((await out.read()).slice(768));
    expectClose(await images[1].toTensor(), pixels, NETWORK_NORM, 'picture');
    const [again] = await pipe.decode(latents.slice(192), [1, 3, 8, 8]);
    expectClose(await again.toTensor(), pixels, NETWORK_NORM, 'decoded again');
    expect(pipe.plan()).toMatchObject({ fits: true });
    expect((await pipe.profile()).decoder.rows.length).toBeGreaterThan(0);
    for (const part of [unet, vq, again, ...images]) part.dispose();
    await pipe.dispose();
    expect(await heldBy(device)).toEqual(before);
  });

  it('encodes and reconstructs pictures', async () => {
    const pipe = await Pipeline.fromPretrained(folder(), { device });
    const image = picture(1, [2, 16, 16]);
    const { data, shape } = await pipe.encode!(image);
    expect(shape).toEqual([2, 3, 8, 8]);
    const vq = await VQModel.load(device, fixture('vq_ldm'));
    const z = await (await vq.encode({ image })).read();
    expectClose(
      data,
      z.map((v) => v * 0.18215),
      NETWORK_NORM,
      'latents',
    );
    const want = (await (await vq.decode({ latent: { data: z, shape } })).read()).slice();
    const images = await pipe.reconstruct!(image);
    expect(await images[0].toPlanes()).toEqual(want.slice(0, 768));
    expect(await failure(pipe.reconstruct!({ data: image.data, shape: [2, 2, 16, 24] }))).toBeInstanceOf(
      InvalidArgumentError,
    );
    for (const part of [vq, ...images]) part.dispose();
    await pipe.dispose();
  });

  /** A U-Net of six channels: the recorded one, which sees the picture through other weights. */
  async function beside() {
    const config = (await fixture('unet2d_ldm_celebahq').json('config.json')) as Config;
    const tensors = await tensorsOf('unet2d_ldm_celebahq');
    const { shape, bytes } = tensors['conv_in.weight'];
    const own = new Float32Array(Uint8Array.from(bytes).buffer);
    const [out, inC] = shape;
    const wide = Float32Array.from({ length: out * 6 * 9 }, (_, i) => {
      const [o, c, k] = [Math.floor(i / 54), Math.floor(i / 9) % 6, i % 9];
      return c < inC ? own[(o * inC + c) * 9 + k] : Math.sin(i) / 8;
    });
    return {
      config: { ...config, in_channels: 6 },
      tensors: { ...tensors, 'conv_in.weight': f32([out, 6, 3, 3], wide) },
    };
  }

  it.each([
    [DDIM, false],
    [{ ...DDIM, _class_name: 'EulerDiscreteScheduler' }, true],
  ] as const)('LDMSuperResolutionPipeline: the small picture beside the latents, %j', async (scheduler, scales) => {
    const before = await heldBy(device);
    const parts = { unet: await beside(), vqvae: 'vq_ldm' };
    const make = (schedulers: Record<string, Config>) =>
      pipelineFolder({ className: 'LDMSuperResolutionPipeline', parts, schedulers });
    const pipe = await Pipeline.fromPretrained(make({ scheduler }), { device });
    const image = picture(2, [2, 8, 12]);
    const { latents, images } = await pipe({ image, numInferenceSteps: 3, generator: 3 });
    expect(images[1]).toMatchObject({ width: 24, height: 16 });

    const folderOfUnet = make({ scheduler }).folder('unet');
    const unet = await UNet2D.load(device, folderOfUnet);
    const [space, generator] = [new HostSpace(), new TorchGenerator(3)];
    const sampler = samplerFrom(scheduler);
    const item = 3 * 96;
    const levels = sampler.transitions({ numInferenceSteps: 3 }).map(({ from }) => from);
    const network = hostNetwork(space, [2, 6, 8, 12], (sample, timestep) => {
      const at = levels.find((level) => level.timestep === timestep)!;
      const c = scales ? 1 / Math.hypot(at.sigma, 1) : 1;
      const data = new Float32Array(4 * item);
      for (const b of [0, 1]) {
        data.set(sample.data.subarray(b * item, (b + 1) * item), 2 * b * item);
        data.set(
          image.data.subarray(b * item, (b + 1) * item).map((v) => c * v),
          (2 * b + 1) * item,
        );
      }
      return unet.forward({ sample: { data, shape: [2, 6, 8, 12] }, timestep });
    });
    const x = space.vec(generator.randn(2 * item), 2);
    const out = await sampler.sample({ x, denoiser: sampler.denoiser(network), numInferenceSteps: 3 });
    const want = await space.read(out);
    expectClose(latents, want, NETWORK_NORM * largest(want), 'latents');
    const vq = await VQModel.load(device, fixture('vq_ldm'));
    const decoded = await (await vq.decode({ latent: { data: latents, shape: [2, 3, 8, 12] } })).read();
    expect(await images[0].toPlanes()).toEqual(decoded.slice(0, 3 * 16 * 24));
    expect((await failure(pipe({ image: picture(2, [1, 8, 9]) }))).message).toMatch(/multiple of 4/);
    for (const part of [unet, vq, ...images]) part.dispose();
    await pipe.dispose();
    expect(await heldBy(device)).toEqual(before);
  });

  it('parts of different models are refused, and nothing is left behind', async () => {
    const before = await heldBy(device);
    const wrong = pipelineFolder({
      className: 'LDMSuperResolutionPipeline',
      parts: { unet: 'unet2d_ldm_celebahq', vqvae: 'vq_ldm' },
      schedulers: { scheduler: DDIM },
    });
    expect(await failure(Pipeline.fromPretrained(wrong, { device }))).toBeInstanceOf(ConfigError);
    const other = pipelineFolder({
      className: 'LDMPipeline',
      parts: { unet: await beside(), vqvae: 'vq_ldm' },
      schedulers: { scheduler: DDIM },
    });
    expect((await failure(Pipeline.fromPretrained(other, { device }))).message).toMatch(/3 latent channels/);
    expect(
      await failure(Pipeline.fromPretrained(folder({ scheduler: { _class_name: 'MagicScheduler' } }), { device })),
    ).toBeInstanceOf(UnsupportedError);
    expect(await heldBy(device)).toEqual(before);
  });
});

describe('StableDiffusionUpscalePipeline', async () => {
  const device = await openDevice(adapters()[0]);
  const LOW: Config = { _class_name: 'DDPMScheduler', beta_schedule: 'squaredcos_cap_v2' };
  const V: Config = { ...DDIM, prediction_type: 'v_prediction' };
  const make = (fields: Config = {}, unet = 'unet_cond_x4_upscaler') =>
    pipelineFolder({
      className: 'StableDiffusionUpscalePipeline',
      parts: { unet, vae: 'vae_kl_sd' },
      schedulers: { scheduler: V, low_res_scheduler: LOW },
      fields,
    });
  const states = (seed: number, n: number) => ({
    data: new TorchGenerator(seed).randn(n * 5 * 20),
    shape: [n, 5, 20] as const,
  });

  it('the noised picture beside the latents, its noise as a class, both halves of guidance', async () => {
    const before = await heldBy(device);
    const pipe = await Pipeline.fromPretrained(make({ max_noise_level: 19 }), { device });
    const image = picture(4, [2, 8, 8]);
    const [promptEmbeds, negativePromptEmbeds] = [states(5, 2), states(6, 1)];
    const call = { image, promptEmbeds, negativePromptEmbeds, numInferenceSteps: 3, guidanceScale: 3, noiseLevel: 7 };
    const { latents, images } = await pipe({ ...call, generator: 3 });
    expect(images[0]).toMatchObject({ width: 16, height: 16 });

    const unet = await UNet2DCondition.load(device, fixture('unet_cond_x4_upscaler'));
    const [space, generator] = [new HostSpace(), new TorchGenerator(3)];
    const acp = samplerFrom(LOW).schedule.alphasCumprod[7];
    const noise = generator.randn(image.data.length);
    const noisy = image.data.map((v, i) => Math.sqrt(acp) * v + Math.sqrt(1 - acp) * noise[i]);
    const sampler = samplerFrom(V);
    const half = (context: Float32Array) =>
      hostNetwork(space, [2, 7, 8, 8], (sample, timestep) => {
        const data = new Float32Array(2 * 7 * 64);
        for (const b of [0, 1]) {
          data.set(sample.data.subarray(b * 256, (b + 1) * 256), b * 448);
          data.set(noisy.subarray(b * 192, (b + 1) * 192), b * 448 + 256);
        }
        const encoderHiddenStates = { data: context, shape: [2, 5, 20] };
        return unet.forward({
          sample: { data, shape: [2, 7, 8, 8] },
          timestep,
          encoderHiddenStates,
          classLabels: [7, 7],
        });
      });
    const { data: one } = negativePromptEmbeds;
    const pair = pairOf(
      sampler.denoiser(half(Float32Array.from([...one, ...one]))),
      sampler.denoiser(half(promptEmbeds.data)),
    );
    const x = space.vec(generator.randn(512), 2);
    const out = await sampler.sample({ x, denoiser: guided(pair, 3), numInferenceSteps: 3 });
    const want = await space.read(out);
    expectClose(latents, want, NETWORK_NORM * largest(want), 'latents');
    const vae = await AutoencoderKL.load(device, fixture('vae_kl_sd'));
    const latent = { data: latents.map((v) => v / 0.08333), shape: [2, 4, 8, 8] };
    const decoded = await (await vae.decode({ latent })).read();
    expectClose(await images[1].toTensor(), unit(decoded.slice(768)), NETWORK_NORM, 'picture');
    for (const part of [unet, vae, ...images]) part.dispose();
    await pipe.dispose();
    expect(await heldBy(device)).toEqual(before);
  });

  it('reads prompts, and encodes pictures as it decodes them', async () => {
    const before = await heldBy(device);
    const more = textFiles('', 'CLIPTextModel', 20, 5);
    const text = { text_encoder: ['transformers', 'CLIPTextModel'], tokenizer: ['transformers', 'CLIPTokenizer'] };
    const folder = pipelineFolder({
      className: 'StableDiffusionUpscalePipeline',
      parts: { unet: 'unet_cond_x4_upscaler', vae: 'vae_kl_sd' },
      schedulers: { scheduler: V, low_res_scheduler: LOW },
      fields: { ...text, watermarker: ['diffusers', 'X'] },
      more,
    });
    const pipe = await Pipeline.fromPretrained(folder, { device });
    const call = { image: picture(4, [1, 8, 8]), numInferenceSteps: 2, noiseLevel: 3, generator: 1 };
    const { latents, images } = await pipe({ ...call, prompt: 'a red fox', negativePrompt: 'blurred' });

    const model = await CLIPTextModel.load(device, folder.folder('text_encoder'));
    const tokenizer = await Tokenizer.open(folder.folder('tokenizer'));
    const [promptEmbeds, negativePromptEmbeds] = [
      await encodeClipPrompts(tokenizer, model, 'a red fox'),
      await encodeClipPrompts(tokenizer, model, 'blurred'),
    ];
    const given = await pipe({ ...call, promptEmbeds, negativePromptEmbeds });
    expect(latents).toEqual(given.latents);
    const other = await pipe({ ...call, promptEmbeds: negativePromptEmbeds, negativePromptEmbeds: promptEmbeds });
    expect(other.latents).not.toEqual(latents);

    const large = picture(5, [1, 16, 16]);
    const { data, shape } = await pipe.encode!(large);
    const [again] = await pipe.decode(data, shape);
    const [straight] = await pipe.reconstruct!(large);
    expectClose(await again.toPlanes(), await straight.toPlanes(), NETWORK_NORM, 'encoded and decoded');
    for (const part of [model, again, straight, ...images, ...given.images, ...other.images]) part.dispose();
    await pipe.dispose();
    expect(await heldBy(device)).toEqual(before);
  });

  it('several results of one picture; options and parts that do not fit are refused', async () => {
    const before = await heldBy(device);
    const pipe = await Pipeline.fromPretrained(make(), { device });
    const image = picture(4, [1, 9, 7]);
    const call = { image, promptEmbeds: states(5, 1), numInferenceSteps: 2, guidanceScale: 1, noiseLevel: 3 };
    const generators = [new TorchGenerator(1), new TorchGenerator(2)];
    const two = await pipe({ ...call, numImagesPerPrompt: 2, generator: generators });
    const one = await pipe({ ...call, generator: 1 });
    expect(two.images).toHaveLength(2);
    expect(two.images[0]).toMatchObject({ width: 14, height: 18 });
    expectClose(two.latents.subarray(0, 252), one.latents, NETWORK_NORM * largest(one.latents), 'first');
    [...two.images, ...one.images].forEach((result) => result.dispose());
    expect((await failure(pipe({ ...call, noiseLevel: 351 }))).message).toMatch(/0 … 350, got 351/);
    expect(await failure(pipe({ ...call, noiseLevel: 30 }))).toBeInstanceOf(InvalidArgumentError); // of 20 classes
    expect((await failure(pipe({ ...call, image: picture(1, [3, 8, 8]) }))).message).toMatch(/1 or 1 of image, got 3/);
    expect((await failure(pipe({ image, prompt: 'a' }))).message).toMatch(/expected promptEmbeds/);
    await pipe.dispose();
    const other = make({}, 'unet_cond_sd15');
    expect(await failure(Pipeline.fromPretrained(other, { device }))).toBeInstanceOf(ConfigError);
    const odd = make({ image_normalizer: ['diffusers', 'Other'] });
    expect(await failure(Pipeline.fromPretrained(odd, { device }))).toBeInstanceOf(UnsupportedError);
    expect(await failure(Pipeline.fromPretrained(make({ max_noise_level: 'x' }), { device }))).toBeInstanceOf(
      ConfigError,
    );
    expect(await heldBy(device)).toEqual(before);
  });
});
