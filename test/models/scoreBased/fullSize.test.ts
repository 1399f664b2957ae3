/** The published configurations: every key and shape, without allocating a weight. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { numel } from '../../../src/engine/index.ts';
import type { RawConfig } from '../../../src/loading/index.ts';
import {
  edmWeights,
  ncsnppWeights,
  ncsnv2Weights,
  planEdm,
  planNcsnpp,
  planNcsnv2,
  readEdmConfig,
  readNcsnppConfig,
  readNcsnv2Config,
} from '../../../src/models/all.ts';
import { fixturesPath } from '../fixtures.ts';

const raw = (name: string) =>
  JSON.parse(readFileSync(join(fixturesPath, '../models/configs', `${name}.json`), 'utf8')) as RawConfig;

/** Parameters and buffers, and a digest of all lines `key [shape]`, as the authors' classes give them. */
const edm = {
  weights: (config: RawConfig) => edmWeights(readEdmConfig(config)),
  plan: (config: RawConfig, side: number) => planEdm(readEdmConfig(config), { batch: 1, height: side, width: side }),
};
const ncsnpp = {
  weights: (config: RawConfig) => ncsnppWeights(readNcsnppConfig(config)),
  plan: (config: RawConfig, side: number) =>
    planNcsnpp(readNcsnppConfig(config), { batch: 1, height: side, width: side }),
};
const ncsnv2 = {
  weights: (config: RawConfig) => ncsnv2Weights(readNcsnv2Config(config)),
  plan: (config: RawConfig, side: number) =>
    planNcsnv2(readNcsnv2Config(config), { batch: 1, height: side, width: side }),
};

const PUBLISHED = [
  {
    name: 'edm-cifar10-32x32-uncond-vp',
    of: edm,
    side: 32,
    parameters: 55_733_891,
    buffers: 0,
    keys: 'b3d750e1523524dd',
  },
  {
    name: 'edm-cifar10-32x32-cond-vp',
    of: edm,
    side: 32,
    parameters: 55_735_299,
    buffers: 0,
    keys: 'a1efdcf7797b18ca',
  },
  {
    name: 'edm-cifar10-32x32-uncond-ve',
    of: edm,
    side: 32,
    parameters: 56_397_827,
    buffers: 128,
    keys: '9bb3a0b63012e1ac',
  },
  {
    name: 'edm-imagenet-64x64-cond-adm',
    of: edm,
    side: 64,
    parameters: 295_899_267,
    buffers: 0,
    keys: '89b211bf4fcabdce',
  },
  {
    name: 'ncsnpp-ve-cifar10-continuous',
    of: ncsnpp,
    side: 32,
    parameters: 62_758_915,
    buffers: 0,
    keys: '00df3bc904f65e93',
  },
  { name: 'ncsnv2-cifar10', of: ncsnv2, side: 32, parameters: 29_694_083, buffers: 232, keys: '4dbb2283597c0f4f' },
  { name: 'ncsnv2-ffhq', of: ncsnv2, side: 256, parameters: 94_132_611, buffers: 2311, keys: '3fc36bb612326630' },
];

describe.each(PUBLISHED)('$name', ({ name, of, side, parameters, buffers, keys }) => {
  test('has the keys, shapes and parameters of the published network', () => {
    const wanted = of.weights(raw(name));
    const total = [...wanted.values()].reduce((sum, shape) => sum + numel(shape), 0);
    expect(total).toBe(parameters + buffers);
    const lines = [...wanted].map(([key, shape]) => `${key} [${shape.join(',')}]`).sort(byCodePoint);
    expect(createHash('sha256').update(lines.join('\n')).digest('hex').slice(0, 16)).toBe(keys);
  });

  test('is planned within the limits of every adapter', () => {
    const report = of.plan(raw(name), side);
    if (process.env.SHOW) console.log(name, report);
    expect(report.dispatches).toBeGreaterThan(100);
  });
});

function byCodePoint(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}
