/**
 * docs/models.md says what the planner says, and no network wastes its memory; `DAGUERRE_UPDATE_DOCS=1` writes the table
 * anew.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import {
  DEFAULT_CAPABILITIES,
  DEFAULT_LIMITS,
  LimitError,
  numel,
  type Capabilities,
  type Report,
} from '../../src/engine/index.ts';
import type { RawConfig } from '../../src/loading/index.ts';
import * as m from '../../src/models/all.ts';

type Keys = ReadonlyMap<string, readonly number[]>;
/** What a call takes, with storage in halves. */
type Plan = (caps: Capabilities) => Report;
type Kind = (raw: RawConfig) => [weights: Keys, plan: Plan];

const square = (side: number) => ({ batch: 1, height: side, width: side });
const twice = (side: number) => ({ batch: 2, height: side, width: side });

const conditional = (side: number): Kind => {
  return (raw) => {
    const c = m.readUNetConditionConfig(raw);
    return [m.unet2dConditionWeights(c), (caps) => m.planUNet2DCondition(c, twice(side), 'f16', caps)];
  };
};
const unet2d = (side: number): Kind => {
  return (raw) => {
    const c = m.readUNet2DConfig(raw);
    return [m.unet2dWeights(c), (caps) => m.planUNet2D(c, square(side), 'f16', caps)];
  };
};
const controlNet: Kind = (raw) => {
  const c = m.readControlNetConfig(raw);
  return [m.controlNetWeights(c), (caps) => m.planControlNet(c, twice(64), 'f16', caps)];
};
const defined = <C, F extends object>(definition: m.ModelDefinition<C, F>, call: F): Kind => {
  return (raw) => {
    const c = definition.readConfig(raw);
    return [m.weightsOf(definition, c), (caps) => m.planModel(definition, c, call, 'f16', caps)];
  };
};
const adm = (side: number): Kind => {
  return (raw) => {
    const c = m.readAdmConfig(raw);
    return [m.admWeights(c), (caps) => m.planAdmUNet(c, square(side), 'f16', caps)];
  };
};
const classifier: Kind = (raw) => {
  const c = m.readClassifierConfig(raw);
  return [m.classifierWeights(c), (caps) => m.planAdmClassifier(c, { ...square(64), gradient: true }, 'f16', caps)];
};
const edm = (side: number): Kind => {
  return (raw) => {
    const c = m.readEdmConfig(raw);
    return [m.edmWeights(c), (caps) => m.planEdm(c, square(side), 'f16', caps)];
  };
};
const ncsnpp: Kind = (raw) => {
  const c = m.readNcsnppConfig(raw);
  return [m.ncsnppWeights(c), (caps) => m.planNcsnpp(c, square(32), 'f16', caps)];
};
const decoder = (side: number): Kind => {
  return (raw) => {
    const c = m.readAutoencoderKLConfig(raw);
    return [m.autoencoderKlWeights(c), (caps) => m.planAutoencoderKL(c, 'decode', square(side), 'f16', caps)];
  };
};
const tiny: Kind = (raw) => {
  const c = m.readAutoencoderTinyConfig(raw);
  const call = { part: 'decode', channels: c.latentChannels, ...square(64) } as const;
  return [m.autoencoderTinyWeights(c), (caps) => m.planAutoencoderTiny(c, call, 'f16', caps)];
};
const vq: Kind = (raw) => {
  const c = m.readVQConfig(raw);
  return [m.vqWeights(c), (caps) => m.planVQ(c, { part: 'decode', channels: 3, ...square(64) }, 'f16', caps)];
};
const clip = (className: 'CLIPTextModel' | 'CLIPTextModelWithProjection'): Kind => {
  return (raw) => {
    const c = m.readClipTextConfig(raw, className);
    return [m.clipTextWeights(c, className), (caps) => m.planClipText(c, className, {}, 'f16', caps)];
  };
};
const t5: Kind = (raw) => {
  const c = m.readT5Config(raw);
  return [m.t5Weights(c), (caps) => m.planT5(c, { batch: 1, length: 256, padded: false }, 'f16', caps)];
};
const karloTextProj: Kind = (raw) => {
  const c = m.readUnclipTextProjConfig(raw);
  return [m.unclipTextProjWeights(c), (caps) => m.planUnclipTextProj(c, { batch: 2, tokens: 77 }, 'f16', caps)];
};
const clipVision: Kind = (raw) => {
  const c = m.readClipVisionConfig(raw);
  return [m.clipVisionWeights(c), (caps) => m.planClipVision(c, {}, 'f16', caps)];
};
const PRIOR_CALL = { batch: 2, textTokens: 77, conditionTokens: 1, hiddenTokens: 1, masked: true };
const karloPrior = defined(m.priorDefinition, PRIOR_CALL);
const sd3 = defined(m.sd3Definition, { ...square(128), textTokens: 333 });
const flux = defined(m.fluxDefinition, { batch: 1, imageTokens: 4096, textTokens: 512 });
const dit = (side: number) => defined(m.ditDefinition, { ...square(side) } as never);

