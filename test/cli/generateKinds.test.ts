/** `daguerre generate` with every kind of model, as folders on disk of recorded networks. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readUNet2DConfig, unet2dWeights } from '../../src/models/index.ts';
import { InvalidArgumentError, NotFoundError } from '../../src/engine/errors.ts';
import { EXIT, InterruptedError, UsageError } from '../../src/node/cli/exit.ts';
import { generate } from '../../src/node/cli/generate.ts';
import { checkKind, kindOf } from '../../src/node/cli/generateKinds.ts';
import { checkCombination, type GenerateOptions } from '../../src/node/cli/generateOptions.ts';
import { main } from '../../src/node/cli/main.ts';
import { profileCommand } from '../../src/node/cli/profile.ts';
import type { Terminal } from '../../src/node/cli/terminal.ts';
import { decodePng, encodePng, type Raster } from '../../src/node/png.ts';
import { file } from '../loading/files.ts';
import { below, ldmVae, toLdmUnet } from '../loading/originalLayout.ts';
import { fixturesPath, tensorsOf } from '../models/fixtures.ts';
import {
  controlNetFiles,
  filesOf,
  type Files,
  json,
  jsonOf,
  modelIndex,
  seededWeights,
  textFiles,
} from '../pipelines/tinyModels.ts';
import { listener } from './listener.ts';

let place: string;
const made: Record<string, string> = {};
const quiet = new AbortController().signal;

/** Writes files below a folder of their own. @returns its path */
function store(name: string, files: Files): string {
  const folder = join(place, 'models', name);
  for (const [path, bytes] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), bytes);
  }
  return (made[name] = folder);
}

/** A picture of one colour per pixel, by its place. */
async function png(name: string, width: number, height: number): Promise<string> {
  const data = new Uint8Array(4 * width * height).map((_, i) => (i % 4 === 3 ? 255 : (37 * i) % 256));
  const path = join(place, name);
  writeFileSync(path, await encodePng({ width, height, data }));
  return path;
}

const index = (className: string, parts: Record<string, string>, fields: object = {}) =>
  json({
    _class_name: className,
    ...Object.fromEntries(Object.entries(parts).map(([name, own]) => [name, ['diffusers', own]])),
    ...fields,
  });

beforeAll(async () => {
  place = mkdtempSync(join(tmpdir(), 'daguerre-kinds-'));
  const parts = ['unet', 'vae', 'scheduler', 'text_encoder', 'tokenizer'];
  store('tiny-sd', {
    ...filesOf('pipe_sd_ddim'),
    ...textFiles('', 'CLIPTextModel', 16, 300),
    'model_index.json': modelIndex('StableDiffusionPipeline', parts),
  });
  store('tiny-few', {
    ...filesOf('pipe_sd_ddim'),
    ...textFiles('', 'CLIPTextModel', 16, 300),
    'model_index.json': modelIndex('LatentConsistencyModelPipeline', parts),
  });
  store('tiny-control', {
    ...filesOf('pipe_sd_ddim'),
    ...controlNetFiles('pipe_sd_ddim/unet/config.json', 700),
    ...textFiles('', 'CLIPTextModel', 16, 300),
    'model_index.json': modelIndex('StableDiffusionControlNetPipeline', [...parts, 'controlnet']),
  });
  const low = { _class_name: 'DDPMScheduler', beta_schedule: 'squaredcos_cap_v2' };
  store('tiny-x2', {
    ...filesOf('unet_cond_x4_upscaler', 'unet/'),
    ...filesOf('vae_kl_sd', 'vae/'),
    ...textFiles('', 'CLIPTextModel', 20, 300),
    'scheduler/scheduler_config.json': json({ _class_name: 'DDIMScheduler', prediction_type: 'v_prediction' }),
    'low_res_scheduler/scheduler_config.json': json(low),
    'model_index.json': modelIndex('StableDiffusionUpscalePipeline', parts, {
      low_res_scheduler: ['diffusers', 'DDPMScheduler'],
      max_noise_level: 19,
    }),
  });
  const beside = { ...jsonOf('unet2d_ldm_celebahq/config.json'), in_channels: 6 };
  store('tiny-sr', {
    ...filesOf('vq_ldm', 'vqvae/'),
    'unet/config.json': json(beside),
    'unet/diffusion_pytorch_model.safetensors': file(seededWeights(unet2dWeights(readUNet2DConfig(beside)), 900)),
    'scheduler/scheduler_config.json': json({ _class_name: 'DDIMScheduler', clip_sample: false }),
    'model_index.json': index('LDMSuperResolutionPipeline', {
      unet: 'UNet2DModel',
      vqvae: 'VQModel',
      scheduler: 'DDIMScheduler',
    }),
  });
  store('tiny-ddim', {
    ...filesOf('unet2d_ddpm_cifar', 'unet/'),
    'scheduler/scheduler_config.json': json({ _class_name: 'DDIMScheduler', clip_sample: true }),
    'model_index.json': index('DDIMPipeline', { unet: 'UNet2DModel', scheduler: 'DDIMScheduler' }),
  });
});
afterAll(() => rmSync(place, { recursive: true, force: true }));

