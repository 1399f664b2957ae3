/**
 * What networks of full size come to once they are planned: dispatches per call, for a GPU of which nothing is known
 * but WebGPU's default limits. No weights, no device. Of memory, see `modelsTable.test.ts`.
 */
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { DEFAULT_CAPABILITIES, type Capabilities, type Report } from '../../src/engine/index.ts';
import type { RawConfig } from '../../src/loading/index.ts';
import * as m from '../../src/models/all.ts';

type DType = 'f32' | 'f16';
type Plan = (dtype: DType, caps: Capabilities) => Report;

const config = (name: string): RawConfig =>
  JSON.parse(readFileSync(new URL(`./configs/${name}.json`, import.meta.url), 'utf8')) as RawConfig;
const square = (batch: number, side: number) => ({ batch, height: side, width: side });

const unet =
  (name: string, batch: number, side: number): Plan =>
  (dtype, caps) =>
    m.planUNet2DCondition(m.readUNetConditionConfig(config(name)), square(batch, side), dtype, caps);
const dit =
  (name: string, side: number): Plan =>
  (dtype, caps) =>
    m.planModel(m.ditDefinition, m.ditDefinition.readConfig(config(name)), square(1, side) as never, dtype, caps);
const decoder =
  (name: string, side: number): Plan =>
  (dtype, caps) =>
    m.planAutoencoderKL(m.readAutoencoderKLConfig(config(name)), 'decode', square(1, side), dtype, caps);
const ddpm: Plan = (dtype, caps) =>
  m.planUNet2D(m.readUNet2DConfig(config('ddpm-cifar10-32')), square(1, 32), dtype, caps);
const flux: Plan = (dtype, caps) => {
  const call = { batch: 1, imageTokens: 4096, textTokens: 512 };
  return m.planModel(m.fluxDefinition, m.fluxDefinition.readConfig(config('flux.1-dev')), call, dtype, caps);
};
const sd3: Plan = (dtype, caps) => {
  const call = { ...square(1, 128), textTokens: 333 };
  return m.planModel(m.sd3Definition, m.sd3Definition.readConfig(config('sd3-medium')), call, dtype, caps);
};

it.each<[string, DType, Plan, number]>([
  ['Stable Diffusion 1.5, U-Net', 'f32', unet('sd15-unet', 2, 64), 335],
  ['Stable Diffusion 1.5, U-Net', 'f16', unet('sd15-unet', 2, 64), 315],
  ['DiT-XL/2', 'f32', dit('dit-xl-2-256', 32), 220],
  ['DiT-XL/2', 'f16', dit('dit-xl-2-256', 32), 190],
  ['Stable Diffusion 1.5, decoder', 'f16', decoder('sd15-vae', 64), 90],
  ['DDPM, CIFAR-10', 'f32', ddpm, 150],
  ['Stable Diffusion 3 medium', 'f16', sd3, 440],
  ['FLUX.1', 'f16', flux, 1010],
])('%s in %s takes at most as many dispatches as we promise', (_, dtype, plan, most) => {
  const { dispatches, kernels } = plan(dtype, { ...DEFAULT_CAPABILITIES, f16: true });
  expect(dispatches, JSON.stringify(kernels)).toBeLessThanOrEqual(most);
});

it.each([0, 4, 8])(
  'Stable Diffusion 1.5 in f32 fits a processor with subgroups of %i at default limits',
  (subgroupSize) => {
    const caps = { ...DEFAULT_CAPABILITIES, software: true, subgroupSize };
    const { largestBinding } = unet('sd15-unet', 2, 64)('f32', caps);
    expect(largestBinding.bytes).toBeLessThanOrEqual(caps.limits.maxStorageBufferBindingSize);
  },
);