/** Config, what it is called, how it is planned, and the call that is planned. */
const ROWS: readonly [config: string, name: string, kind: Kind, call: string][] = [
  ['sd15-unet', 'Stable Diffusion 1.5, U-Net', conditional(64), '2 × 64×64 latents, 77 tokens'],
  ['sd21-unet', 'Stable Diffusion 2.1, U-Net', conditional(96), '2 × 96×96 latents'],
  ['sd-turbo-unet', 'SD-Turbo, U-Net', conditional(64), '2 × 64×64 latents'],
  ['sdxl-unet', 'SDXL, U-Net', conditional(128), '2 × 128×128 latents'],
  ['sd-x4-upscaler-unet', 'SD ×4 upscaler, U-Net', conditional(128), '2 × 128×128 latents'],
  ['karlo-prior', 'Karlo (unCLIP), prior', karloPrior, '2 × 77 tokens'],
  ['karlo-text-proj', 'Karlo, embeddings to the decoder', karloTextProj, '2 × 77 tokens'],
  ['karlo-decoder', 'Karlo, decoder', conditional(64), '2 × 64×64'],
  ['karlo-super-res', 'Karlo, each of the two that enlarge', unet2d(256), '256×256'],
  ['karlo-image-encoder', 'CLIP ViT-L/14 pictures', clipVision, '224×224'],
  ['if-i-xl-unet', 'DeepFloyd IF-I-XL, U-Net', conditional(64), '2 × 64×64, 77 tokens'],
  ['if-ii-l-unet', 'DeepFloyd IF-II-L, U-Net', conditional(256), '2 × 256×256, 77 tokens'],
  ['controlnet-canny', 'ControlNet (canny, SD 1.5)', controlNet, '2 × 64×64 latents'],
  ['dit-xl-2-256', 'DiT-XL/2 256', dit(32), '32×32 latents'],
  ['dit-xl-2-512', 'DiT-XL/2 512', dit(64), '64×64 latents'],
  ['dit-s-2-original', 'DiT-S/2', dit(32), '32×32 latents'],
  ['sd3-medium', 'Stable Diffusion 3 medium', sd3, '128×128 latents, 333 tokens'],
  ['sd3.5-medium', 'Stable Diffusion 3.5 medium', sd3, '128×128 latents'],
  ['sd3.5-large', 'Stable Diffusion 3.5 large', sd3, '128×128 latents'],
  ['flux.1-schnell', 'FLUX.1 schnell', flux, '4096 + 512 tokens'],
  ['flux.1-dev', 'FLUX.1 dev', flux, '4096 + 512 tokens'],
  ['adm-64', 'ADM 64', adm(64), '64×64'],
  ['adm-256', 'ADM 256', adm(256), '256×256'],
  ['adm-64-classifier', 'ADM 64, classifier with gradient', classifier, '64×64'],
  ['cd-imagenet64-original', 'Consistency model, ImageNet 64', adm(64), '64×64'],
  ['edm-cifar10-32x32-uncond-vp', 'EDM, CIFAR-10 VP (DDPM++)', edm(32), '32×32'],
  ['edm-cifar10-32x32-uncond-ve', 'EDM, CIFAR-10 VE (NCSN++)', edm(32), '32×32'],
  ['edm-imagenet-64x64-cond-adm', 'EDM, ImageNet 64 (ADM)', edm(64), '64×64'],
  ['ncsnpp-ve-cifar10-continuous', 'NCSN++ continuous, CIFAR-10', ncsnpp, '32×32'],
  ['ddpm-cifar10-32', 'DDPM, CIFAR-10', unet2d(32), '32×32'],
  ['ldm-celebahq-256-unet', 'LDM CelebA-HQ 256, U-Net', unet2d(64), '64×64 latents'],
  ['ldm-celebahq-256-vqvae', 'LDM CelebA-HQ 256, VQ decoder', vq, '64×64 latents'],
  ['sd15-vae', 'SD 1.5, KL decoder', decoder(64), '64×64 latents'],
  ['sdxl-vae', 'SDXL, KL decoder', decoder(128), '128×128 latents'],
  ['flux-vae', 'FLUX, KL decoder', decoder(128), '128×128 latents'],
  ['taesd', 'TAESD, decoder', tiny, '64×64 latents'],
  ['sd15-text-encoder', 'CLIP ViT-L/14 text', clip('CLIPTextModel'), '77 tokens'],
  ['sd21-text-encoder', 'OpenCLIP ViT-H/14 text', clip('CLIPTextModel'), '77 tokens'],
  ['sdxl-text-encoder-2', 'OpenCLIP ViT-bigG/14 text', clip('CLIPTextModelWithProjection'), '77 tokens'],
  ['t5-v1.1-xxl-encoder', 'T5 v1.1 XXL encoder', t5, '256 tokens'],
];

