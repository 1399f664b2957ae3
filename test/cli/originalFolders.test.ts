/** Networks in their authors' folders: what `daguerre inspect` calls them, and that `daguerre generate` runs them. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { FormatError } from '../../src/engine/index.ts';
import type { RawConfig } from '../../src/loading/index.ts';
import { readAdmConfig, readClassifierConfig } from '../../src/models/adm/admConfig.ts';
import { readAdmFlags, type AdmRole } from '../../src/models/adm/admFlags.ts';
import { admWeights } from '../../src/models/adm/admModel.ts';
import { classifierWeights } from '../../src/models/classifier/classifierModel.ts';
import { readEdmConfig } from '../../src/models/edm/edmConfig.ts';
import { edmWeights } from '../../src/models/edm/edmModel.ts';
import { readNcsnppConfig } from '../../src/models/scoreSde/ncsnppConfig.ts';
import { ncsnppWeights } from '../../src/models/scoreSde/ncsnppModel.ts';
import { readNcsnv2Config } from '../../src/models/scoreSde/ncsnv2Config.ts';
import { ncsnv2Weights } from '../../src/models/scoreSde/ncsnv2Model.ts';
import { generate } from '../../src/node/cli/generate.ts';
import { inspectCommand } from '../../src/node/cli/inspect.ts';
import { readConsistencySetup } from '../../src/pipelines/original/consistencyConfig.ts';
import { withClass } from '../../src/pipelines/original/kinds.ts';
import { withoutLabels } from '../../src/pipelines/original/openOriginal.ts';
import { f32, file } from '../loading/files.ts';
import { json, seededWeights } from '../pipelines/tinyModels.ts';
import { listener } from './listener.ts';

let place: string;
beforeAll(() => {
  place = mkdtempSync(join(tmpdir(), 'daguerre-original-'));
});
afterAll(() => rmSync(place, { recursive: true, force: true }));

const FLAGS = {
  ...{ image_size: 8, num_channels: 32, num_res_blocks: 1, channel_mult: '1,1', attention_resolutions: '4' },
  ...{ num_head_channels: 16, class_cond: true, num_classes: 5, resblock_updown: true },
};
const NCSNPP: RawConfig = {
  model: {
    ...{ name: 'ncsnpp', nf: 8, ch_mult: [1, 2], num_res_blocks: 1, attn_resolutions: [4], nonlinearity: 'swish' },
    ...{ resamp_with_conv: true, conditional: true, fir: false, skip_rescale: true, resblock_type: 'biggan' },
    ...{ progressive: 'none', progressive_input: 'none', progressive_combine: 'sum', embedding_type: 'positional' },
    ...{ scale_by_sigma: false, num_scales: 3, beta_min: 0.1, beta_max: 2 },
  },
  data: { image_size: 8, num_channels: 3, centered: true },
  training: { sde: 'vpsde', continuous: false },
  sampling: { method: 'pc', predictor: 'ancestral_sampling', corrector: 'none' },
};
const NCSNV2: RawConfig = {
  model: { normalization: 'InstanceNorm++', nonlinearity: 'elu', ngf: 4, num_classes: 2, sigma_dist: 'geometric' },
  data: { dataset: 'LSUN', channels: 3, image_size: 8 },
  sampling: { n_steps_each: 1, step_lr: 1e-5 },
};
const EDM: RawConfig = {
  ...{ _class_name: 'VPPrecond', img_resolution: 8, img_channels: 3, label_dim: 4, model_channels: 8 },
  ...{ channel_mult: [1, 2], num_blocks: 1, attn_resolutions: [4], model_type: 'SongUNet', id2label: { 1: 'car' } },
};

/** Config, keys, and what is said of the folder and of its file alone. */
const networks: Record<string, [RawConfig, () => ReadonlyMap<string, readonly number[]>, string, string]> = {
  edm: [
    EDM,
    () => edmWeights(readEdmConfig(withoutLabels(EDM).config)),
    'EDM .*authors[^]*model: VPPrecond',
    'SongUNet',
  ],
  sde: [
    NCSNPP,
    () => ncsnppWeights(readNcsnppConfig(withClass(NCSNPP))),
    'score_sde .*vpsde, in the[^]*model: NCSNpp',
    'NCSNpp',
  ],
  ncsnv2: [
    NCSNV2,
    () => ncsnv2Weights(readNcsnv2Config(withClass(NCSNV2))),
    'NCSNv2 [^]*model: NCSNv2Deeper',
    'NCSNv2Deeper',
  ],
  consistency: [
    { ...FLAGS, training_mode: 'consistency_training' },
    () => admWeights(readAdmConfig(readConsistencySetup({ ...FLAGS, training_mode: 'edm' }, '').network)),
    'consistency_models .*consistency_training, in the[^]*model: UNetModel',
    'UNetModel',
  ],
  adm: [
    { ...FLAGS, learn_sigma: true, diffusion_steps: 20 },
    () => admWeights(readAdmConfig(readAdmFlags({ ...FLAGS, learn_sigma: true }, 'unet', '').network)),
    'guided-diffusion [^]*model: UNetModel',
    'UNetModel',
  ],
  enlarging: [
    { ...FLAGS, image_size: undefined, large_size: 8, small_size: 4, learn_sigma: true },
    () =>
      admWeights(readAdmConfig(readAdmFlags({ ...FLAGS, large_size: 8, learn_sigma: true }, 'upsampler', '').network)),
    'guided-diffusion [^]*model: SuperResModel',
    'SuperResModel',
  ],
};

