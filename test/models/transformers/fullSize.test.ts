/** Published transformers by their configs: complete key lists, recorded without weights and without a device. */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { DEFAULT_CAPABILITIES, DEFAULT_LIMITS, numel } from '../../../src/engine/index.ts';
import type { RawConfig } from '../../../src/loading/index.ts';
import { planModel, weightsOf, type ModelDefinition } from '../../../src/models/loadedModel.ts';
import { ditDefinition } from '../../../src/models/transformers/ditModel.ts';
import { ditKeys } from '../../../src/models/transformers/ditKeys.ts';
import { fluxDefinition } from '../../../src/models/transformers/fluxModel.ts';
import { priorDefinition } from '../../../src/models/transformers/priorModel.ts';
import { sd3Definition } from '../../../src/models/transformers/sd3Model.ts';

const config = (name: string): RawConfig =>
  JSON.parse(readFileSync(new URL(`../configs/${name}.json`, import.meta.url), 'utf8')) as RawConfig;

const latents = (side: number) => ({ batch: 1, height: side, width: side });

// Keys and elements of the reference implementations' state dicts; the table of positions is a parameter of the
// authors' DiT and a buffer of SD3, where the 2.0, 2.2 and 8.1 billion that are told of leave it out.
test.each<[string, ModelDefinition<never, never>, number, number, object, number]>([
  ['dit-xl-2-256', ditDefinition as never, 538, 749_826_464, latents(32), 0],
  ['dit-xl-2-512', ditDefinition as never, 538, 749_826_464, latents(64), 0],
  ['dit-xl-2-256-original', ditDefinition as never, 292, 675_129_632, latents(32), 0],
  ['dit-xl-2-512-original', ditDefinition as never, 292, 676_014_368, latents(64), 0],
  ['dit-s-2-original', ditDefinition as never, 132, 32_963_360, latents(32), 0],
  ['sd3-medium', sd3Definition as never, 683, 2_028_328_000, { ...latents(128), textTokens: 333 }, 192 ** 2 * 1536],
  ['sd3.5-medium', sd3Definition as never, 909, 2_243_171_520, { ...latents(128), textTokens: 333 }, 384 ** 2 * 1536],
  ['sd3.5-large', sd3Definition as never, 1227, 8_056_627_520, { ...latents(128), textTokens: 333 }, 192 ** 2 * 2432],
  [
    'flux.1-schnell',
    fluxDefinition as never,
    1156,
    11_891_178_560,
    { batch: 1, imageTokens: 4096, textTokens: 256 },
    0,
  ],
  ['flux.1-dev', fluxDefinition as never, 1160, 11_901_408_320, { batch: 1, imageTokens: 4096, textTokens: 512 }, 0],
  [
    'karlo-prior',
    priorDefinition as never,
    338,
    1_022_030_080,
    { batch: 1, textTokens: 77, conditionTokens: 1, hiddenTokens: 1, masked: true },
    0,
  ],
])('%s has as many weights as published', (name, definition, keys, parameters, form, buffers) => {
  const read = definition.readConfig(config(name));
  const wanted = weightsOf(definition, read);
  const elements = [...wanted.values()].reduce((n, shape) => n + numel(shape), 0);
  expect([wanted.size, elements - buffers]).toEqual([keys, parameters]);
  // A plan needs the limits of a card that can hold them; nothing is allocated.
  const limits = { ...DEFAULT_LIMITS, maxStorageBufferBindingSize: 2 ** 31, maxBufferSize: 2 ** 31 };
  const report = planModel(definition, read, form as never, 'f16', { ...DEFAULT_CAPABILITIES, f16: true, limits });
  if (process.env.SHOW) console.log(name, summary(report));
  expect(report.dispatches).toBeGreaterThan(10);
});

const summary = ({ weightBytes, peakBytes, dispatches, flops }: ReturnType<typeof planModel>) =>
  `weights ${(weightBytes / 2 ** 20).toFixed(0)} MiB, activations ${(peakBytes / 2 ** 20).toFixed(0)} MiB, ` +
  `${dispatches} dispatches, ${(flops / 1e9).toFixed(1)} GFLOP`;

test('names of the authors become those of diffusers', () => {
  expect(
    ['blocks.7.attn.qkv.weight', 'final_layer.linear.bias', 'pos_embed', 'pos_embed.proj.bias'].map(ditKeys),
  ).toEqual([
    'transformer_blocks.7.attn1.to_qkv.weight',
    'proj_out_2.bias',
    'pos_embed.pos_embed',
    'pos_embed.proj.bias',
  ]);
});
