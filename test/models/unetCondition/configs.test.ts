/** Published configs at full size: every key and shape of the reference library's state dicts, without weights. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { numel } from '../../../src/engine/index.ts';
import { readControlNetConfig } from '../../../src/models/controlNet/controlNetConfig.ts';
import { controlNetWeights, planControlNet } from '../../../src/models/controlNet/controlNetModel.ts';
import { readUNetConditionConfig } from '../../../src/models/unetCondition/unetConditionConfig.ts';
import { planUNet2DCondition, unet2dConditionWeights } from '../../../src/models/unetCondition/unetConditionModel.ts';

const read = (name: string) =>
  JSON.parse(readFileSync(new URL(`../configs/${name}.json`, import.meta.url), 'utf8')) as Record<string, unknown>;

/** A digest of all keys with their shapes, in the order of the alphabet. */
function digest(weights: ReadonlyMap<string, readonly number[]>): string {
  const lines = [...weights].map(([key, shape]) => `${key} ${shape.join(',')}`).sort();
  return createHash('sha256').update(lines.join('\n')).digest('hex').slice(0, 16);
}

const sum = (weights: ReadonlyMap<string, readonly number[]>) =>
  [...weights.values()].reduce((n, shape) => n + numel(shape), 0);

test.each([
  ['sd15-unet', 686, 859_520_964, 'f8fb313c883791d7'],
  ['sd21-unet', 686, 865_910_724, 'eb6babef435c36ea'],
  ['sd-turbo-unet', 686, 865_910_724, 'eb6babef435c36ea'],
  ['sdxl-unet', 1680, 2_567_463_684, '10ca6f4d2ccd6cec'],
  ['sd-x4-upscaler-unet', 687, 473_398_020, '1960f2bf33f34261'],
])('%s has the keys and shapes of the published one', (name, count, elements, hash) => {
  const weights = unet2dConditionWeights(readUNetConditionConfig(read(name)));
  expect(weights.size).toBe(count);
  expect(sum(weights)).toBe(elements);
  expect(digest(weights)).toBe(hash);
});

test('controlnet-canny has the keys and shapes of the published one', () => {
  const weights = controlNetWeights(readControlNetConfig(read('controlnet-canny')));
  expect(weights.size).toBe(340);
  expect(sum(weights)).toBe(361_279_120);
  expect(digest(weights)).toBe('2ef994034ba1e575');
});

test('plans at full size, at the limits that every adapter has', () => {
  const shape = { batch: 2, height: 64, width: 64 };
  const unet = planUNet2DCondition(readUNetConditionConfig(read('sd15-unet')), shape, 'f16');
  expect(unet.weightBytes).toBeGreaterThan(2 * 859_520_964);
  expect(unet.peakBytes).toBeLessThanOrEqual(1.15 * unet.liveBytes);
  // 0.8·10¹² multiply-adds for both halves of guidance, as the literature counts this network.
  expect(Math.round(unet.flops / 2e11)).toBe(8);
  const control = planControlNet(readControlNetConfig(read('controlnet-canny')), shape, 'f16');
  expect(control.flops).toBeLessThan(unet.flops);
});
