/** The autoencoder on a device: what goes in, what is refused, what is left behind. Numbers: test/parity. */
import { expect, test } from 'vitest';
import { InvalidArgumentError, ShapeError, WeightError } from '../../src/engine/index.ts';
import { AutoencoderKL, legacyAttentionKeys } from '../../src/models/index.ts';
import { Checkpoint } from '../../src/loading/index.ts';
import { expectClose, networkTolerance } from '../support/close.ts';
import { adapters } from '../support/gpu.ts';
import { normals } from '../support/random.ts';
import { changed, failure, fixture } from './fixtures.ts';
import { openDevice } from '../support/runGraph.ts';

const NAME = 'vae_kl_sd';
const image = { data: normals(1, 2 * 3 * 8 * 8), shape: [2, 3, 8, 8] };
const latent = { data: normals(2, 4 * 3 * 5), shape: [1, 4, 3, 5] };

const device = await openDevice(adapters()[0]);

test('halves load when they are needed, and everything goes again', async () => {
  const before = { ...device.held };
  const model = await AutoencoderKL.load(device, fixture(NAME), { parts: ['decode'] });
  const decoderOnly = model.weightBytes;
  expect(model.downsampling).toBe(2);
  const picture = await model.decode({ latent });
  expect(picture.shape).toEqual([1, 3, 6, 10]);
  expect(model.weightBytes).toBe(decoderOnly);
  const moments = await model.encode({ image });
  expect(moments.shape).toEqual([2, 8, 4, 4]);
  expect(model.weightBytes).toBeGreaterThan(decoderOnly);
  const posterior = await moments.posterior();
  expect(posterior.shape).toEqual([2, 4, 4, 4]);
  model.dispose();
  await device.idle();
  expect(device.held).toEqual(before);
});

test('old attention names give the same numbers as new ones', async () => {
  const old: Record<string, string> = { to_q: 'query', to_k: 'key', to_v: 'value', 'to_out.0': 'proj_attn' };
  const renamed = await changed(NAME, {
    weights: (tensors) => {
      for (const key of Object.keys(tensors)) {
        const name = Object.keys(old).find((n) => key.includes(`attentions.0.${n}.`));
        if (!name) continue;
        tensors[key.replace(name, old[name])] = tensors[key];
        delete tensors[key];
      }
    },
  });
  const results: Float32Array[] = [];
  for (const source of [fixture(NAME), renamed]) {
    const model = await AutoencoderKL.load(device, source, { parts: ['decode'] });
    results.push(await (await model.decode({ latent })).read());
    model.dispose();
  }
  expect(results[1]).toEqual(results[0]);
});

test('an opened checkpoint serves as well, and stays open', async () => {
  const folder = fixture('vae_kl_legacy_keys_f16');
  const config = (await folder.json('config.json')) as Record<string, unknown>;
  const file = await folder.open('diffusion_pytorch_model.safetensors');
  const asStored = await Checkpoint.open(file);
  for (const checkpoint of [asStored, asStored.view(legacyAttentionKeys)]) {
    const model = await AutoencoderKL.load(device, { config, checkpoint });
    expect(model.config.latentChannels).toBe(3);
    model.dispose();
  }
  expect(await asStored.read('quant_conv.bias')).toHaveLength(6);
  await asStored.close();
});

test('a batch decodes as its items do', async () => {
  const model = await AutoencoderKL.load(device, fixture(NAME), { parts: ['decode'] });
  const item = { data: normals(3, 4 * 2 * 2), shape: [1, 4, 2, 2] };
  const one = await (await model.decode({ latent: item })).read();
  const twice = { data: Float32Array.of(...item.data, ...item.data), shape: [2, 4, 2, 2] };
  const two = await (await model.decode({ latent: twice })).read();
  expectClose(two, [...one, ...one], networkTolerance('f32', 16, 4), 'batch against items');
  model.dispose();
});

test('inputs and checkpoints that do not fit', async () => {
  const model = await AutoencoderKL.load(device, fixture(NAME), { parts: ['decode'] });
  expect(await failure(model.decode({ latent: image }))).toBeInstanceOf(ShapeError);
  expect(await failure(model.encode({ image: latent }))).toBeInstanceOf(ShapeError);
  const short = { ...latent, data: latent.data.subarray(1) };
  expect(await failure(model.decode({ latent: short }))).toBeInstanceOf(InvalidArgumentError);
  model.dispose();
  const before = { ...device.held };
  const lacking = await changed(NAME, { weights: (tensors) => delete tensors['post_quant_conv.bias'] });
  // Even if only the other half is wanted: the folder is not what it says.
  const error = await failure(AutoencoderKL.load(device, lacking, { parts: ['encode'] }));
  expect(error).toBeInstanceOf(WeightError);
  expect((error as WeightError).keys).toEqual(['post_quant_conv.bias']);
  expect(device.held).toEqual(before);
});
