/** unCLIP: recorded runs of the reference library, stage by stage; options, and what is refused and given back. */
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { AbortedError, ConfigError, InvalidArgumentError, UnsupportedError } from '../../src/engine/index.ts';
import { Tokenizer, type TruncationWarning } from '../../src/loading/tokenizers/tokenizer.ts';
import { CLIPTextModelWithProjection } from '../../src/models/textEncoders/clipTextModel.ts';
import { Recording } from '../../src/node/parity/recording.ts';
import { Pipeline } from '../../src/pipelines/index.ts';
import type { UnclipOptions, UnclipResult, UnclipStep } from '../../src/pipelines/unclip/options.ts';
import { TorchGenerator } from '../../src/sampler/index.ts';
import { expectClose, HINT_FACTOR } from '../support/close.ts';
import { adapters } from '../support/gpu.ts';
import { openDevice } from '../support/runGraph.ts';
import { failure, fixture, fixturesPath } from '../models/fixtures.ts';
import { heldBy } from './folders.ts';
import { directory, filesOf, json, jsonOf, type Files } from './tinyModels.ts';

const device = await openDevice(adapters()[0]);
const NAME = 'pipelines/unclip';

interface Recorded {
  prompt: string[];
  priorNumInferenceSteps: number;
  decoderNumInferenceSteps: number;
  superResNumInferenceSteps: number;
  generator: number;
  tolAbsHint: Record<string, number>;
}

const recorded = JSON.parse(readFileSync(`${fixturesPath}/${NAME}/recording.json`, 'utf8')) as Recorded;
const { tolAbsHint, ...call } = recorded;

const files = (changes: Files = {}): Files => ({
  ...filesOf(NAME),
  ...filesOf('tokenizers/clip', 'tokenizer/'),
  ...changes,
});

/** States after each step, by stage. */
function collector() {
  const states: Record<string, number[]> = { prior: [], decoder: [], superRes: [] };
  const onStep = async ({ stage, state }: UnclipStep) => void states[stage].push(...(await state()).x);
  return { states, onStep };
}

async function planesOf({ images }: UnclipResult): Promise<number[]> {
  const all: number[] = [];
  for (const image of images) {
    all.push(...(await image.toTensor()));
    image.dispose();
  }
  return all;
}

// Five networks are compiled, and in two batches: on a busy machine that takes its time.
const TIMEOUT = 300_000;

it('every step of every stage is the reference library’s; nothing is left behind', { timeout: TIMEOUT }, async () => {
  const before = await heldBy(device);
  const io = await Recording.open(fixture(NAME));
  const pipe = await Pipeline.fromPretrained(directory(files(), 'unclip'), { device });
  expect(pipe.sampleSize).toEqual({ width: 20, height: 20 });
  const { states, onStep } = collector();
  const cut: string[] = [];
  const result = await pipe({ ...call, onStep, onWarning: ({ removed }: TruncationWarning) => void cut.push(removed) });
  const want = async (name: string) => (await io.tensor(`out.${name}`)).data;
  const near = (got: ArrayLike<number>, data: ArrayLike<number>, name: string) =>
    expectClose(got, data, HINT_FACTOR * tolAbsHint[name], name);
  near(states.prior, await want('prior'), 'prior');
  near(states.decoder, await want('decoder'), 'decoder');
  near(states.superRes, await want('super_res'), 'super_res');
  near(await planesOf(result), await want('image'), 'image');
  expect(cut).toHaveLength(1);
  expect(result.timing.stepMs).toHaveLength(10);
  expect(pipe.plan().fits).toBe(true);
  await io.close();
  await pipe.dispose();
  expect(await heldBy(device)).toEqual(before);
});

const VARIATION = 'pipelines/unclip_variation';
const variationFiles = (changes: Files = {}): Files => {
  const shared = Object.entries(files()).filter(([path]) => !path.startsWith('prior'));
  return { ...Object.fromEntries(shared), ...filesOf(VARIATION), ...changes };
};

