import { describe, expect, test } from 'vitest';
import { ConfigError, FormatError, NotFoundError } from '../../src/engine/errors.ts';
import { findWeights, openWeights, readConfig, readModelIndex } from '../../src/loading/component.ts';
import { filesDirectory, type Directory } from '../../src/loading/directory.ts';
import { expectError, f32, file } from './files.ts';

const weights = file({ w: f32([2]) });
const folder = (files: Record<string, Uint8Array | string>, name = 'model/unet'): Directory =>
  filesDirectory(
    Object.fromEntries(Object.entries(files).map(([path, data]) => [path, new Blob([data as BlobPart])])),
    name,
  );
/** The same folder as a place that cannot list, like a URL. */
const unlisted = (directory: Directory): Directory =>
  Object.assign(Object.create(directory) as Directory, { list: async () => undefined });
const names = (...list: string[]): Directory => folder(Object.fromEntries(list.map((name) => [name, weights])));

const D = 'diffusion_pytorch_model';

describe.each([
  ['listed', (d: Directory) => d],
  ['not listed', unlisted],
])('findWeights, %s', (_name, seen) => {
  test.each([
    ['the plain file', [`${D}.safetensors`, `${D}.fp16.safetensors`], {}, `${D}.safetensors`, undefined],
    ['of a text encoder', ['model.safetensors'], {}, 'model.safetensors', undefined],
    [
      'the variant',
      [`${D}.safetensors`, `${D}.fp16.safetensors`],
      { variant: 'fp16' },
      `${D}.fp16.safetensors`,
      'fp16',
    ],
    ['plain for want of the precision', [`${D}.safetensors`], { variant: 'fp16' }, `${D}.safetensors`, undefined],
    ['half for want of the plain', [`${D}.fp16.safetensors`], {}, `${D}.fp16.safetensors`, 'fp16'],
    ['an index', [`${D}.safetensors.index.json`], {}, `${D}.safetensors.index.json`, undefined],
    [
      'a variant’s index',
      [`${D}.safetensors.index.fp16.json`, `${D}.safetensors`],
      { variant: 'fp16' },
      `${D}.safetensors.index.fp16.json`,
      'fp16',
    ],
    [
      'a variant’s index, other name',
      [`${D}.fp16.safetensors.index.json`],
      { variant: 'fp16' },
      `${D}.fp16.safetensors.index.json`,
      'fp16',
    ],
    ['file before index', [`${D}.safetensors.index.json`, `${D}.safetensors`], {}, `${D}.safetensors`, undefined],
    ['a base of one’s own', ['vae.safetensors', `${D}.safetensors`], { base: 'vae' }, 'vae.safetensors', undefined],
    ['safetensors beside a pickle', [`${D}.bin`, `${D}.safetensors`], {}, `${D}.safetensors`, undefined],
  ] as [string, string[], object, string, string | undefined][])('%s', async (_what, files, query, path, variant) => {
    const found = await findWeights(seen(names(...files)), query);
    expect(found).toEqual({ path, variant, sharded: path.endsWith('.json') });
  });

  test.each([`${D}.bin`, 'pytorch_model.bin', 'model.bin'])('only the pickle %s', async (name) => {
    const message = [new RegExp(name), /is a pickle: loading it could run code/, /save_pretrained/];
    await expectError(findWeights(seen(names(name))), FormatError, ...message);
  });

  test('nothing; or only a variant that holds other weights', async () => {
    await expectError(findWeights(seen(names('config.json'))), NotFoundError, /model\/unet/, /diffusion_pytorch_model/);
    await expectError(findWeights(seen(names(`${D}.non_ema.safetensors`))), NotFoundError);
    await expectError(findWeights(seen(names(`${D}.safetensors`)), { variant: 'non_ema' }), NotFoundError, /non_ema/);
  });
});

test('a folder that lists names the pickles and the safetensors files that it has', async () => {
  await expectError(findWeights(names('v1-5.ckpt')), FormatError, /v1-5\.ckpt, which is a pickle/);
  await expectError(findWeights(names('other.safetensors')), NotFoundError, /got other\.safetensors/);
});