const options = (more: Partial<GenerateOptions>): GenerateOptions => ({
  model: made['tiny-sd'],
  classes: [],
  steps: 2,
  guidance: 3,
  seed: 5,
  batch: 1,
  out: join(place, 'out'),
  dtype: 'f32',
  adapter: 'swiftshader',
  separate: false,
  scale: 1,
  ...more,
});
const read = async (path: string): Promise<Raster> => decodePng(readFileSync(path));

describe('texts', () => {
  test('a picture of each text, as often as asked, alone the same', async () => {
    const terminal = listener();
    const prompts = ['a red heart', 'a blue star'];
    const run = await generate(options({ prompts, negative: 'a dog', batch: 2, separate: true }), terminal, quiet);
    expect(run.orders).toEqual([
      { prompt: prompts[0], seed: 5 },
      { prompt: prompts[0], seed: 6 },
      { prompt: prompts[1], seed: 7 },
      { prompt: prompts[1], seed: 8 },
    ]);
    expect(readdirSync(join(place, 'out'))).toContain('tiny-sd-3-a-blue-star-seed-7.png');
    expect(terminal.results[0]).toMatch(/tiny-sd-sheet\.png +4 pictures, seeds 5 to 8$/);
    expect(terminal.results[1]).toMatch(/a red heart developing, 2 steps$/);
    expect(run.made.strip.map(({ step }) => step)).toEqual([0, 1, 2]);
    expect(run.made.strip[0].raster).not.toEqual(run.made.strip[1].raster);
    const other = await generate(options({ prompts: [prompts[1]], seed: 7, negative: 'a dog' }), listener(), quiet);
    expect(other.made.pictures[0].data).toEqual(run.made.pictures[2].data);
    const plain = await generate(options({ prompts: [prompts[1]], seed: 7 }), listener(), quiet);
    expect(plain.made.pictures[0].data).not.toEqual(run.made.pictures[2].data);
  });

  test('what nobody asked for is as the model does it', async () => {
    const call = options({ model: made['tiny-few'], prompts: ['a red heart'], steps: 20 });
    const run = await generate({ ...call, untold: ['steps', 'guidance'] }, listener(), quiet);
    expect(run.made.stepMs).toHaveLength(4);
    expect(run.made.steps).toBe(4);
  });

  test('from a picture, with the strength of it, and in a mask', async () => {
    const image = await png('start.png', 24, 16);
    const start = await read(image);
    const part = await generate(options({ prompts: ['a dog'], image, strength: 0.5, steps: 4 }), listener(), quiet);
    expect(part.made.stepMs).toHaveLength(2);
    expect(part.made.steps).toBe(2);
    expect(part.made.pictures[0]).toMatchObject({ width: 24, height: 16 });
    expect(part.made.strip[0].raster.data).toEqual(start.data);
    const whole = await generate(options({ prompts: ['a dog'], image, mask: image }), listener(), quiet);
    expect(whole.made.pictures[0]).toMatchObject({ width: 24, height: 16 });
  });

  test('a ControlNet sees a picture, whose size the result has', async () => {
    const control = await png('edges.png', 24, 16);
    const other = await png('others.png', 16, 24);
    const call = { model: made['tiny-control'], prompts: ['a dog'] };
    const run = await generate(options({ ...call, controls: [control] }), listener(), quiet);
    expect(run.made.pictures[0]).toMatchObject({ width: 24, height: 16 });
    const odd = generate(options({ ...call, controls: [control, other] }), listener(), quiet);
    await expect(odd).rejects.toThrow(/--control: expected 24×16 as the first, got 16×24/);
  });

  test('one file needs a tokenizer, whose folder an option names', async () => {
    const path = join(place, 'sd.safetensors');
    const unet = Object.entries(await tensorsOf('pipe_sd_ddim/unet'));
    const renamed = unet.map(([key, tensor]) => [toLdmUnet(key, 1, [false, true]), tensor]);
    const vae = below('first_stage_model.', ldmVae(await tensorsOf('pipe_sd_ddim/vae'), 2));
    writeFileSync(path, file({ ...below('model.diffusion_model.', Object.fromEntries(renamed)), ...vae }));
    const bare = generate(options({ model: path, prompts: ['a dog'] }), listener(), quiet);
    await expect(bare).rejects.toThrow(/--prompt: expected .* text encoder, got .*one file .*--tokenizer/);
    // With one it is opened; that these weights are of no published kind is then found out.
    const tokenizer = join(fixturesPath, 'tokenizers/clip');
    const opened = generate(options({ model: path, prompts: ['a dog'], tokenizer }), listener(), quiet);
    await expect(opened).rejects.toThrow(/^single file .*sd\.safetensors/);
  });

  test('Ctrl-C', async () => {
    const controller = new AbortController();
    const notes: string[] = [];
    const terminal: Terminal = { columns: 80, out: () => {}, note: (line) => void notes.push(line) };
    const stop = setInterval(() => notes.includes('developing …') && controller.abort(), 1);
    const call = options({ prompts: ['a dog'], steps: 900, out: join(place, 'interrupted') });
    try {
      const run = generate(call, terminal, controller.signal);
      await expect(run).rejects.toThrow(InterruptedError);
      await expect(run).rejects.toThrow(/^stopped at step \d+ of 900; no file was written$/);
    } finally {
      clearInterval(stop);
    }
    expect(readdirSync(place)).not.toContain('interrupted');
  });
});

