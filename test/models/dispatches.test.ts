/**
 * What networks of full size come to once they are planned: dispatches per call and memory of activations, for a GPU of
 * which nothing is known but WebGPU's default limits. No weights, no device.
 */
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { DEFAULT_CAPABILITIES, DEFAULT_LIMITS, type Capabilities, type Report } from '../../src/engine/index.ts';
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

/** Large bindings, for the sizes that need them. */
const RAISED = { ...DEFAULT_LIMITS, maxStorageBufferBindingSize: 2 ** 32 - 4, maxBufferSize: 2 ** 32 };

it.each<[string, DType, Plan, number]>([
  ['Stable Diffusion 1.5, U-Net', 'f32', unet('sd15-unet', 2, 64), 350],
  ['Stable Diffusion 1.5, U-Net', 'f16', unet('sd15-unet', 2, 64), 350],
  ['DiT-XL/2', 'f32', dit('dit-xl-2-256', 32), 260],
  ['DiT-XL/2', 'f16', dit('dit-xl-2-256', 32), 260],
  ['Stable Diffusion 1.5, decoder', 'f16', decoder('sd15-vae', 64), 90],
  ['DDPM, CIFAR-10', 'f32', ddpm, 150],
])('%s in %s takes at most as many dispatches as we promise', (_, dtype, plan, most) => {
  const { dispatches, kernels } = plan(dtype, { ...DEFAULT_CAPABILITIES, f16: true });
  expect(dispatches, JSON.stringify(kernels)).toBeLessThanOrEqual(most);
});

/** What activations may take, over what is alive at the fullest moment. */
const SLACK = 1.15;

it.each<[string, Plan]>([
  ['Stable Diffusion 1.5, U-Net', unet('sd15-unet', 2, 64)],
  ['SDXL, U-Net', unet('sdxl-unet', 2, 128)],
  ['DiT-XL/2', dit('dit-xl-2-256', 32)],
  ['DiT-XL/2 at 512²', dit('dit-xl-2-512', 64)],
  ['Stable Diffusion 1.5, decoder', decoder('sd15-vae', 64)],
  ['DDPM, CIFAR-10', ddpm],
  ['FLUX.1', flux],
])('%s wastes little of its memory', (_, plan) => {
  const { peakBytes, liveBytes } = plan('f16', { ...DEFAULT_CAPABILITIES, f16: true, limits: RAISED });
  expect(peakBytes / liveBytes).toBeLessThanOrEqual(SLACK);
});
