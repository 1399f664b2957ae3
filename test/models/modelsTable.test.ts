/**
 * docs/models.md says what the planner says, and no network wastes its memory; `DAGUERRE_UPDATE_DOCS=1` writes the
 * table anew.
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
import * as k from './planKinds.ts';

const at = (batch: number, side: number): k.Size => ({ batch, height: side, width: side });

/** Config, what it is called, how it is planned, and the call that is planned. */
const ROWS: readonly [config: string, name: string, kind: k.Kind, size: k.Size, call: string][] = [
  ['sd15-unet', 'Stable Diffusion 1.5, U-Net', k.conditional, at(2, 64), '2 × 64×64 latents, 77 tokens'],
  ['sd21-unet', 'Stable Diffusion 2.1, U-Net', k.conditional, at(2, 96), '2 × 96×96 latents'],
  ['sd-turbo-unet', 'SD-Turbo, U-Net', k.conditional, at(2, 64), '2 × 64×64 latents'],
  ['sdxl-unet', 'SDXL, U-Net', k.conditional, at(2, 128), '2 × 128×128 latents'],
  ['sd-x4-upscaler-unet', 'SD ×4 upscaler, U-Net', k.conditional, at(2, 128), '2 × 128×128 latents'],
  ['karlo-prior', 'Karlo (unCLIP), prior', k.karloPrior, at(2, 1), '2 × 77 tokens'],
  ['karlo-text-proj', 'Karlo, embeddings to the decoder', k.karloTextProj, at(2, 1), '2 × 77 tokens'],
  ['karlo-decoder', 'Karlo, decoder', k.conditional, at(2, 64), '2 × 64×64'],
  ['karlo-super-res', 'Karlo, each of the two that enlarge', k.unet2d, at(1, 256), '256×256'],
  ['karlo-image-encoder', 'CLIP ViT-L/14 pictures', k.clipVision, at(1, 1), '224×224'],
  ['if-i-xl-unet', 'DeepFloyd IF-I-XL, U-Net', k.conditional, at(2, 64), '2 × 64×64, 77 tokens'],
  ['if-ii-l-unet', 'DeepFloyd IF-II-L, U-Net', k.conditional, at(2, 256), '2 × 256×256, 77 tokens'],
  ['controlnet-canny', 'ControlNet (canny, SD 1.5)', k.controlNet, at(2, 64), '2 × 64×64 latents'],
  ['dit-xl-2-256', 'DiT-XL/2 256', k.dit, at(1, 32), '32×32 latents'],
  ['dit-xl-2-512', 'DiT-XL/2 512', k.dit, at(1, 64), '64×64 latents'],
  ['dit-s-2-original', 'DiT-S/2', k.dit, at(1, 32), '32×32 latents'],
  ['sd3-medium', 'Stable Diffusion 3 medium', k.sd3, at(1, 128), '128×128 latents, 333 tokens'],
  ['sd3.5-medium', 'Stable Diffusion 3.5 medium', k.sd3, at(1, 128), '128×128 latents'],
  ['sd3.5-large', 'Stable Diffusion 3.5 large', k.sd3, at(1, 128), '128×128 latents'],
  ['flux.1-schnell', 'FLUX.1 schnell', k.flux, at(1, 128), '4096 + 512 tokens'],
  ['flux.1-dev', 'FLUX.1 dev', k.flux, at(1, 128), '4096 + 512 tokens'],
  ['adm-64', 'ADM 64', k.adm, at(1, 64), '64×64'],
  ['adm-256', 'ADM 256', k.adm, at(1, 256), '256×256'],
  ['adm-64-classifier', 'ADM 64, classifier with gradient', k.classifier, at(1, 64), '64×64'],
  ['cd-imagenet64-original', 'Consistency model, ImageNet 64', k.adm, at(1, 64), '64×64'],
  ['edm-cifar10-32x32-uncond-vp', 'EDM, CIFAR-10 VP (DDPM++)', k.edm, at(1, 32), '32×32'],
  ['edm-cifar10-32x32-uncond-ve', 'EDM, CIFAR-10 VE (NCSN++)', k.edm, at(1, 32), '32×32'],
  ['edm-imagenet-64x64-cond-adm', 'EDM, ImageNet 64 (ADM)', k.edm, at(1, 64), '64×64'],
  ['ncsnpp-ve-cifar10-continuous', 'NCSN++ continuous, CIFAR-10', k.ncsnpp, at(1, 32), '32×32'],
  ['ddpm-cifar10-32', 'DDPM, CIFAR-10', k.unet2d, at(1, 32), '32×32'],
  ['ldm-celebahq-256-unet', 'LDM CelebA-HQ 256, U-Net', k.unet2d, at(1, 64), '64×64 latents'],
  ['ldm-celebahq-256-vqvae', 'LDM CelebA-HQ 256, VQ decoder', k.vq, at(1, 64), '64×64 latents'],
  ['sd15-vae', 'SD 1.5, KL decoder', k.decoder, at(1, 64), '64×64 latents'],
  ['sdxl-vae', 'SDXL, KL decoder', k.decoder, at(1, 128), '128×128 latents'],
  ['flux-vae', 'FLUX, KL decoder', k.decoder, at(1, 128), '128×128 latents'],
  ['taesd', 'TAESD, decoder', k.tiny, at(1, 64), '64×64 latents'],
  ['sd15-text-encoder', 'CLIP ViT-L/14 text', k.clip('CLIPTextModel'), at(1, 1), '77 tokens'],
  ['sd21-text-encoder', 'OpenCLIP ViT-H/14 text', k.clip('CLIPTextModel'), at(1, 1), '77 tokens'],
  ['sdxl-text-encoder-2', 'OpenCLIP ViT-bigG/14 text', k.clip('CLIPTextModelWithProjection'), at(1, 1), '77 tokens'],
  ['t5-v1.1-xxl-encoder', 'T5 v1.1 XXL encoder', k.t5, at(1, 1), '256 tokens'],
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

function row([config, name, kind, size, call]: (typeof ROWS)[number]): string {
  const { weights, plan } = kind(k.config(config));
  const stored = [...weights().values()].reduce((sum, shape) => sum + numel(shape), 0);
  let report: Report;
  let fits = 'yes';
  try {
    report = plan(size, 'f16', { ...DEFAULT_CAPABILITIES, f16: true });
  } catch (error) {
    if (!(error instanceof LimitError)) throw error;
    report = plan(size, 'f16', RAISED);
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
