/**
 * unCLIP (Karlo) and DeepFloyd IF at full size: every key and shape of the reference library's state dicts, without
 * weights.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { numel } from '../../src/engine/index.ts';
import type { RawConfig } from '../../src/loading/index.ts';
import * as m from '../../src/models/all.ts';

type Weights = ReadonlyMap<string, readonly number[]>;
const conditional = (raw: RawConfig) => m.unet2dConditionWeights(m.readUNetConditionConfig(raw));

test.each<[string, (raw: RawConfig) => Weights, number, number, string]>([
  [
    'karlo-text-proj',
    (raw) => m.unclipTextProjWeights(m.readUnclipTextProjConfig(raw)),
    11,
    7_878_400,
    'c6564016fbf6c631',
  ],
  ['karlo-decoder', conditional, 716, 885_439_686, '4a85b25655611306'],
  ['karlo-super-res', (raw) => m.unet2dWeights(m.readUNet2DConfig(raw)), 408, 691_579_523, 'c55f8e8dd3c92df2'],
  [
    'karlo-image-encoder',
    (raw) => m.clipVisionWeights(m.readClipVisionConfig(raw)),
    392,
    303_966_208,
    'ad159e7378dccc71',
  ],
  ['if-i-xl-unet', conditional, 775, 4_304_695_110, 'b131d28a81beb495'],
  ['if-ii-l-unet', conditional, 939, 1_243_277_190, '33e5786582ba0c3e'],
])('%s has the keys and shapes of the published one', (name, weightsOf, count, elements, hash) => {
  const raw = JSON.parse(readFileSync(new URL(`./configs/${name}.json`, import.meta.url), 'utf8')) as RawConfig;
  const weights = weightsOf(raw);
  expect(weights.size).toBe(count);
  expect([...weights.values()].reduce((n, shape) => n + numel(shape), 0)).toBe(elements);
  const lines = [...weights].map(([key, shape]) => `${key} ${shape.join(',')}`).sort();
  expect(createHash('sha256').update(lines.join('\n')).digest('hex').slice(0, 16)).toBe(hash);
});
