import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ConfigError, DEFAULT_CAPABILITIES, UnsupportedError, FormatError } from '../../src/engine/index.ts';
import type { RawConfig } from '../../src/loading/index.ts';
import {
  autoencoderKlWeights,
  planUNet2DCondition,
  readAutoencoderKLConfig,
  readUNetConditionConfig,
} from '../../src/models/all.ts';
import { PLANNED, plannerOf, planWithin } from '../../src/node/cli/inspectPlans.ts';
import { inspectCommand } from '../../src/node/cli/inspect.ts';
import { packageRoot } from '../../src/node/setup/cacheFolder.ts';
import { below, ldmVae, toLdmUnet } from '../loading/originalLayout.ts';
import { file, zeros } from '../loading/files.ts';
import { tensorsOf } from '../models/fixtures.ts';
import { listener } from './listener.ts';

const fixtures = join(packageRoot(), 'test', 'fixtures');
const options = { batch: 1, dtype: 'f32', keys: false } as const;

test('a component: parameters, types and plan, without a GPU', async () => {
  const terminal = listener();
  expect(await inspectCommand(join(fixtures, 'unet2d_class_f16'), options, terminal)).toBe(0);
  const text = terminal.results.join('\n');
  expect(text).toMatch(/model: UNet2DModel +[\d.]+ k ?parameters in \d+ tensors, [\d.]+ MiB of F16/);
  expect(text).toMatch(/plan for 1 picture of \d+×\d+ in f32/);
  expect(text).toMatch(/\d+ dispatches, [\d.]+ \wFLOP, weights [\d.]+ MiB, activations [\d.]+ MiB \(1\.\d\d ×/);
  expect(text).not.toMatch(/tensors of/);
});

test('keys lists every tensor with its type and shape', async () => {
  const terminal = listener();
  await inspectCommand(join(fixtures, 'vae_kl_eps_f16'), { ...options, keys: true }, terminal);
  const from = terminal.results.indexOf('tensors of model');
  expect(from).toBeGreaterThan(0);
  const counted = Number(/in (\d+) tensors/.exec(terminal.results.join('\n'))![1]);
  expect(terminal.results.length - from - 1).toBe(counted);
  expect(terminal.results.join('\n')).toMatch(/decoder\.conv_in\.weight +F16 \[\d+, \d+, 3, 3\]/);
});

test('a size that does not divide, and a folder that is none', async () => {
  const vae = join(fixtures, 'vae_kl_eps_f16');
  await expect(inspectCommand(vae, { ...options, width: 33 }, listener())).rejects.toThrow(/multiples of \d+, got 33×/);
  await expect(inspectCommand(join(fixtures, 'nothing'), options, listener())).rejects.toThrow(/nothing/);
});

const configs = join(packageRoot(), 'test', 'models', 'configs');
const json = (path: string) => JSON.parse(readFileSync(path, 'utf8')) as RawConfig;

describe('every class is planned', () => {
  test.each([
    ['clip_text', 'CLIPTextModel'],
    ['clip_text_projection', 'CLIPTextModelWithProjection'],
    ['t5_encoder', 'T5EncoderModel'],
    ['controlnet_sd15', 'ControlNetModel'],
    ['dit_xl2', 'Transformer2DModel'],
    ['flux', 'FluxTransformer2DModel'],
    ['sd3', 'SD3Transformer2DModel'],
    ['prior_karlo', 'PriorTransformer'],
    ['unet2d_ncsnpp', 'UNet2DModel'],
    ['unet_cond_sdxl', 'UNet2DConditionModel'],
    ['unet_cond_unclip', 'UNet2DConditionModel'],
    ['vae_kl_sd3_nonsquare', 'AutoencoderKL'],
    ['vae_tiny', 'AutoencoderTiny'],
    ['vq_ldm', 'VQModel'],
  ])('%s, a %s', async (name, className) => {
    const terminal = listener();
    expect(await inspectCommand(join(fixtures, name), options, terminal)).toBe(0);
    const text = terminal.results.join('\n');
    expect(text).toContain(`model: ${className}`);
    expect(text).toMatch(/model( decode)? +[1-9]\d* dispatches, .* largest binding [\d.]+ MiB \(.*\); fits$/m);
  });

  test.each([
    ['adm-64'],
    ['adm-64-classifier'],
    ['edm-cifar10-32x32-uncond-vp'],
    ['edm-imagenet-64x64-cond-adm'],
    ['ncsnpp-ve-cifar10-continuous'],
    ['ncsnv2-cifar10'],
    ['dit-s-2-original'],
  ])('%s, from the configs of its authors', (name) => {
    const config = json(join(configs, `${name}.json`));
    const planner = plannerOf(config['_class_name'] as string, config, name);
    const [height, width] = planner.sampleSize ?? [32, 32];
    const { report, excess } = planWithin('default', planner, { batch: 1, height, width }, 'f32');
    expect(excess).toBeUndefined();
    expect(report.dispatches).toBeGreaterThan(50);
  });

  test('what does not fit the limits of every device is planned all the same, and says why', () => {
    const config = json(join(configs, 'sdxl-unet.json'));
    const planner = plannerOf('UNet2DConditionModel', config, 'sdxl');
    const [height, width] = [512, 512];
    const { report, excess } = planWithin('default', planner, { batch: 1, height, width }, 'f32');
    expect(excess).toMatch(/limit|binding|bytes|MiB/i);
    expect(report.largestBinding.bytes).toBeGreaterThan(DEFAULT_CAPABILITIES.limits.maxStorageBufferBindingSize);
    expect(planWithin('raised', planner, { batch: 1, height, width }, 'f32')).toEqual({ report });
    // Guidance makes two of one picture.
    const small = { height: 32, width: 32 };
    const own = planUNet2DCondition(readUNetConditionConfig(config), { batch: 2, ...small });
    expect(planner.plan({ batch: 1, ...small }, 'f32', DEFAULT_CAPABILITIES).flops).toBe(own.flops);
  });
});

describe('whole models', () => {
  let folder: string;
  beforeAll(() => (folder = mkdtempSync(join(tmpdir(), 'daguerre-inspect-'))));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  test.each([
    ['pipe_sd_ddim', ['StableDiffusionPipeline', 'unet: UNet2DConditionModel', 'vae: AutoencoderKL', 'vae decode']],
    ['pipe_dit_dpmpp', ['DiTPipeline', 'transformer: DiTTransformer2DModel', 'vae decode']],
    ['pipe_sd_controlnet_dpmpp_karras', ['controlnet: ControlNetModel']],
  ])('%s: every part', async (name, lines) => {
    const terminal = listener();
    await inspectCommand(join(fixtures, name), options, terminal);
    const text = terminal.results.join('\n');
    for (const line of lines) expect(text).toContain(line);
  });

  test('one file in the layout of its authors, and a pickle', async () => {
    const unet = Object.entries(await tensorsOf('unet_cond_sd15'));
    const layout = unet.map(([key, tensor]) => [toLdmUnet(key, 1, [false, true]), tensor] as const);
    const path = join(folder, 'sd.safetensors');
    const vae = below('first_stage_model.', ldmVae(await tensorsOf('vae_kl_sd'), 2));
    const tensors = { ...below('model.diffusion_model.', Object.fromEntries(layout)), ...vae };
    const missing = join(folder, 'model.ckpt');
    writeFileSync(missing, 'PK not a safetensors file');
    await expect(inspectCommand(missing, options, listener())).rejects.toThrow(FormatError);
    writeFileSync(path, file(tensors));
    // The text is of another width than any published one: no layout that is known.
    await expect(inspectCommand(path, options, listener())).rejects.toThrow(
      /expected a U-Net that looks at text of 768/,
    );
    // No shape tells the groups of the norms, so those of published autoencoders are taken.
    const raw = {
      ...json(join(fixtures, 'vae_kl_sd', 'config.json')),
      block_out_channels: [32, 64],
      norm_num_groups: 32,
    };
    const shapes = [...autoencoderKlWeights(readAutoencoderKLConfig(raw))];
    writeFileSync(
      path,
      file(ldmVae(Object.fromEntries(shapes.map(([key, shape]) => [key, zeros('F32', [...shape])])), 2)),
    );
    const terminal = listener();
    expect(await inspectCommand(path, options, terminal)).toBe(0);
    expect(terminal.results.join('\n')).toMatch(
      /^vae, in the layout[^]*vae: AutoencoderKL[^]*vae decode +\d+ dispatches/,
    );
  });

  test('a class that is not built, or none, is an error that names it', async () => {
    const strange = join(folder, 'strange');
    mkdirSync(strange);
    cpSync(join(fixtures, 'vae_kl_sd'), strange, { recursive: true });
    writeFileSync(join(strange, 'config.json'), '{"_class_name": "AutoencoderDC"}');
    const run = () => inspectCommand(strange, options, listener());
    await expect(run()).rejects.toThrow(UnsupportedError);
    await expect(run()).rejects.toThrow(/strange: expected one of UNet2DModel, .*, got AutoencoderDC/);
    writeFileSync(join(strange, 'config.json'), '{}');
    await expect(run()).rejects.toThrow(ConfigError);
    expect(PLANNED).toContain('AutoencoderKL');
  });
});
