/** Published text encoders and autoencoders at full size: every key and shape, counted without allocating a weight. */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { DEFAULT_LIMITS, numel, type Report } from '../../src/engine/index.ts';
import type { RawConfig } from '../../src/loading/index.ts';
import { autoencoderKlWeights, planAutoencoderKL, readAutoencoderKLConfig } from '../../src/models/index.ts';
import { readClipTextConfig } from '../../src/models/textEncoders/clipTextConfig.ts';
import { clipTextWeights, planClipText, type ClipTextClass } from '../../src/models/textEncoders/clipTextModel.ts';
import { readT5Config } from '../../src/models/textEncoders/t5Config.ts';
import { planT5, t5Weights } from '../../src/models/textEncoders/t5EncoderModel.ts';
import { readAutoencoderTinyConfig } from '../../src/models/tiny/autoencoderTinyConfig.ts';
import { autoencoderTinyWeights, planAutoencoderTiny } from '../../src/models/tiny/autoencoderTinyModel.ts';
import { readVQConfig } from '../../src/models/vq/vqConfig.ts';
import { planVQ, vqWeights } from '../../src/models/vq/vqModel.ts';

const config = (name: string) =>
  JSON.parse(readFileSync(new URL(`./configs/${name}.json`, import.meta.url), 'utf8')) as RawConfig;
const size = (keys: ReadonlyMap<string, readonly number[]>) => [...keys.values()].reduce((n, s) => n + numel(s), 0);

const clip = (className: ClipTextClass) => ({
  weights: (raw: RawConfig) => clipTextWeights(readClipTextConfig(raw, className), className),
  plan: (raw: RawConfig) => planClipText(readClipTextConfig(raw, className), className, {}, 'f16'),
});
const [text, projected] = [clip('CLIPTextModel'), clip('CLIPTextModelWithProjection')];
const t5 = {
  weights: (raw: RawConfig) => t5Weights(readT5Config(raw)),
  plan: (raw: RawConfig) => planT5(readT5Config(raw), { batch: 1, length: 256, padded: false }, 'f16'),
};
// Decoding 512 × 512 pixels.
const kl = {
  weights: (raw: RawConfig) => autoencoderKlWeights(readAutoencoderKLConfig(raw)),
  plan: (raw: RawConfig) =>
    planAutoencoderKL(readAutoencoderKLConfig(raw), 'decode', { batch: 1, height: 64, width: 64 }, 'f16'),
};
const tiny = {
  weights: (raw: RawConfig) => autoencoderTinyWeights(readAutoencoderTinyConfig(raw)),
  plan(raw: RawConfig) {
    const c = readAutoencoderTinyConfig(raw);
    const shape = { batch: 1, channels: c.latentChannels, height: 64, width: 64 };
    return planAutoencoderTiny(c, { part: 'decode', ...shape }, 'f16');
  },
};
const vq = {
  weights: (raw: RawConfig) => vqWeights(readVQConfig(raw)),
  plan: (raw: RawConfig) =>
    planVQ(readVQConfig(raw), { part: 'decode', batch: 1, channels: 3, height: 64, width: 64 }, 'f16'),
};

interface Kind {
  weights(raw: RawConfig): ReadonlyMap<string, readonly number[]>;
  plan(raw: RawConfig): Report;
}

// Keys and elements of the reference libraries' classes at these configs; T5's shared table counts once.
describe.each<[string, Kind, number, number]>([
  ['sd15-text-encoder', text, 196, 123_060_480],
  ['sd21-text-encoder', text, 372, 340_387_840],
  ['sd3-text-encoder', projected, 197, 123_650_304],
  ['sdxl-text-encoder-2', projected, 517, 694_659_840],
  ['t5-v1.1-xxl-encoder', t5, 219, 4_762_310_656],
  ['sd15-vae', kl, 248, 83_653_863],
  ['sdxl-vae', kl, 248, 83_653_863],
  ['sd3-vae', kl, 244, 83_819_683],
  ['flux-vae', kl, 244, 83_819_683],
  ['taesd', tiny, 134, 2_445_063],
  ['taesd3', tiny, 134, 2_458_899],
  ['ldm-celebahq-256-vqvae', vq, 205, 55_322_782],
])('%s', (name, kind, keys, elements) => {
  test('has as many weights as published', () => {
    const weights = kind.weights(config(name));
    expect(weights.size).toBe(keys);
    expect(size(weights)).toBe(elements);
  });

  test('fits the limits that every adapter has, stored in halves', () => {
    const report = kind.plan(config(name));
    if (process.env.SHOW) {
      const { dispatches, peakBytes, weightBytes, flops, largestBinding } = report;
      const mib = (bytes: number) => Math.round(bytes / 2 ** 20);
      console.log(name, {
        dispatches,
        peak: mib(peakBytes),
        weights: mib(weightBytes),
        gflop: flops / 1e9,
        largestBinding,
      });
    }
    expect(report.largestBinding.bytes).toBeLessThanOrEqual(DEFAULT_LIMITS.maxStorageBufferBindingSize);
  });
});
