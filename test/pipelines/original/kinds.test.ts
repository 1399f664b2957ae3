/** Whose network a config is of, by its class or its fields, and a U-Net of guided-diffusion alone as a pipeline. */
import { describe, expect, it } from 'vitest';
import { ConfigError, InvalidArgumentError, NotFoundError } from '../../../src/engine/index.ts';
import { filesDirectory, type RawConfig } from '../../../src/loading/index.ts';
import { readAdmConfig } from '../../../src/models/adm/admConfig.ts';
import { readAdmFlags } from '../../../src/models/adm/admFlags.ts';
import { admWeights } from '../../../src/models/adm/admModel.ts';
import { readConsistencySetup } from '../../../src/pipelines/original/consistencyConfig.ts';
import { originalKind, withClass } from '../../../src/pipelines/original/kinds.ts';
import { Pipeline } from '../../../src/pipelines/index.ts';
import { file } from '../../loading/files.ts';
import { failure } from '../../models/fixtures.ts';
import { heldBy } from '../folders.ts';
import { seededWeights } from '../tinyModels.ts';
import { abortsCleanly, adapter, device, folderOf, showsSteps } from './cases.ts';

describe('configs', () => {
  const flags = { num_channels: 32, num_res_blocks: 1 };
  it.each<[RawConfig, string | undefined, string | undefined]>([
    [{ _class_name: 'VEPrecond' }, 'edm', 'VEPrecond'],
    [{ _class_name: 'NCSNpp', model: {} }, 'scoreSde', 'NCSNpp'],
    [{ model: { nf: 128 }, data: {} }, 'scoreSde', 'NCSNpp'],
    [{ model: { ngf: 128 }, data: { dataset: 'FFHQ' } }, 'ncsnv2', 'NCSNv2Deepest'],
    [{ model: { ngf: 128 }, data: { dataset: 'LSUN' } }, 'ncsnv2', 'NCSNv2Deeper'],
    [{ model: { ngf: 128 }, data: { dataset: 'CELEBA' } }, 'ncsnv2', 'NCSNv2'],
    [{ model: { other: 1 }, data: {} }, undefined, undefined],
    [{ ...flags, training_mode: 'edm' }, 'consistency', 'UNetModel'],
    [{ ...flags, weight_schedule: 'karras' }, 'consistency', 'UNetModel'],
    [flags, 'adm', 'UNetModel'],
    [{ ...flags, large_size: 256 }, 'adm', 'SuperResModel'],
    [{ _class_name: 'UNetModel', attention_type: 'flash' }, 'consistency', 'UNetModel'],
    [{ _class_name: 'UNetModel' }, 'adm', 'UNetModel'],
    [{ _class_name: 'SuperResModel' }, 'adm', 'SuperResModel'],
    [{ _class_name: 'UNet2DModel', ...flags }, undefined, 'UNet2DModel'],
    [{ model: null, data: 3 }, undefined, undefined],
  ])('%j', (config, family, className) => {
    expect(originalKind(config)?.family).toBe(family);
    expect(withClass(config)._class_name).toBe(className);
  });
});

it('consistency_models’ flags, few as they are, say the published network', () => {
  const flags = {
    ...{ training_mode: 'consistency_distillation', image_size: 64, num_channels: 192, num_res_blocks: 3 },
    ...{ num_head_channels: 64, class_cond: true, resblock_updown: true, weight_schedule: 'uniform' },
  };
  const { network, distillation } = readConsistencySetup(flags, 'flags');
  const shapes = [...admWeights(readAdmConfig(network)).values()];
  expect(shapes.reduce((sum, shape) => sum + shape.reduce((a, b) => a * b, 1), 0)).toBe(295_899_267);
  expect(distillation).toBe(true);
});

it(`guided-diffusion’s U-Net alone, on ${adapter}`, async () => {
  const flags = {
    ...{ image_size: 8, num_channels: 32, num_res_blocks: 1, channel_mult: '1,1', attention_resolutions: '4' },
    ...{ num_head_channels: 16, learn_sigma: true, class_cond: true, num_classes: 5, diffusion_steps: 20 },
    id2label: { 4: 'owl' },
  };
  const { id2label: _names, ...own } = flags;
  const weights = file(seededWeights(admWeights(readAdmConfig(readAdmFlags(own, 'unet', 'flags').network)), 40));
  const before = await heldBy(device);
  const pipe = await Pipeline.fromPretrained(folderOf(flags, weights, '64x64_diffusion.safetensors'), { device });
  const call = { classLabels: 'owl', timestepRespacing: '3', generator: 4, batchSize: 2 };
  await showsSteps(pipe, call, { count: 3, batch: 2 });
  await abortsCleanly(pipe, call);
  expect(await failure(pipe({ classLabels: 5 }))).toBeInstanceOf(InvalidArgumentError);
  await pipe.dispose();
  const load = (files: Record<string, Blob>) =>
    failure(Pipeline.fromPretrained(filesDirectory(files, 'x'), { device }));
  expect(await load({ 'config.json': new Blob(['{"a": 1}']) })).toBeInstanceOf(NotFoundError);
  expect(await load({ 'config.json': new Blob(['{"_class_name": "EncoderUNetModel"}']) })).toBeInstanceOf(ConfigError);
  expect(await load({ 'config.json': new Blob([JSON.stringify(flags)]) })).toBeInstanceOf(NotFoundError);
  expect(await heldBy(device)).toEqual(before);
});
