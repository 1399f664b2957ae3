/** That `daguerre generate` reaches every pipeline there is, with those that are made of several stages run. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { generate } from '../../src/node/cli/generate.ts';
import { inspectCommand } from '../../src/node/cli/inspect.ts';
import { checkKind, kindOf, readKind } from '../../src/node/cli/generateKinds.ts';
import type { GenerateOptions } from '../../src/node/cli/generateOptions.ts';
import { KNOWN_CLASSES } from '../../src/node/cli/kindTable.ts';
import { resizeNearest } from '../../src/node/cli/sheet.ts';
import { encodePng } from '../../src/node/png.ts';
import { readAdmConfig } from '../../src/models/adm/admConfig.ts';
import { readAdmFlags } from '../../src/models/adm/admFlags.ts';
import { admWeights } from '../../src/models/adm/admModel.ts';
import * as pipelines from '../../src/pipelines/all.ts';
import { filesOf, type Files, json, jsonOf, seededWeights } from '../pipelines/tinyModels.ts';
import { twoLevelFiles } from '../pipelines/autoregressive/vqVaeFiles.ts';
import { file } from '../loading/files.ts';
import { listener } from './listener.ts';

let place: string;
beforeAll(() => {
  place = mkdtempSync(join(tmpdir(), 'daguerre-every-'));
});
afterAll(() => rmSync(place, { recursive: true, force: true }));

/** What is no folder of its own: its stages are, one run after the other. */
const OF_SEVERAL_FOLDERS: Readonly<Record<string, readonly string[]>> = {
  IFCascade: ['IFPipeline', 'IFSuperResolutionPipeline', 'StableDiffusionUpscalePipeline'],
};

/** What reads networks alone, by the classes in their configs. */
const OF_NETWORKS: Readonly<Record<string, readonly string[]>> = {
  EDMPipeline: ['SongUNet', 'DhariwalUNet'],
  ScoreSDEPipeline: ['NCSNpp'],
  NCSNv2Pipeline: ['NCSNv2', 'NCSNv2Deeper', 'NCSNv2Deepest'],
  ConsistencyPipeline: ['UNetModel'],
};

interface PipelineClass {
  className?: string;
  classNames?: readonly string[];
}

const classes = Object.entries(pipelines).filter(
  ([, value]) => typeof value === 'function' && 'load' in value && 'generate' in (value.prototype as object),
) as unknown as [string, PipelineClass][];

describe('every pipeline of the library', () => {
  test('there are some', () => expect(classes.map(([name]) => name)).toContain('StableDiffusionPipeline'));

  test.each(classes)('%s', (name, { className, classNames = className ? [className] : [] }) => {
    const own = OF_SEVERAL_FOLDERS[name] ?? OF_NETWORKS[name] ?? classNames;
    expect(own.length).toBeGreaterThan(0);
    for (const one of own) expect(KNOWN_CLASSES).toContain(one);
  });
});

function store(name: string, files: Files): string {
  const folder = join(place, name);
  for (const [path, bytes] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), bytes);
  }
  return folder;
}

/** Networks of ADM by their scripts' flags: 4×4 pictures, and what makes 8×8 of them. */
function admFiles(roles: readonly ('unet' | 'upsampler')[]): Files {
  const common = {
    ...{ num_channels: 32, num_res_blocks: 1, attention_resolutions: '4', num_head_channels: 16, channel_mult: '1,1' },
    ...{ class_cond: true, num_classes: 5, learn_sigma: true, use_scale_shift_norm: true, resblock_updown: true },
    ...{ diffusion_steps: 1000, noise_schedule: 'linear' },
  };
  const parts = roles.map((role): [string, Files] => {
    const flags = role === 'unet' ? { ...common, image_size: 4 } : { ...common, large_size: 8, small_size: 4 };
    const { network } = readAdmFlags(flags, role, role);
    const weights = file(seededWeights(admWeights(readAdmConfig(network)), 40));
    return [role, { [`${role}/config.json`]: json(flags), [`${role}/model.safetensors`]: weights }];
  });
  const index = Object.fromEntries(roles.map((role) => [role, ['guided_diffusion', 'UNetModel']]));
  const own = { 'model_index.json': json({ _class_name: 'ADMPipeline', ...index }) };
  return Object.assign(own, ...parts.map(([, files]) => files)) as Files;
}

async function png(side: number): Promise<string> {
  const path = join(place, `${side}.png`);
  const data = new Uint8Array(4 * side * side).map((_, i) => (i % 4 === 3 ? 255 : (37 * i) % 256));
  writeFileSync(path, await encodePng({ width: side, height: side, data }));
  return path;
}

const options = (more: Partial<GenerateOptions>): GenerateOptions => ({
  ...{ model: '', classes: [], steps: 2, guidance: 3, seed: 5, batch: 1, out: join(place, 'out'), dtype: 'f32' },
  ...{ adapter: 'lavapipe', separate: false, scale: 1, untold: ['guidance'] },
  ...more,
});
const run = async (more: Partial<GenerateOptions>) =>
  (await generate(options(more), listener(), new AbortController().signal)).made;

