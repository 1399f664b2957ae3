/**
 * Names that the authors of Flux and SD3 give their layers: every matrix has one place, and rows of joined ones follow.
 */
import { expect, it } from 'vitest';
import { isTransformerLayer, transformerNames } from '../../../src/models/lora/originalNames.ts';
import { weightsOf } from '../../../src/models/loadedModel.ts';
import { readFluxConfig } from '../../../src/models/transformers/fluxConfig.ts';
import { fluxDefinition } from '../../../src/models/transformers/fluxModel.ts';
import { readSD3Config } from '../../../src/models/transformers/sd3Config.ts';
import { sd3Definition } from '../../../src/models/transformers/sd3Model.ts';
import { jsonOf } from '../../pipelines/tinyModels.ts';

const MODELS: [string, ReadonlyMap<string, readonly number[]>][] = [
  ...['flux', 'flux_extra_schnell'].map((name): (typeof MODELS)[number] => {
    return [name, weightsOf(fluxDefinition, readFluxConfig(jsonOf(`${name}/config.json`)))];
  }),
  ...['sd3', 'sd3_extra_dual'].map((name): (typeof MODELS)[number] => {
    return [name, weightsOf(sd3Definition, readSD3Config(jsonOf(`${name}/config.json`)))];
  }),
];

it.each(MODELS)('%s', (_, weights) => {
  const matrices = [...weights].filter(([key, shape]) => key.endsWith('.weight') && shape.length > 1);
  const found = new Map<string, string>();
  for (const [name, places] of transformerNames(weights)) {
    expect(isTransformerLayer(name)).toBe(true);
    expect(isTransformerLayer(name.replaceAll('.', '_'))).toBe(true);
    let rows = 0;
    for (const { key, first, of } of places) {
      expect(found.get(key)).toBeUndefined();
      found.set(key, name);
      expect(first).toBe(rows);
      rows += weights.get(key)![0];
      expect(of).toBe(places.reduce((n, place) => n + weights.get(place.key)![0], 0));
    }
  }
  expect([...found.keys()].sort()).toEqual(matrices.map(([key]) => key).sort());
});

it('a U-Net’s layers are none of them', () => {
  for (const name of ['down_blocks.0.attentions.0.proj_in', 'input_blocks_4_1_proj_in', 'time_embed.0', 'mid_block']) {
    expect(isTransformerLayer(name)).toBe(false);
  }
});
