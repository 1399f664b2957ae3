/** Stable Diffusion 3 and Flux against runs of their transformers composed by hand on the host. */
import { describe, expect, it } from 'vitest';
import { ConfigError, InvalidArgumentError, UnsupportedError } from '../../src/engine/index.ts';
import { Tokenizer } from '../../src/loading/tokenizers/tokenizer.ts';
import { AutoencoderKL } from '../../src/models/index.ts';
import { CLIPTextModel, CLIPTextModelWithProjection } from '../../src/models/textEncoders/clipTextModel.ts';
import { T5EncoderModel } from '../../src/models/textEncoders/t5EncoderModel.ts';
import { FluxTransformer } from '../../src/models/transformers/fluxModel.ts';
import { packLatents, unpackLatents } from '../../src/models/transformers/packing.ts';
import { SD3Transformer } from '../../src/models/transformers/sd3Model.ts';
import { Pipeline } from '../../src/pipelines/index.ts';
import { guided, HostSpace, pairOf, samplerFrom, TorchGenerator, type Denoiser } from '../../src/sampler/index.ts';
import { failure } from '../models/fixtures.ts';
import { expectClose, networkTolerance } from '../support/close.ts';
import { adapters } from '../support/gpu.ts';
import { normals } from '../support/random.ts';
import { openDevice } from '../support/runGraph.ts';
import { latentsOf } from './byHand.ts';
import { directory, filesOf, json, modelIndex, t5Files, textFiles, vaeFiles, type Files } from './tinyModels.ts';

/** Results of a transformer that are stored one after the other. */
const LAYERS = 64;
const device = await openDevice(adapters()[0]);

const largest = (values: Float32Array) => values.reduce((m, v) => Math.max(m, Math.abs(v)), 0);
const agree = (got: Float32Array, want: Float32Array, what: string) =>
  expectClose(got, want, networkTolerance('f32', LAYERS, 4 * largest(want)), what);

const states = (seed: number, tokens = 5) => ({ data: normals(seed, tokens * 24), shape: [1, tokens, 24] });
const pooled = (seed: number) => ({ data: normals(seed, 20), shape: [1, 20] });

function folder(className: string, files: Files, scheduler: object, parts: string[] = []) {
  const all = {
    ...vaeFiles(),
    ...files,
    'scheduler/scheduler_config.json': json(scheduler),
    'model_index.json': modelIndex(className, ['transformer', 'vae', 'scheduler', ...parts]),
  };
  return directory(all, className);
}

