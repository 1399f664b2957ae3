import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { pathDirectory } from '../../src/node/fileSource.ts';
import { runOriginalCase } from '../../src/node/parity/original/index.ts';
import { kSparse, kSparseSupport } from '../../src/models/autoencoders/kSparse.ts';
import { mlpVae } from '../../src/models/autoencoders/mlpVae.ts';
import { vanillaVae } from '../../src/models/autoencoders/vanillaVae.ts';
import { weightsOf } from '../../src/models/loadedModel.ts';
import { tdVae } from '../../src/models/tdVae/tdVaeModel.ts';
import { adapters } from '../support/gpu.ts';
import { openDevice } from '../support/runGraph.ts';

const root = pathDirectory(fileURLToPath(new URL('../fixtures/original/', import.meta.url)));

const names = [
  'j-ksparse',
  'j-vae-mlp',
  'j-vae-antixk',
  'j-tdvae',
  'j-vqvae',
  'j-vqvae-antixk',
  'j-vqvae2',
  'j-pixelsnail',
  'j-pixelsnail-cond',
];

describe.each(adapters())('recorded autoencoders on %s', (adapter) => {
  it.each(names)('%s', async (name) => {
    const device = () => openDevice(adapter);
    const { error, tolerance } = await runOriginalCase(root.folder(name), { root, name, device, dtype: 'f32' });
    expect(error).toBeLessThanOrEqual(tolerance);
  });
});

describe('configs', () => {
  it('default to the published sizes', () => {
    const c = vanillaVae.readConfig({ _class_name: 'VanillaVAE' });
    expect(weightsOf(vanillaVae, c).get('decoder_input.weight')).toEqual([2048, 128]);
    expect([...weightsOf(mlpVae, mlpVae.readConfig({})).keys()]).toHaveLength(10);
  });

  it('refuse what they do not know', () => {
    expect(() => vanillaVae.readConfig({ hidden_dims: [] })).toThrow(/hidden_dims/);
    expect(() => mlpVae.readConfig({ depth: 3 })).toThrow(/depth/);
    expect(() => tdVae.readConfig({ x_size: 1 })).toThrow(/processed_x_size/);
    expect(() => kSparse.readConfig({ input_size: 0, code_size: 1 })).toThrow(/input_size/);
  });
});

it('kSparseSupport takes the first of equal units', () => {
  expect(kSparseSupport([1, 3, 3, -4], 1)).toEqual([1]);
  expect(kSparseSupport([1, 3, 3, -4], 3, 'magnitude')).toEqual([1, 2, 3]);
});