const RAISED: Capabilities = {
  ...DEFAULT_CAPABILITIES,
  f16: true,
  limits: { ...DEFAULT_LIMITS, maxStorageBufferBindingSize: 2 ** 32 - 4, maxBufferSize: 2 ** 32 },
};

/** What activations may take over what is alive at the fullest moment, or these bytes more. */
const [SLACK, LITTLE] = [1.05, 2 ** 20];
/** Networks that take more. */
const wasteful: string[] = [];

function row([config, name, kind, call]: (typeof ROWS)[number]): string {
  const raw = JSON.parse(readFileSync(new URL(`./configs/${config}.json`, import.meta.url), 'utf8')) as RawConfig;
  const [weights, plan] = kind(raw);
  const stored = [...weights.values()].reduce((sum, shape) => sum + numel(shape), 0);
  let report: Report;
  let fits = 'yes';
  try {
    report = plan({ ...DEFAULT_CAPABILITIES, f16: true });
  } catch (error) {
    if (!(error instanceof LimitError)) throw error;
    report = plan(RAISED);
    fits = 'no';
  }
  const mib = (bytes: number) => Math.round(bytes / 2 ** 20).toLocaleString('en');
  const { peakBytes, liveBytes, weightBytes, dispatches, flops, largestBinding } = report;
  if (peakBytes > Math.max(SLACK * liveBytes, liveBytes + LITTLE)) wasteful.push(`${name} ${peakBytes / liveBytes}`);
  const figures = [mib(weightBytes), mib(peakBytes), mib(largestBinding.bytes), fits, dispatches, gflop(flops)];
  return `| ${name} | ${stored.toLocaleString('en')} | ${call} | ${figures.join(' | ')} |`;
}

const gflop = (flops: number) =>
  flops < 1e11 ? (flops / 1e9).toFixed(1) : Math.round(flops / 1e9).toLocaleString('en');

const [BEGIN, END] = ['<!-- planned -->', '<!-- /planned -->'];
const path = fileURLToPath(new URL('../../docs/models.md', import.meta.url));

test('the table of docs/models.md is what the planner says, and nothing wastes memory', () => {
  const table = [
    '| network | stored parameters | call | weights, MiB | activations, MiB | largest binding, MiB | at default limits | dispatches | GFLOP |',
    '| --- | --- | --- | --- | --- | --- | --- | --- | --- |',
    ...ROWS.map(row),
  ].join('\n');
  expect(wasteful).toEqual([]);
  const page = readFileSync(path, 'utf8');
  const [before, rest] = page.split(BEGIN);
  const [, after] = rest.split(END);
  if (process.env.DAGUERRE_UPDATE_DOCS) {
    writeFileSync(path, `${before}${BEGIN}\n\n${table}\n\n${END}${after}`);
    return;
  }
  expect(rest.split(END)[0].trim()).toBe(table);
});