it(
  'variations of pictures: from bytes, from what the processor makes of them, from embeddings',
  { timeout: TIMEOUT },
  async () => {
    const before = await heldBy(device);
    const { tolAbsHint: hints, ...told } = JSON.parse(
      readFileSync(`${fixturesPath}/${VARIATION}/recording.json`, 'utf8'),
    ) as Omit<Recorded, 'prompt' | 'priorNumInferenceSteps'> & { decoderGuidanceScale: number };
    const io = await Recording.open(fixture(VARIATION));
    const pipe = await Pipeline.fromPretrained(directory(variationFiles(), 'variation'), { device });
    const { data, shape } = await io.tensor('in.picture');
    const [, height, width] = shape;
    const rgba = [0, 1].map((b) => {
      const at = (i: number) => data[(b * height * width + Math.floor(i / 4)) * 3 + (i % 4)];
      const bytes = Uint8ClampedArray.from({ length: 4 * height * width }, (_, i) => (i % 4 === 3 ? 255 : at(i)));
      return { data: bytes, width, height };
    });
    const { states, onStep } = collector();
    const result = await pipe({ ...told, image: rgba, onStep });
    const near = async (got: ArrayLike<number>, name: string) =>
      expectClose(got, (await io.tensor(`out.${name}`)).data, HINT_FACTOR * hints[name], name);
    await near(states.decoder, 'decoder');
    await near(states.superRes, 'super_res');
    await near(await planesOf(result), 'image');
    // Each picture twice in a row.
    const { data: embeds } = await io.tensor('out.image_embeds');
    const E = embeds.length / 2;
    const row = (b: number) => result.imageEmbeddings.data.subarray(b * E, (b + 1) * E);
    expectClose(row(0), embeds.subarray(0, E), HINT_FACTOR * hints.image_embeds, 'first');
    expect(row(1)).toEqual(row(0));
    const again = await pipe({ ...told, pixelValues: await io.tensor('in.pixel_values') });
    expectClose(again.latents, result.latents, HINT_FACTOR * hints.super_res, 'pixel values');
    const given = await pipe({ ...told, imageEmbeddings: { data: embeds, shape: [2, E] } });
    expectClose(given.latents, result.latents, HINT_FACTOR * hints.super_res, 'embeddings');
    for (const images of [again.images, given.images]) images.forEach((image) => image.dispose());
    expect((await failure(pipe({ image: rgba, pixelValues: await io.tensor('in.pixel_values') }))).message).toMatch(
      /one of image, pixelValues and imageEmbeddings, got image and pixelValues/,
    );
    expect(await failure(pipe({ imageEmbeddings: { data: embeds, shape: [E, 2] } }))).toBeInstanceOf(
      InvalidArgumentError,
    );
    await io.close();
    await pipe.dispose();
    expect(await heldBy(device)).toEqual(before);
  },
);