test('openWeights: a file, shards, and a bad file', async () => {
  const single = await openWeights(folder({ [`${D}.safetensors`]: weights }), { rename: (key) => `x.${key}` });
  expect([...(await single.read('x.w'))]).toEqual([0, 1]);
  const index = JSON.stringify({ weight_map: { w: 'model-00001-of-00001.safetensors' } });
  const shards = folder({ 'model.safetensors.index.json': index, 'model-00001-of-00001.safetensors': weights });
  expect([...(await (await openWeights(shards)).read('w'))]).toEqual([0, 1]);
  const bad = folder({ 'model.safetensors': weights.slice(0, -1) });
  await expectError(openWeights(bad), FormatError, /model\/unet\/model\.safetensors/, /truncated/);
});

describe('readConfig', () => {
  const config = (json: unknown): Directory => folder({ 'config.json': JSON.stringify(json) });

  test('of the expected class, by either library', async () => {
    const unet = { _class_name: 'UNet2DModel', in_channels: 3 };
    expect(await readConfig(config(unet), 'UNet2DModel')).toEqual(unet);
    expect(await readConfig(config(unet))).toEqual(unet);
    const clip = { architectures: ['CLIPTextModel'], model_type: 'clip_text_model' };
    expect(await readConfig(config(clip), ['CLIPTextModel', 'CLIPTextModelWithProjection'])).toEqual(clip);
    const scheduler = folder({ 'scheduler_config.json': '{"_class_name":"DDIMScheduler"}' });
    expect(await readConfig(scheduler, 'DDIMScheduler', { file: 'scheduler_config.json' })).toBeTruthy();
  });

  test.each([
    [{ _class_name: 'AutoencoderKL' }, /UNet2DModel, got AutoencoderKL/],
    [{ architectures: ['CLIPTextModel'] }, /got CLIPTextModel/],
    [{ in_channels: 3 }, /got one that names no class/],
    [{ _class_name: 3, architectures: 'x' }, /got one that names no class/],
  ])('of another class: %j', async (json, message) => {
    const error = await expectError(
      readConfig(config(json), 'UNet2DModel'),
      ConfigError,
      message,
      /model\/unet\/config/,
    );
    expect(error.field).toBe('_class_name');
  });

  test('missing, not an object, not JSON', async () => {
    await expectError(readConfig(folder({}), 'UNet2DModel'), NotFoundError, /model\/unet/, /config\.json/);
    await expectError(readConfig(config([1]), 'UNet2DModel'), FormatError, /expected a JSON object, got an array/);
    await expectError(readConfig(folder({ 'config.json': 'x' }), 'UNet2DModel'), FormatError, /expected JSON/);
  });
});

describe('readModelIndex', () => {
  test('components, those left out, and options', async () => {
    const json = {
      _class_name: 'StableDiffusionPipeline',
      _diffusers_version: '0.31.0',
      unet: ['diffusers', 'UNet2DConditionModel'],
      safety_checker: [null, null],
      requires_safety_checker: false,
    };
    const index = await readModelIndex(folder({ 'model_index.json': JSON.stringify(json) }), 'StableDiffusionPipeline');
    expect(index.className).toBe('StableDiffusionPipeline');
    expect([...index.components]).toEqual([
      ['unet', { library: 'diffusers', className: 'UNet2DConditionModel' }],
      ['safety_checker', { library: null, className: null }],
    ]);
    expect(index.options).toEqual({ requires_safety_checker: false });
  });

  test('of another class, or of none', async () => {
    const other = folder({ 'model_index.json': '{"_class_name":"DiTPipeline"}' });
    await expectError(readModelIndex(other, 'StableDiffusionPipeline'), ConfigError, /got DiTPipeline/);
    await expectError(readModelIndex(folder({ 'model_index.json': '{}' })), ConfigError, /names no class/);
    await expectError(readModelIndex(folder({})), NotFoundError, /model_index\.json/);
  });
});