/** Runs a call, and sees that nothing is left on the GPU. */
async function run(source: ReturnType<typeof folder>, options: object): Promise<Float32Array> {
  await device.idle(); // models that were given back are gone by then
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

describe('Stable Diffusion 3', () => {
  const flow = { _class_name: 'FlowMatchEulerDiscreteScheduler', shift: 3, num_train_timesteps: 1000 };
  const transformer = filesOf('sd3', 'transformer/');
  const text = { promptEmbeds: states(1), pooledPromptEmbeds: pooled(2) };
  const negative = { negativePromptEmbeds: states(3), negativePooledPromptEmbeds: pooled(4) };
  const source = folder('StableDiffusion3Pipeline', transformer, flow);

  /** Each half alone. */
  async function byHand(
    options: { noise: Float32Array; image?: Float32Array; strength?: number; mu?: number },
    config = flow,
  ) {
    const { noise, image, ...choice } = options;
    const model = await SD3Transformer.load(device, source.folder('transformer'));
    const sampler = samplerFrom(config);
    const space = new HostSpace();
    const half = (encoderHiddenStates: typeof text.promptEmbeds, pooledProjections: typeof text.pooledPromptEmbeds) =>
      sampler.denoiser(async (v, timestep) => {
        const sample = { data: Float32Array.from(await space.read(v)), shape: [1, 4, 8, 8] };
        const out = await model.forward({ sample, timestep, encoderHiddenStates, pooledProjections });
        return space.vec(await out.read());
      });
    const pair = pairOf(
      half(negative.negativePromptEmbeds, negative.negativePooledPromptEmbeds),
      half(text.promptEmbeds, text.pooledPromptEmbeds),
    );
    const x = space.vec(noise);
    const given = image && { image: space.vec(image) };
    const denoiser: Denoiser = guided(pair, 7);
    const z = await sampler.sample({ ...choice, ...given, x, denoiser, numInferenceSteps: 4 });
    model.dispose();
    return Float32Array.from(await space.read(z));
  }

  it('from noise, with guidance', async () => {
    const noise = normals(5, 256);
    const got = await run(source, {
      ...text,
      ...negative,
      latents: noise,
      numInferenceSteps: 4,
      width: 16,
      height: 16,
    });
    agree(got, await byHand({ noise }), 'SD3');
  });

  it('from a picture; a schedule that depends on the size', async () => {
    const dynamic = { ...flow, shift: 1, use_dynamic_shifting: true };
    const image = { data: normals(6, 3 * 256, { std: 0.3 }), shape: [1, 3, 16, 16] };
    const given = { ...text, ...negative, image, numInferenceSteps: 4, generator: 7, strength: 0.5 };
    const got = await run(folder('StableDiffusion3Img2ImgPipeline', transformer, dynamic), given);
    const generator = new TorchGenerator(7);
    const vae = await AutoencoderKL.load(device, source.folder('vae'));
    const start = await latentsOf(vae, image, generator.randn(256));
    vae.dispose();
    // 16 tokens: μ lies on the line from 0.5 at 256 to 1.15 at 4096.
    const mu = 0.5 + ((16 - 256) * 0.65) / (4096 - 256);
    agree(
      got,
      await byHand({ noise: generator.randn(256), image: start, strength: 0.5, mu }, dynamic),
      'from a picture',
    );
  });

  it('three text encoders: CLIP side by side, T5 behind, zeros without it', async () => {
    const clips = {
      ...transformer,
      ...textFiles('', 'CLIPTextModelWithProjection', 8, 100, 8),
      ...textFiles('_2', 'CLIPTextModelWithProjection', 12, 200, 12),
    };
    const parts = ['text_encoder', 'text_encoder_2', 'tokenizer', 'tokenizer_2'];
    const prompt = 'a red heart';
    for (const t5 of [true, false]) {
      const files = t5 ? { ...clips, ...t5Files('_3', 300) } : clips;
      const own = folder('StableDiffusion3Pipeline', files, flow, [
        ...parts,
        ...(t5 ? ['text_encoder_3', 'tokenizer_3'] : []),
      ]);
      const tokenizer = await Tokenizer.open(own.folder('tokenizer'));
      const { inputIds } = tokenizer.encode(prompt);
      const S = 12 + (t5 ? 256 : 12);
      const data = new Float32Array(S * 24);
      const vector = new Float32Array(20);
      for (const [suffix, width, at] of [
        ['', 8, 0],
        ['_2', 12, 8],
      ] as const) {
        const model = await CLIPTextModelWithProjection.load(device, own.folder(`text_encoder${suffix}`));
        const out = await model.forward({ inputIds, hiddenStates: [-2] });
        const state = await out.hiddenStates[0].read();
        for (let t = 0; t < 12; t++) data.set(state.subarray(t * width, (t + 1) * width), 24 * t + at);
        vector.set(await out.textEmbeds.read(), at);
        model.dispose();
      }
      if (t5) {
        const model = await T5EncoderModel.load(device, own.folder('text_encoder_3'));
        const ids = (await Tokenizer.open(own.folder('tokenizer_3'))).encode(prompt, { maxLength: 256 }).inputIds;
        data.set(await (await model.forward({ inputIds: ids })).lastHiddenState.read(), 12 * 24);
        model.dispose();
      }
      const common = { latents: normals(5, 256), numInferenceSteps: 1, guidanceScale: 1, width: 16, height: 16 };
      const embeds = {
        promptEmbeds: { data, shape: [1, S, 24] },
        pooledPromptEmbeds: { data: vector, shape: [1, 20] },
      };
      expect(await run(own, { ...common, prompt })).toEqual(await run(own, { ...common, ...embeds }));
    }
  });

  it('says what is wrong', async () => {
    const missing = await failure(run(source, { promptEmbeds: text.promptEmbeds, guidanceScale: 1 }));
    expect(missing).toBeInstanceOf(InvalidArgumentError);
    expect(missing.message).toMatch(/pooledPromptEmbeds/);
    const size = await failure(run(source, { ...text, guidanceScale: 1, width: 18 }));
    expect(size.message).toMatch(/multiple of 4, got 18/);
    const channels = folder(
      'StableDiffusion3Pipeline',
      { ...transformer, ...filesOf('vae_kl_sd3_nonsquare', 'vae/') },
      flow,
    );
    expect(await failure(run(channels, text))).toBeInstanceOf(ConfigError);
  });
});

describe('Flux', () => {
  const flow = {
    _class_name: 'FlowMatchEulerDiscreteScheduler',
    use_dynamic_shifting: true,
    base_shift: 0.5,
    max_shift: 1.15,
    base_image_seq_len: 256,
    max_image_seq_len: 4096,
  };
  const transformer = filesOf('flux', 'transformer/');
  const text = { promptEmbeds: states(1), pooledPromptEmbeds: pooled(2) };

  it('packed latents, sigmas and shift by their number, distilled guidance', async () => {
    const source = folder('FluxPipeline', transformer, flow);
    const generator = new TorchGenerator(3);
    const options = { ...text, generator: 3, numInferenceSteps: 3, width: 12, height: 16, guidanceScale: 2 };
    const got = await run(source, options);
    const model = await FluxTransformer.load(device, source.folder('transformer'));
    const sampler = samplerFrom(flow);
    const space = new HostSpace();
    const noise = packLatents({ data: generator.randn(4 * 8 * 6), shape: [1, 4, 8, 6] });
    expect(noise.shape).toEqual([1, 12, 16]);
    const denoiser = sampler.denoiser(async (v, timestep) => {
      const out = await model.forward({
        hiddenStates: { data: Float32Array.from(await space.read(v)), shape: [1, 12, 16] },
        timestep: timestep / 1000,
        encoderHiddenStates: text.promptEmbeds,
        pooledProjections: text.pooledPromptEmbeds,
        guidance: 2,
        grid: [4, 3],
      });
      return space.vec(await out.read());
    });
    const mu = 0.5 + ((12 - 256) * 0.65) / (4096 - 256);
    const z = await sampler.sample({ x: space.vec(noise.data), denoiser, sigmas: [1, 2 / 3, 1 / 3], mu });
    model.dispose();
    const packed = { data: Float32Array.from(await space.read(z)), shape: [1, 12, 16] };
    agree(got, unpackLatents(packed, { height: 8, width: 6 }).data, 'Flux');
  });

  it('T5 for the tokens, the end state of CLIP for the vector', async () => {
    const files = { ...transformer, ...textFiles('', 'CLIPTextModel', 20, 100), ...t5Files('_2', 300) };
    const parts = ['text_encoder', 'text_encoder_2', 'tokenizer', 'tokenizer_2'];
    const source = folder('FluxPipeline', files, flow, parts);
    const clip = await CLIPTextModel.load(device, source.folder('text_encoder'));
    const { inputIds } = (await Tokenizer.open(source.folder('tokenizer'))).encode('a cat');
    const vector = await (await clip.forward({ inputIds })).poolerOutput.read();
    clip.dispose();
    const t5 = await T5EncoderModel.load(device, source.folder('text_encoder_2'));
    const ids = (await Tokenizer.open(source.folder('tokenizer_2'))).encode('a red cat', { maxLength: 512 }).inputIds;
    const data = await (await t5.forward({ inputIds: ids })).lastHiddenState.read();
    t5.dispose();
    const common = { generator: 2, numInferenceSteps: 1, width: 8, height: 8 };
    const embeds = {
      promptEmbeds: { data, shape: [1, 512, 24] },
      pooledPromptEmbeds: { data: vector, shape: [1, 20] },
    };
    const got = await run(source, { ...common, prompt: 'a cat', prompt2: 'a red cat' });
    expect(got).toEqual(await run(source, { ...common, ...embeds }));
    const controlImage = { data: new Float32Array(3 * 64), shape: [1, 3, 8, 8] };
    expect(await failure(run(source, { ...common, ...embeds, controlImage }))).toBeInstanceOf(UnsupportedError);
  });
});