describe('other kinds', () => {
  test('from noise alone: so many pictures, each of its own seed', async () => {
    const model = made['tiny-ddim'];
    const run = await generate(options({ model, count: 2, untold: ['guidance'] }), listener(), quiet);
    expect(run.orders).toEqual([{ seed: 5 }, { seed: 6 }]);
    const alone = await generate(options({ model, seed: 6, untold: ['guidance'] }), listener(), quiet);
    expect(alone.made.pictures[0].data).toEqual(run.made.pictures[1].data);
    expect(alone.made.strip.map(({ step }) => step)).toEqual([0, 1, 2]);
  });

  test('small pictures are enlarged, by a text or without', async () => {
    const image = await png('small.png', 8, 8);
    const model = made['tiny-x2'];
    const run = await generate(options({ model, prompts: ['a dog'], image, noiseLevel: 7 }), listener(), quiet);
    const [{ width }] = run.made.pictures;
    expect(width).toBeGreaterThan(8);
    expect(run.made.strip[0].raster.width).toBe(width);
    const noisy = generate(options({ model, prompts: ['a dog'], image, noiseLevel: 20 }), listener(), quiet);
    await expect(noisy).rejects.toThrow(/noiseLevel.*19/);

    const call = options({ model: made['tiny-sr'], image, batch: 2, untold: ['guidance'] });
    const larger = await generate(call, listener(), quiet);
    expect(larger.made.runs).toEqual([1, 1]);
    expect(larger.made.pictures.map((picture) => picture.width)).toEqual([16, 16]);
    expect(larger.made.pictures[0].data).not.toEqual(larger.made.pictures[1].data);
  });

  test('a DiT that names no classes takes their numbers', async () => {
    const model = join(fixturesPath, 'pipe_dit_dpmpp');
    const run = await generate(options({ model, classes: ['1,0'] }), listener(), quiet);
    expect(run.orders.map(({ label }) => label)).toEqual([1, 0]);
    const named = generate(options({ model, classes: ['cat'] }), listener(), quiet);
    await expect(named).rejects.toThrow(/--class: expected a number, since this model does not name .*, got "cat"/);
    await expect(generate(options({ model }), listener(), quiet)).rejects.toThrow(/--class: .*, got none/);
  });

  test('they are profiled, with or without a decoder', async () => {
    for (const name of ['tiny-sd', 'tiny-ddim']) {
      const terminal = listener();
      const status = await profileCommand(made[name], { batch: 1, dtype: 'f32', adapter: 'swiftshader' }, terminal);
      expect(status).toBe(0);
      expect(terminal.results.join('\n')).toMatch(/unet\n[^]*conv2d/);
      expect(/\ndecoder\n/.test(terminal.results.join('\n'))).toBe(name === 'tiny-sd');
    }
  });
});