/** Stores a folder whose file of weights has its authors' name. */
function store(name: string): string {
  const [config, keys] = networks[name];
  const folder = join(place, name);
  mkdirSync(folder, { recursive: true });
  const tensors = seededWeights(keys(), 40);
  if (tensors.sigmas) tensors.sigmas = f32(tensors.sigmas.shape, [1, 0.1]);
  writeFileSync(join(folder, 'config.json'), json(config));
  writeFileSync(join(folder, `${name}_ema.safetensors`), file(tensors));
  return folder;
}

describe.each(Object.keys(networks))('%s', (name) => {
  test('is named by its config, and by its keys where there is none', async () => {
    const [, , said, className] = networks[name];
    const folder = store(name);
    const options = { batch: 1, dtype: 'f32', keys: false } as const;
    const terminal = listener();
    expect(await inspectCommand(folder, options, terminal)).toBe(0);
    const text = terminal.results.join('\n');
    expect(text).toMatch(new RegExp(said));
    expect(text).toMatch(/plan for 1 picture of 8×8[^]*dispatches/);
    const alone = listener();
    expect(await inspectCommand(join(folder, `${name}_ema.safetensors`), options, alone)).toBe(0);
    expect(alone.results.join('\n')).toMatch(new RegExp(`config\\.json beside it[^]*model: ${className} `));
    expect(alone.results.join('\n')).not.toMatch(/plan for/);
  });
});

test('parts of guided-diffusion beside each other, under the flags of its scripts', async () => {
  const folder = join(place, 'cascade');
  const parts: [AdmRole, RawConfig][] = [
    ['unet', { ...FLAGS, learn_sigma: true }],
    [
      'classifier',
      {
        image_size: 8,
        num_classes: 5,
        classifier_width: 32,
        classifier_channel_mult: '1,2',
        classifier_attention_resolutions: '4',
      },
    ],
    ['upsampler', { ...FLAGS, image_size: undefined, large_size: 16, small_size: 8, learn_sigma: true }],
  ];
  const index = Object.fromEntries(parts.map(([role]) => [role, ['guided_diffusion', 'UNetModel']]));
  for (const [role, flags] of parts) {
    const { network } = readAdmFlags(JSON.parse(JSON.stringify(flags)) as RawConfig, role, role);
    const keys =
      role === 'classifier' ? classifierWeights(readClassifierConfig(network)) : admWeights(readAdmConfig(network));
    mkdirSync(join(folder, role), { recursive: true });
    writeFileSync(join(folder, role, 'config.json'), json(flags));
    writeFileSync(join(folder, role, `${role}.safetensors`), file(seededWeights(keys, 40)));
  }
  writeFileSync(join(folder, 'model_index.json'), json({ _class_name: 'ADMPipeline', ...index }));
  const terminal = listener();
  await inspectCommand(folder, { batch: 1, dtype: 'f32', keys: false }, terminal);
  const text = terminal.results.join('\n');
  for (const said of [
    'unet: UNetModel',
    'classifier: EncoderUNetModel',
    'upsampler: SuperResModel',
    'classifier with gradient',
  ])
    expect(text).toContain(said);
});

test('what is nobody’s stays an error', async () => {
  const path = join(place, 'other.safetensors');
  writeFileSync(path, file({ a: f32([1], [1]) }));
  const options = { batch: 1, dtype: 'f32', keys: false } as const;
  await expect(inspectCommand(path, options, listener())).rejects.toBeInstanceOf(FormatError);
});

test.each([
  ['sde', {}, 3],
  ['ncsnv2', {}, 3],
  ['consistency', { classes: ['3'] }, 1],
  ['edm', { classes: ['1'], steps: 2, untold: ['guidance'] as const }, 2],
] as const)('generate runs %s', { timeout: 300_000 }, async (name, more, steps) => {
  const call = {
    ...{ classes: [], steps: 20, guidance: 3, seed: 5, batch: 1, out: join(place, 'out'), dtype: 'f32' },
    ...{ adapter: 'lavapipe', separate: false, scale: 1, untold: ['steps', 'guidance'], count: 2 },
    ...more,
    model: store(name),
  };
  const { made } = await generate(call as never, listener(), new AbortController().signal);
  expect([made.pictures.length, made.pictures[0].width, made.steps]).toEqual([2, 8, steps]);
});
