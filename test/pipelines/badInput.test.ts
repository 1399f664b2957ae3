/**
 * Bad input to pipelines, one by one: each ends in a typed error that says what to do, or in a warning, and nothing is
 * left on the GPU (counted). More of each kind stands beside what it is about: source/source.test.ts (hubs),
 * source/pipelineLoras.test.ts, singleFilePipeline.test.ts, ../loading/checkpoint.test.ts (shards),
 * ../loading/tokenizers, ../sampler/badInput.test.ts.
 */
import { afterAll, describe, expect, it } from 'vitest';
import {
  ConfigError,
  FormatError,
  InvalidArgumentError,
  NotFoundError,
  UnsupportedError,
  WeightError,
} from '../../src/engine/index.ts';
import type { TruncationWarning } from '../../src/loading/tokenizers/tokenizer.ts';
import { Pipeline, type Pipeline as Loaded } from '../../src/pipelines/index.ts';
import type { TextToImageOptions } from '../../src/pipelines/options/textToImage.ts';
import { f32, file } from '../loading/files.ts';
import { serve } from '../loading/server.ts';
import { failure } from '../models/fixtures.ts';
import { adapters } from '../support/gpu.ts';
import { normals } from '../support/random.ts';
import { openDevice } from '../support/runGraph.ts';
import { heldBy } from './folders.ts';
import {
  directory,
  json,
  jsonOf,
  modelIndex,
  schedule,
  textConfig,
  textFiles,
  unetFiles,
  vaeFiles,
  type Files,
} from './tinyModels.ts';

const device = await openDevice(adapters()[0]);
const before = await heldBy(device);
afterAll(async () => expect(await heldBy(device)).toEqual(before));

const UNET = 'pipe_sd_ddim/unet/config.json';
const PARTS = ['unet', 'vae', 'scheduler', 'text_encoder', 'tokenizer'];
const whole: Files = {
  ...vaeFiles(),
  ...unetFiles(UNET, {}),
  ...textFiles('', 'CLIPTextModel', 16, 100),
  'scheduler/scheduler_config.json': json(schedule('DDIMScheduler', { clip_sample: false })),
  'model_index.json': modelIndex('StableDiffusionPipeline', PARTS),
};
const load = (changes: Files = {}, without: readonly string[] = []) => {
  const files = Object.fromEntries(
    Object.entries({ ...whole, ...changes }).filter(([path]) => !without.includes(path)),
  );
  return Pipeline.fromPretrained(directory(files, 'bad'), { device, dtype: 'f32' });
};
type Kind = abstract new (...args: never[]) => Error;

/** Fails as it should, and gives back what it had taken. */
async function refused(what: Promise<unknown>, kind: Kind, message: RegExp, held = before): Promise<void> {
  const error = await failure(what);
  expect(error.message).toMatch(message);
  expect(error).toBeInstanceOf(kind);
  expect(await heldBy(device)).toEqual(held);
}

describe('folders', () => {
  it('mixed components: an autoencoder of other latents, a text encoder of another width', async () => {
    const channels = { in_channels: 8, out_channels: 8 };
    await refused(load(unetFiles(UNET, channels)), InvalidArgumentError, /latent channels.*different models/);
    const pipe = await load(textFiles('', 'CLIPTextModel', 24, 100));
    const held = await heldBy(device);
    const call = pipe({ prompt: 'a cat', numInferenceSteps: 1, width: 8, height: 8 });
    const error = await failure(call);
    expect(error).toBeInstanceOf(InvalidArgumentError);
    expect(error.message).toMatch(/16/);
    expect((await heldBy(device)).bytes).toBeGreaterThanOrEqual(held.bytes);
    await pipe.dispose();
    expect(await heldBy(device)).toEqual(before);
  });

  it('the tokenizer of another model', async () => {
    const small = { ...textConfig('CLIPTextModel', 16), vocab_size: 100, eos_token_id: 99, bos_token_id: 98 };
    const narrow = textFiles('', 'CLIPTextModel', 16, 100);
    const weights = narrow['text_encoder/model.safetensors'];
    expect(weights.length).toBeGreaterThan(0);
    // Fewer tokens than the tokenizer knows: the weights say so first, being of another table.
    await refused(load({ 'text_encoder/config.json': json(small) }), WeightError, /token_embedding/);
    await refused(
      load(
        {},
        Object.keys(whole).filter((path) => path.startsWith('tokenizer/')),
      ),
      NotFoundError,
      /tokenizer/,
    );
    const config = jsonOf('tokenizers/clip/tokenizer_config.json');
    const pipe = await load({ 'tokenizer/tokenizer_config.json': json({ ...config, model_max_length: 40 }) });
    const error = await failure(pipe({ prompt: 'a cat', numInferenceSteps: 1 }));
    expect(error).toBeInstanceOf(ConfigError);
    expect(error.message).toMatch(/12 tokens.*40; take the tokenizer that belongs to it/);
    await pipe.dispose();
  });

  it('an unknown scheduler, an unknown kind of pipeline, an unknown component, a field that is not understood', async () => {
    const scheduler = 'scheduler/scheduler_config.json';
    await refused(load({ [scheduler]: json(schedule('NoSuchScheduler')) }), UnsupportedError, /NoSuchScheduler/);
    await refused(
      load({ 'model_index.json': modelIndex('NoSuchPipeline', PARTS) }),
      UnsupportedError,
      /NoSuchPipeline.*does not run/,
    );
    await refused(
      load({ 'model_index.json': json({ _class_name: 'UNet2DModel' }) }),
      ConfigError,
      /expected a pipeline/,
    );
    const strange = json({ ...jsonOf(UNET), no_such_field: 3 });
    await refused(load({ 'unet/config.json': strange }), ConfigError, /no_such_field/);
  });

  it('a shard that is missing, weights that are missing, weights as a pickle', async () => {
    const weights = 'unet/diffusion_pytorch_model.safetensors';
    const map = { weight_map: { 'conv_in.weight': 'diffusion_pytorch_model-00001-of-00002.safetensors' } };
    const index = { 'unet/diffusion_pytorch_model.safetensors.index.json': json({ metadata: {}, ...map }) };
    await refused(load(index, [weights]), NotFoundError, /00001-of-00002/);
    await refused(load({}, [weights]), NotFoundError, /unet.*safetensors/);
    const pickle = { 'unet/diffusion_pytorch_model.bin': new Uint8Array(8) };
    await refused(load(pickle, [weights]), FormatError, /pickle.*safetensors/s);
    await refused(load({}, ['model_index.json']), NotFoundError, /model_index\.json/);
  });

  it('a hub that refuses, and one that has no such model', async () => {
    for (const [status, code, message] of [
      [401, 'GatedRepo', /401.*accept its terms.*token/],
      [401, undefined, /401.*token/],
      [404, 'RepoNotFound', /404.*no such model/],
    ] as const) {
      const hook = (_: unknown, response: import('node:http').ServerResponse) => {
        response.writeHead(status, code ? { 'x-error-code': code } : {}).end();
        return true;
      };
      const server = await serve({}, { hook });
      const call = Pipeline.fromPretrained('org/model', { device, endpoint: server.url });
      await refused(call, NotFoundError, message);
      await server.close();
    }
  });
});

