/** DeepFloyd IF: recorded runs of the reference library, the stages in a cascade, what is refused and given back. */
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { AbortedError, ConfigError, InvalidArgumentError, UnsupportedError } from '../../src/engine/index.ts';
import { readT5Config } from '../../src/models/textEncoders/t5Config.ts';
import { t5Weights } from '../../src/models/textEncoders/t5EncoderModel.ts';
import { Recording } from '../../src/node/parity/recording.ts';
import { IFCascade } from '../../src/pipelines/imagen/cascade.ts';
import { Pipeline } from '../../src/pipelines/index.ts';
import { TorchGenerator } from '../../src/sampler/index.ts';
import { expectClose, HINT_FACTOR } from '../support/close.ts';
import { adapters } from '../support/gpu.ts';
import { openDevice } from '../support/runGraph.ts';
import { file } from '../loading/files.ts';
import { failure, fixture, fixturesPath } from '../models/fixtures.ts';
import { heldBy } from './folders.ts';
import {
  directory,
  filesOf,
  json,
  jsonOf,
  modelIndex,
  seededWeights,
  textFiles,
  type Files,
  unetFiles,
} from './tinyModels.ts';

const device = await openDevice(adapters()[0]);
const [BASE, LARGE] = ['pipelines/if_base', 'pipelines/if_super_resolution'];

interface Stage {
  guidanceScale: number;
  generator: number;
  timesteps?: number[];
  numInferenceSteps?: number;
  noiseLevel?: number;
}

const { prompt, negativePrompt, superResolution, tolAbsHint, ...base } = JSON.parse(
  readFileSync(`${fixturesPath}/${BASE}/recording.json`, 'utf8'),
) as Stage & { prompt: string[]; negativePrompt: string[]; superResolution: Stage; tolAbsHint: Record<string, number> };

const baseFiles = (changes: Files = {}) => ({
  ...filesOf(BASE),
  ...filesOf('tokenizers/t5', 'tokenizer/'),
  ...changes,
});
const folders = () => ({ base: directory(baseFiles(), 'base'), superResolution: directory(filesOf(LARGE), 'large') });
const dispose = ({ images }: { images: { dispose(): void }[] }) => images.forEach((image) => image.dispose());

it(
  'every step of both stages is the reference library’s, and the cascade is both; nothing is left behind',
  { timeout: 300_000 },
  async () => {
    const before = await heldBy(device);
    const io = await Recording.open(fixture(BASE));
    const want = async (name: string) => io.tensor(`out.${name}`);
    const near = async (got: ArrayLike<number>, name: string) =>
      expectClose(got, (await want(name)).data, HINT_FACTOR * tolAbsHint[name], name);
    const cascade = await IFCascade.load(device, folders());
    const { base: first, superResolution: second } = cascade.stages;
    expect(second.sampleSize).toEqual({ width: 20, height: 20 });
    expect(first.plan().fits).toBe(true);

    const { text, negative } = await first.conditions({ prompt, negativePrompt });
    await near(text.data, 'prompt_embeds');
    await near(negative!.data, 'negative_prompt_embeds');
    const states: number[] = [];
    dispose(
      await first.generate({
        ...base,
        prompt,
        negativePrompt,
        onStep: async ({ state }) => void states.push(...(await state()).x),
      }),
    );
    await near(states, 'base');
    const small = ((await want('base')).data as Float32Array).slice(-2 * 3 * 64);
    const texts = {
      promptEmbeds: await want('prompt_embeds'),
      negativePromptEmbeds: await want('negative_prompt_embeds'),
    };
    states.length = 0;
    const image = { data: small, shape: [2, 3, 8, 8] };
    const onStep = async ({ state }: { state(): Promise<{ x: number[] }> }) => void states.push(...(await state()).x);
    dispose(await second.generate({ ...superResolution, ...texts, image, onStep }));
    await near(states, 'super_res');

    const few = { base: { numInferenceSteps: 2 }, superResolution: { numInferenceSteps: 2, noiseLevel: 40 } };
    const stages: string[] = [];
    const whole = await cascade.generate({
      ...few,
      prompt,
      negativePrompt,
      generator: 5,
      onStep: ({ stage }) => void stages.push(stage),
    });
    const generator = new TorchGenerator(5);
    const one = await first.generate({ ...few.base, prompt, negativePrompt, generator });
    const two = await second.generate({
      ...few.superResolution,
      promptEmbeds: text,
      negativePromptEmbeds: negative,
      image: { data: one.latents, shape: [2, 3, 8, 8] },
      generator,
    });
    expect(whole.latents).toEqual(two.latents);
    expect(whole.smaller).toEqual([{ data: one.latents, shape: [2, 3, 8, 8] }]);
    expect(stages).toEqual(['base', 'base', 'superResolution', 'superResolution']);
    [whole, one, two].forEach(dispose);

    for (const noiseLevel of [-1, 1000, 1.5]) {
      expect(await failure(second.generate({ ...texts, image, noiseLevel }))).toBeInstanceOf(InvalidArgumentError);
    }
    expect((await failure(second.generate({ prompt, image }))).message).toMatch(/promptEmbeds/);
    const three = { data: new Float32Array(3 * 192), shape: [3, 3, 8, 8] };
    expect((await failure(second.generate({ ...texts, image: three }))).message).toMatch(/1 or 2 of image, got 3/);
    expect((await failure(first.generate({ prompt, width: 9 }))).message).toMatch(/multiple of 2/);
    const pictured = { prompt, image };
    expect((await failure(first.generate(pictured))).message).toMatch(/no image .* IFSuperResolutionPipeline/);
    await io.close();
    await cascade.dispose();
    expect(await heldBy(device)).toEqual(before);
  },
);