describe('options that do not fit', () => {
  const has =
    (...parts: string[]) =>
    (part: string) =>
      parts.includes(part);
  const text = has('text_encoder', 'tokenizer');
  test.each([
    ['DiTPipeline', { prompts: ['x'] }, /^--prompt: expected with models of texts \(StableDiffusion.*got it with DiT/],
    ['ClassLatentDiffusionPipeline', { negative: 'x' }, /^--negative: expected with models of texts/],
    ['StableDiffusionPipeline', { classes: ['1'] }, /^--class: expected with models of classes \(ClassLatentDiff/],
    ['StableDiffusionPipeline', { prompts: ['x'], controls: ['c'] }, /^--control: .*StableDiffusionControlNetPipeline/],
    ['StableDiffusionPipeline', { prompts: ['x'], count: 3 }, /^--count: expected with models without texts/],
    ['StableDiffusionPipeline', { prompts: ['x'], tokenizer: 't' }, /^--tokenizer: expected with checkpoints in one/],
    ['StableDiffusionPipeline', { prompts: ['x'], sampler: 'ddim' }, /^--sampler: expected with models of classes/],
    ['StableDiffusionPipeline', {}, /^--prompt: expected with StableDiffusionPipeline, got none/],
    ['StableDiffusion3Pipeline', { prompts: ['x'], eta: 1 }, /^--eta: expected with models whose schedule/],
    ['FluxPipeline', { prompts: ['x'], negative: 'i' }, /^--negative: expected with models of texts/],
    ['IFPipeline', { prompts: ['x'], image: 'i' }, /^--image: expected with StableDiffusionPipeline, .*IFPipeline/],
    ['IFPipeline', { prompts: ['x'], strength: 0.5 }, /^--strength: .* got it with IFPipeline/],
    ['IFPipeline', { prompts: ['x'], mask: 'i' }, /^--mask: .* got it with IFPipeline/],
    ['IFSuperResolutionPipeline', { prompts: ['x'] }, /^--image: expected with IFSuper.*name the small picture/],
    ['IFSuperResolutionPipeline', { image: 'i' }, /^--prompt: expected with IFSuperResolutionPipeline, got none/],
    ['UnCLIPPipeline', { prompts: ['x'], image: 'i' }, /^--image: .* got it with UnCLIPPipeline/],
    ['UnCLIPPipeline', { prompts: ['x'], eta: 1 }, /^--eta: .* got it with UnCLIPPipeline/],
    ['UnCLIPImageVariationPipeline', {}, /^--image: expected with UnCLIP.*name the picture to vary/],
    ['UnCLIPImageVariationPipeline', { prompts: ['x'], image: 'i' }, /^--prompt: .* got it with UnCLIPImageVar/],
    ['StableDiffusionInstructPix2PixPipeline', { prompts: ['x'] }, /^--image: .*name the picture to edit/],
    ['StableDiffusionInstructPix2PixPipeline', { prompts: ['x'], image: 'i', strength: 1 }, /^--strength: /],
    ['ADMPipeline', { guidance: 2, untold: ['steps'] }, /^--guidance: .* got it with ADMPipeline/],
    ['VQVAE2Pipeline', { untold: ['guidance'] }, /^--steps: expected with models that denoise in steps/],
    ['VQVAE2Pipeline', { classes: ['1'] }, /^--class: .* got it with VQVAE2Pipeline, which takes --count, --temp/],
    ['DDPMPipeline', { temperature: 2 }, /^--temperature: expected with models that draw codes/],
    ['AutoencoderKL', { image: 'i', untold: [] }, /^--steps: /],
    ['DDPMPipeline', { prompts: ['x'] }, /^--prompt: .*got it with DDPMPipeline, which takes --count/],
    ['DDPMPipeline', { guidance: 2, untold: ['steps'] }, /^--guidance: expected with models of classes or texts/],
    ['LDMPipeline', { batch: 2 }, /^--batch: .* take --count, got it with LDMPipeline/],
    ['LDMSuperResolutionPipeline', {}, /^--image: expected with LDMSuperResolutionPipeline, got none/],
    ['LDMSuperResolutionPipeline', { image: 'i', width: 8 }, /^--width: expected with models whose pictures do not/],
    ['StableDiffusionUpscalePipeline', { image: 'i' }, /^--prompt: expected with StableDiffusionUpscalePipeline/],
    ['StableDiffusionUpscalePipeline', { prompts: ['x'] }, /^--image: expected with StableDiffusionUpscale/],
  ] as const)('%s %o', (className, more, message) => {
    const given = options({ untold: ['steps', 'guidance'], ...(more as Partial<GenerateOptions>) });
    const run = () => checkKind(given, kindOf(className, text));
    expect(run).toThrow(UsageError);
    expect(run).toThrow(message);
  });

  test('kinds that are not in the table are told by their parts', () => {
    expect(kindOf('NewPipeline', has('tokenizer')).task).toBe('text');
    expect(kindOf('NewPipeline', has('id2label')).task).toBe('class');
    expect(kindOf('NewPipeline', has()).task).toBe('noise');
  });

  test.each([
    [{ mask: 'm.png' }, /^--mask: expected together with --image/],
    [{ strength: 0.5 }, /^--strength: expected together with --image/],
    [{ image: 'i.png', height: 64 }, /^--height: expected without --image/],
  ])('%o', (more, message) => {
    expect(() => checkCombination(options(more))).toThrow(UsageError);
    expect(() => checkCombination(options(more))).toThrow(message);
  });

  test('a folder without text encoder, one without anything, and pictures that are none', async () => {
    const bare = join(fixturesPath, 'pipe_sd_ddim');
    const run = (more: Partial<GenerateOptions>) => generate(options({ prompts: ['x'], ...more }), listener(), quiet);
    await expect(run({ model: bare })).rejects.toThrow(InvalidArgumentError);
    await expect(run({ model: bare })).rejects.toThrow(/--prompt: expected a model with a text encoder, got .*pipe_sd/);
    await expect(run({ model: join(place, 'nothing') })).rejects.toThrow(NotFoundError);
    await expect(run({ image: join(place, 'no.png') })).rejects.toThrow(/--image: .*no\.png, which does not exist/);
    await expect(run({ image: place })).rejects.toThrow(/--image: expected a PNG file, got .*, a folder/);
    const config = join(bare, 'model_index.json');
    await expect(run({ image: config })).rejects.toThrow(/--image: expected a PNG file, got .*which is none/);
    const [image, mask] = [await png('a.png', 16, 16), await png('b.png', 16, 8)];
    await expect(run({ image, mask })).rejects.toThrow(/--mask: expected 16×16 as --image, got 16×8/);
  });

  test('the command ends with status 2 and one line', async () => {
    const terminal = listener();
    const line = ['generate', '--model', join(fixturesPath, 'pipe_sd_ddim'), '--prompt', 'x', '--out', place];
    expect(await main(line, terminal)).toBe(EXIT.usage);
    expect(terminal.notes).toHaveLength(1);
    expect(terminal.notes[0]).toMatch(/^error: --prompt: expected a model with a text encoder/);
    expect(terminal.results).toEqual([]);
  });
});
