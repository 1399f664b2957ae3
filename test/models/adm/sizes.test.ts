/** The published networks, by their configs: every key, and exactly as many parameters. */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { numel } from '../../../src/engine/index.ts';
import type { RawConfig } from '../../../src/loading/index.ts';
import { readAdmConfig, readClassifierConfig } from '../../../src/models/adm/admConfig.ts';
import { admWeights } from '../../../src/models/adm/admModel.ts';
import { classifierWeights, planAdmClassifier } from '../../../src/models/classifier/classifierModel.ts';

const config = (name: string) =>
  JSON.parse(readFileSync(new URL(`../configs/${name}.json`, import.meta.url), 'utf8')) as RawConfig;
const count = (weights: ReadonlyMap<string, readonly number[]>) =>
  [...weights.values()].reduce((sum, shape) => sum + numel(shape), 0);

/**
 * Counted in the original code; table 4 of Dhariwal & Nichol 2021 says 296, 422, 554, 553, 559, 312 and 309 million.
 */
describe('published U-Nets', () => {
  test.each([
    ['adm-64', 295_904_454],
    ['adm-128', 421_529_606],
    ['adm-256', 553_838_086],
    ['adm-256-uncond', 552_814_086],
    ['adm-512', 558_997_638],
    ['adm-64-256-upsampler', 311_795_910],
    ['adm-128-512-upsampler', 308_835_270],
    ['iddpm-cifar10', 52_546_438],
    ['iddpm-imagenet64', 121_063_942],
    ['cd-imagenet64-original', 295_899_267],
    ['cd-bedroom256-original', 526_304_771],
  ])('%s has %i parameters', (name, parameters) => {
    expect(count(admWeights(readAdmConfig(config(name))))).toBe(parameters);
  });

  test('keys are those of the checkpoints', () => {
    const keys = admWeights(readAdmConfig(config('adm-64')));
    expect(keys.get('input_blocks.0.0.weight')).toEqual([192, 3, 3, 3]);
    expect(keys.get('input_blocks.5.1.qkv.weight')).toEqual([1152, 384, 1]);
    expect(keys.get('output_blocks.3.2.in_layers.2.weight')).toEqual([768, 768, 3, 3]);
    expect(keys.get('label_emb.weight')).toEqual([1000, 768]);
    expect(admWeights(readAdmConfig(config('cd-imagenet64-original'))).get('middle_block.1.qkv.weight')).toEqual([
      2304, 768, 1, 1,
    ]);
  });
});

/** 65, 43, 54 and 54 million. */
describe('published classifiers', () => {
  test.each([
    ['adm-64-classifier', 65_438_568],
    ['adm-128-classifier', 42_568_040],
    ['adm-256-classifier', 54_096_360],
    ['adm-512-classifier', 54_448_360],
  ])('%s has %i parameters', (name, parameters) => {
    const weights = classifierWeights(readClassifierConfig(config(name)));
    expect(count(weights)).toBe(parameters);
    expect(weights.get('out.2.positional_embedding')).toEqual([512, 65]);
  });

  test('a gradient fits the limits that every adapter has', () => {
    const read = readClassifierConfig(config('adm-64-classifier'));
    const shape = { batch: 1, height: 64, width: 64 };
    const [plain, guided] = [planAdmClassifier(read, shape), planAdmClassifier(read, { ...shape, gradient: true })];
    expect(guided.dispatches).toBeGreaterThan(plain.dispatches);
  });
});
