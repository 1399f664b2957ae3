/**
 * What networks of full size come to once they are planned: dispatches per call, for a GPU of which nothing is known
 * but WebGPU's default limits. No weights, no device. Of memory, see `modelsTable.test.ts`.
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

// Cards that multiply subgroup matrices, in every form of them, at default limits and with what large ones offer.
const FORMS = { '16x16x16': 32, '8x16x16': 16, '8x8x16': 8, '8x8x8': 8 } as const;
const LARGE = {
  ...DEFAULT_LIMITS,
  ...{ maxComputeInvocationsPerWorkgroup: 1024, maxComputeWorkgroupSizeX: 1024, maxComputeWorkgroupStorageSize: 49152 },
};
const cards = Object.entries(FORMS).flatMap(([form, subgroupSize]) =>
  Object.entries({ default: DEFAULT_LIMITS, raised: LARGE }).map(([named, limits]) => {
    const matrices = form as keyof typeof FORMS;
    return { form, named, caps: { ...DEFAULT_CAPABILITIES, f16: true, matrices, subgroupSize, limits } };
  }),
);

it.each(cards)('with matrices of $form and $named limits as few dispatches are enough', ({ caps }) => {
  const networks: [Plan, number][] = [
    [unet('sd15-unet', 2, 64), 350],
    [dit('dit-xl-2-256', 32), 215],
    [decoder('sd15-vae', 64), 90],
  ];
  for (const [plan, most] of networks) {
    const { dispatches, kernels, peakBytes, liveBytes } = plan('f16', caps);
    expect(dispatches, JSON.stringify(kernels)).toBeLessThanOrEqual(most);
    expect(peakBytes / liveBytes).toBeLessThanOrEqual(1.05);
  }
});

it.each([0, 4, 8])(
  'Stable Diffusion 1.5 in f32 fits a processor with subgroups of %i at default limits',
  (subgroupSize) => {
    const caps = { ...DEFAULT_CAPABILITIES, software: true, subgroupSize };
    const { largestBinding } = unet('sd15-unet', 2, 64)('f32', caps);
    expect(largestBinding.bytes).toBeLessThanOrEqual(caps.limits.maxStorageBufferBindingSize);
  },
);