describe('kinds in stages', () => {
  test('IF: a small picture of a text, and a larger one of it', { timeout: 300_000 }, async () => {
    const text = {
      ...filesOf('tokenizers/t5', 'tokenizer/'),
      ...filesOf('pipelines/if_base/text_encoder', 'text_encoder/'),
    };
    const base = store('if', { ...filesOf('pipelines/if_base'), ...text });
    const first = await run({ model: base, prompts: ['a dog'] });
    expect(first.pictures[0].width).toBe(8);
    const index = { ...jsonOf('pipelines/if_super_resolution/model_index.json') };
    const whole = {
      ...index,
      text_encoder: ['transformers', 'T5EncoderModel'],
      tokenizer: ['transformers', 'T5Tokenizer'],
    };
    const large = store('if-2', {
      ...filesOf('pipelines/if_super_resolution'),
      ...text,
      'model_index.json': json(whole),
    });
    const image = await png(8);
    const second = await run({ model: large, prompts: ['a dog'], image, noiseLevel: 40 });
    expect(second.pictures[0].width).toBe(20);
    expect(second.strip.map(({ step }) => step)).toEqual([0, 1, 2]);
  });

  test('unCLIP: from a text, whose embedding is no picture, and from a picture', { timeout: 300_000 }, async () => {
    const files = { ...filesOf('pipelines/unclip'), ...filesOf('tokenizers/clip', 'tokenizer/') };
    const made = await run({ model: store('unclip', files), prompts: ['a dog'], steps: 1 });
    expect(made.stepMs).toHaveLength(9);
    expect(made.steps).toBe(9);
    expect(made.strip.every(({ raster }) => raster.width === 20)).toBe(true);
    expect(made.strip[1].step).toBe(2); // the decoder's; the prior's first is left out
    const varied = { ...files, ...filesOf('pipelines/unclip_variation') };
    for (const path of Object.keys(varied)) if (path.startsWith('prior')) delete varied[path];
    const image = await png(24);
    const two = await run({ model: store('vary', varied), image, steps: 1, batch: 2 });
    expect(two.pictures).toHaveLength(2);
    expect(two.pictures[0].data).not.toEqual(two.pictures[1].data);
    expect(two.strip[0].step).toBe(0);
  });

  test('ADM: what enlarges alone, and behind a first stage', async () => {
    const image = await png(4);
    const alone = store('adm-up', admFiles(['upsampler']));
    const kind = await readKind(options({ model: alone }));
    expect([kind.task, kind.needsImage]).toEqual(['enlarge', true]);
    expect(() => checkKind(options({ model: alone }), kind)).toThrow(/--image: expected with ADMPipeline, got none/);
    const larger = await run({ model: alone, image, classes: ['1'], batch: 2, sampler: 'ddim' });
    expect(larger.pictures.map(({ width }) => width)).toEqual([8, 8]);
    expect(larger.pictures[0].data).not.toEqual(larger.pictures[1].data);
    const both = await readKind(options({ model: store('adm', admFiles(['unet', 'upsampler'])) }));
    expect([both.task, both.takes.has('image'), both.takes.has('guidance')]).toEqual(['noise', true, false]);
    expect(kindOf('ADMPipeline', (part) => part !== 'upsampler').takes.has('guidance')).toBe(true);
  });

  test('VQ-VAE-2: three files side by side', async () => {
    const model = store('vq', twoLevelFiles());
    const call = { model, count: 2, temperature: 0.9, untold: ['steps', 'guidance'] as const };
    const made = await run(call);
    expect(made.pictures.map(({ width }) => width)).toEqual([16, 16]);
    expect(made.steps).toBe(6); // rows of both levels
    expect(made.strip.map(({ step }) => step)).toEqual([0, 1, 2, 3, 4, 5, 6]);
    const other = await run({ ...call, count: 1, seed: 6 });
    expect(other.pictures[0].data).toEqual(made.pictures[1].data);

    const terminal = listener();
    expect(await inspectCommand(model, { batch: 2, dtype: 'f32' }, terminal)).toBe(0);
    const told = terminal.results.join('\n');
    expect(told).toMatch(/^VQVAE2Pipeline\nparts\n {2}vqvae: VQVAE2 +[\d.]+ k parameters/);
    expect(told).toMatch(/plan for 2 pictures of 16×16 in f32/);
    expect(told).toMatch(/bottom per code of 4×4 +\d+ dispatches.*fits/);
  });
});

test('a picture of an earlier stage takes the size of the last', () => {
  const small = { width: 2, height: 1, data: Uint8ClampedArray.of(1, 2, 3, 255, 4, 5, 6, 255) };
  const large = resizeNearest(small, 4, 2);
  expect([large.width, large.height]).toEqual([4, 2]);
  const reds = [0, 1, 2, 3, 4, 5, 6, 7].map((i) => large.data[4 * i]);
  expect(reds).toEqual([1, 1, 4, 4, 1, 1, 4, 4]);
  expect(resizeNearest(small, 2, 1)).toBe(small);
});