it(
  'without guidance; from the text encoder’s output; nothing stays behind an abort',
  { timeout: TIMEOUT },
  async () => {
    const before = await heldBy(device);
    const folder = directory(files(), 'unclip');
    const pipe = await Pipeline.fromPretrained(folder, { device });
    const run: (options: UnclipOptions) => Promise<UnclipResult> = pipe;
    const few = { priorNumInferenceSteps: 2, decoderNumInferenceSteps: 2, superResNumInferenceSteps: 2, generator: 4 };
    // Of one shape, so that everything compiles once.
    const alone = { ...few, priorGuidanceScale: 1, decoderGuidanceScale: 1, numImagesPerPrompt: 2 };
    const plain = await run({ ...alone, prompt: 'a red heart' });
    expect(plain.images).toHaveLength(2);
    expect(plain.small.shape).toEqual([2, 3, 8, 8]);
    const [tokenizer, model] = [
      await Tokenizer.open(folder.folder('tokenizer')),
      await CLIPTextModelWithProjection.load(device, folder.folder('text_encoder')),
    ];
    const { inputIds, attentionMask } = tokenizer.encode('a red heart', { maxLength: 12 });
    const out = await model.forward({ inputIds });
    const textModelOutput = {
      textEmbeds: { data: await out.textEmbeds.read(), shape: out.textEmbeds.shape },
      lastHiddenState: { data: await out.lastHiddenState.read(), shape: out.lastHiddenState.shape },
    };
    const texts = { textModelOutput, textAttentionMask: attentionMask };
    const given = await run({ ...alone, ...texts });
    expect(given.latents).toEqual(plain.latents);
    // The first draw by hand, the others by the generator that goes on from there.
    const drawn = () => {
      const generator = new TorchGenerator(4);
      return { priorLatents: generator.randn(2 * 20), generator };
    };
    const one = await run({ ...alone, ...texts, ...drawn() });
    expect(one.latents).toEqual(given.latents);
    const decoderLatents = new TorchGenerator(9).randn(2 * 192);
    const two = await run({ ...alone, ...texts, ...drawn(), decoderLatents });
    expect(two.imageEmbeddings).toEqual(given.imageEmbeddings);
    expect(two.small.data).not.toEqual(given.small.data);
    // Calls that go on at once share the networks; what each is told stays its own.
    const calls = ['a red heart', 'a blue star'].map((prompt) => ({ ...alone, prompt }));
    const apart = [plain, await run(calls[1])];
    const together = await Promise.all(calls.map((one) => run(one)));
    for (const i of [0, 1]) expect(together[i].latents).toEqual(apart[i].latents);
    for (const { images } of [apart[1], ...together]) images.forEach((image) => image.dispose());
    model.dispose();
    for (const { images } of [plain, given, one, two]) images.forEach((image) => image.dispose());

    expect((await failure(pipe({ ...alone, textModelOutput }))).message).toMatch(/textAttentionMask \[1,12\]/);
    expect(await failure(pipe({ ...alone, prompt: 'a', priorLatents: new Float32Array(3) }))).toBeInstanceOf(
      InvalidArgumentError,
    );
    expect(await failure(pipe({ ...few, prompt: 'a', priorGuidanceScale: NaN }))).toBeInstanceOf(InvalidArgumentError);
    const other = { ...alone, prompt: 'a', guidanceScale: 3 };
    expect((await failure(pipe(other))).message).toMatch(
      /no guidanceScale .* priorGuidanceScale, decoderGuidanceScale/,
    );
    for (const stage of ['prior', 'decoder', 'superRes']) {
      const stop = new AbortController();
      const onStep = (event: UnclipStep) => void (event.stage === stage && stop.abort());
      expect(await failure(pipe({ ...alone, prompt: 'a', onStep, signal: stop.signal }))).toBeInstanceOf(AbortedError);
    }
    await pipe.dispose();
    expect(await heldBy(device)).toEqual(before);
  },
);

it('parts of different models are refused, and nothing is left behind', async () => {
  const before = await heldBy(device);
  const load = (changed: Files) => failure(Pipeline.fromPretrained(directory(changed, 'wrong'), { device }));
  const short = await load(files(filesOf('prior_karlo', 'prior/')));
  expect(short).toBeInstanceOf(ConfigError);
  expect(short.message).toMatch(/prior of 16 places, for texts of 12 tokens, got 11/);
  const size = (name: string, fields: object) => ({
    [`${name}/config.json`]: json({ ...jsonOf(`${NAME}/${name}/config.json`), ...fields }),
  });
  expect((await load(files(size('decoder', { sample_size: null })))).message).toMatch(/what size they paint/);
  expect((await load(files(filesOf('unet2d_ddpm_cifar', 'super_res_last/')))).message).toMatch(/super_res_last/);
  const index = { ...jsonOf(`${NAME}/model_index.json`), controlnet: ['diffusers', 'ControlNetModel'] };
  expect(await load(files({ 'model_index.json': json(index) }))).toBeInstanceOf(UnsupportedError);
  const processor = jsonOf(`${VARIATION}/feature_extractor/preprocessor_config.json`);
  const large = { 'feature_extractor/preprocessor_config.json': json({ ...processor, crop_size: 16 }) };
  expect((await load(variationFiles(large))).message).toMatch(/pictures of 12×12 .* got 16×16/);
  expect(await heldBy(device)).toEqual(before);
});