/** The ×4 upscaler of Stable Diffusion with tiny networks and a text encoder of its own. */
const upscaler = () =>
  directory(
    {
      // A class for each noise level up to 350.
      ...unetFiles('unet_cond_x4_upscaler/config.json', { num_class_embeds: 351 }),
      ...filesOf('vae_kl_sd', 'vae/'),
      ...textFiles('', 'CLIPTextModel', 20, 300),
      'scheduler/scheduler_config.json': json({ _class_name: 'DDIMScheduler', prediction_type: 'v_prediction' }),
      'low_res_scheduler/scheduler_config.json': json({
        _class_name: 'DDPMScheduler',
        beta_schedule: 'squaredcos_cap_v2',
      }),
      'model_index.json': modelIndex(
        'StableDiffusionUpscalePipeline',
        ['unet', 'vae', 'scheduler', 'text_encoder', 'tokenizer'],
        { low_res_scheduler: ['diffusers', 'DDPMScheduler'], max_noise_level: 350 },
      ),
    },
    'upscaler',
  );

it('three stages: what enlarges last reads the texts with an encoder of its own', { timeout: 300_000 }, async () => {
  const before = await heldBy(device);
  const cascade = await IFCascade.load(device, { ...folders(), upscaler: upscaler() });
  const { base: first, superResolution: second, upscaler: third } = cascade.stages;
  const few = { base: { numInferenceSteps: 1 }, superResolution: { numInferenceSteps: 1 } };
  const enlarging = { numInferenceSteps: 2, guidanceScale: 2 };
  const texts = { prompt: ['a red heart', 'a dog'], negativePrompt: ['a cat', ''] };
  const stages: string[] = [];
  const whole = await cascade.generate({
    ...texts,
    ...few,
    upscaler: enlarging,
    generator: 5,
    onStep: ({ stage }) => void stages.push(stage),
  });
  expect(stages).toEqual(['base', 'superResolution', 'upscaler', 'upscaler']);
  const side = 20 * third!.downsampling;
  expect(whole.images.map(({ width, height }) => [width, height])).toEqual([
    [side, side],
    [side, side],
  ]);
  expect(whole.timing.stepMs).toHaveLength(4);

  // The stages one by one, on one generator; the last one by default at a noise level of 100.
  const generator = new TorchGenerator(5);
  const one = await first.generate({ ...few.base, ...texts, generator });
  const small = { data: one.latents, shape: [2, 3, 8, 8] };
  const { text, negative } = await first.conditions(texts);
  const states = { promptEmbeds: text, negativePromptEmbeds: negative };
  const two = await second.generate({ ...few.superResolution, ...states, image: small, generator });
  const larger = { data: two.latents, shape: [2, 3, 20, 20] };
  const hand = { ...texts, ...enlarging, noiseLevel: 100, image: larger };
  const three = await third!.generate({ ...hand, generator });
  expect(whole.latents).toEqual(three.latents);
  expect(whole.smaller).toEqual([small, larger]);
  const planes = async ({ images }: { images: { toPlanes(): Promise<Float32Array> }[] }) =>
    Promise.all(images.map((image) => image.toPlanes()));
  expect(await planes(whole)).toEqual(await planes(three));
  const calmer = await third!.generate({ ...hand, noiseLevel: 10, generator: 1 });
  const noisier = await third!.generate({ ...hand, generator: 1 });
  expect(calmer.latents).not.toEqual(noisier.latents);
  [whole, one, two, three, calmer, noisier].forEach(dispose);

  const embeds = await failure(cascade.generate({ ...states, ...few }));
  expect(embeds).toBeInstanceOf(InvalidArgumentError);
  expect(embeds.message).toMatch(/third stage reads texts with an encoder of its own/);
  const stop = new AbortController();
  const aborted = cascade.generate({
    ...texts,
    ...few,
    upscaler: enlarging,
    signal: stop.signal,
    onStep: ({ stage }) => void (stage === 'upscaler' && stop.abort()),
  });
  expect(await failure(aborted)).toBeInstanceOf(AbortedError);
  await cascade.dispose();
  expect(await heldBy(device)).toEqual(before);
});

it('parts of different models are refused, and nothing is left behind', async () => {
  const before = await heldBy(device);
  const load = (files: Files) => Pipeline.fromPretrained(directory(files, 'wrong'), { device });
  const pipe = await load(baseFiles());
  expect(pipe.sampleSize).toEqual({ width: 8, height: 8 });
  await pipe.dispose();
  const index = jsonOf(`${BASE}/model_index.json`);
  const wide = Object.fromEntries(Object.entries(filesOf(LARGE, '')).filter(([path]) => path.startsWith('unet/')));
  expect((await failure(load(baseFiles(wide)))).message).toMatch(/belongs to another stage/);
  const narrow = { ...jsonOf(`${BASE}/text_encoder/config.json`), d_model: 16 };
  const t5 = {
    'text_encoder/config.json': json(narrow),
    'text_encoder/model.safetensors': file(seededWeights(t5Weights(readT5Config(narrow)), 1)),
  };
  const mixed = await failure(load(baseFiles(t5)));
  expect(mixed).toBeInstanceOf(ConfigError);
  expect(mixed.message).toMatch(/text encoder of 24 channels .* got 16/);
  const twice = { base: folders().base, superResolution: folders().base };
  expect((await failure(IFCascade.load(device, twice))).message).toMatch(/IFSuperResolutionPipeline/);
  const more = { ...index, controlnet: ['diffusers', 'ControlNetModel'] };
  expect(await failure(load(baseFiles({ 'model_index.json': json(more) })))).toBeInstanceOf(UnsupportedError);
  expect(await heldBy(device)).toEqual(before);
});