describe('calls', () => {
  const call: TextToImageOptions = { generator: 1, numInferenceSteps: 1, guidanceScale: 3, width: 8, height: 8 };
  const open = async (work: (pipe: Loaded, held: typeof before) => Promise<void>) => {
    const pipe = await load();
    try {
      await work(pipe, await heldBy(device));
    } finally {
      await pipe.dispose();
    }
    expect(await heldBy(device)).toEqual(before);
  };

  it('a prompt that is too long is cut, and a warning says what was left out', () =>
    open(async (pipe) => {
      const warnings: TruncationWarning[] = [];
      const prompt = 'a red heart and a blue heart and a green heart and a cat';
      const { images } = await pipe({ ...call, prompt, onWarning: (warning) => warnings.push(warning) });
      images.forEach((image) => image.dispose());
      expect(warnings).toHaveLength(1);
      expect(warnings[0]).toMatchObject({ kind: 'truncated', maxLength: 12 });
      expect(warnings[0].message).toMatch(/left out: ".*cat/);
    }));

  it('masks and pictures of sizes that differ, options out of range', () =>
    open(async (pipe) => {
      const picture = (side: number, channels = 3) => ({
        data: normals(2, channels * side * side, { std: 0.3 }),
        shape: [1, channels, side, side],
      });
      const prompt = 'a cat';
      const own = { ...call, width: undefined, height: undefined, prompt };
      const maskImage = { ...picture(4, 1), data: new Float32Array(16).fill(1) };
      const wrong: [TextToImageOptions, RegExp][] = [
        [{ ...own, image: picture(8), maskImage }, /mask/i],
        [{ ...own, image: picture(7) }, /multiple of 2.*7/],
        [{ ...own, image: picture(8, 1) }, /image \[B,3,H,W\]/],
        [{ ...call, prompt, width: 9 }, /width.*multiple/],
        [{ ...call }, /prompt or promptEmbeds/],
        [{ ...call, prompt, numInferenceSteps: 0 }, /step/i],
        [{ ...own, image: picture(8), strength: 2 }, /strength/],
      ];
      // Programs of the parts that come before the check stay with the pipeline: a second round finds them.
      for (const [options] of wrong) await failure(pipe(options));
      const held = await heldBy(device);
      for (const [options, message] of wrong) await refused(pipe(options), InvalidArgumentError, message, held);
    }));

  it('an adapter for another model, or none at all', () =>
    open(async (pipe, held) => {
      const strange = file({
        'unet.no_such_block.to_q.lora_A.weight': f32([2, 8], normals(1, 16)),
        'unet.no_such_block.to_q.lora_B.weight': f32([8, 2], normals(2, 16)),
      });
      const source = new File([strange as Uint8Array<ArrayBuffer>], 'other.safetensors');
      await refused(pipe.loadLoras([{ source }]), WeightError, /no_such_block/, held);
      const none = new File([file(filesOfNothing()) as Uint8Array<ArrayBuffer>], 'none.safetensors');
      const error = await failure(pipe.loadLoras([{ source: none }]));
      expect(error.message).toMatch(/none\.safetensors|LoRA|adapter|lora/);
      expect(await heldBy(device)).toEqual(held);
    }));
});

const filesOfNothing = () => ({ 'conv_in.weight': f32([1], [1]) });
