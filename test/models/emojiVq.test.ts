/** The trained autoencoder with a codebook (weights/emoji-vq) against what PyTorch makes of the same weights. */
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Device } from '../../src/engine/index.ts';
import { Checkpoint } from '../../src/loading/index.ts';
import { VQModel } from '../../src/models/vq/vqModel.ts';
import { FileSource, pathDirectory } from '../../src/node/fileSource.ts';
import { expectClose, NETWORK_RANGE, networkTolerance, SAME_PICTURE } from '../support/close.ts';
import { adapters, getGpu, isFullRun } from '../support/gpu.ts';

const PICTURE = 3 * 64 * 64;
const CELLS = 16 * 16;
/** Convolutions that a latent has come through. */
const LAYERS = 20;

const reference = Checkpoint.open(new FileSource('weights/emoji-vq-reference/io.safetensors'));
afterAll(async () => (await reference).close());

const recorded = async (name: string, count: number) => (await (await reference).read(name)).slice(0, count);
/** −1 … 1, or beyond it, to 0 … 1. */
const shown = (x: ArrayLike<number>) => Float32Array.from(x, (v) => Math.min(1, Math.max(0, v / 2 + 0.5)));

describe.each(adapters())('emoji as indices of a codebook, on %s', (adapter) => {
  // Software adapters take seconds for each picture.
  const count = isFullRun ? 4 : adapter === 'swiftshader' ? 1 : 2;
  const shape = [count, 3, 64, 64];
  let device: Device;
  let model: VQModel;
  beforeAll(async () => {
    device = await Device.open({ gpu: await getGpu(adapter) });
    model = await VQModel.load(device, pathDirectory('weights/emoji-vq'), { dtype: 'f32' });
  }, 600_000);
  afterAll(async () => {
    model.dispose();
    await device.idle();
    expect(device.held).toEqual({ bytes: 0, buffers: 0 });
    device.dispose();
  });

  test('the indices that PyTorch finds, except where two entries are equally near', async () => {
    const image = { data: await recorded('in.image', count * PICTURE), shape };
    const latents = await recorded('out.latents', count * 4 * CELLS);
    const largest = Math.max(...latents.map(Math.abs));
    expectClose(await (await model.encode({ image })).read(), latents, NETWORK_RANGE * largest, 'latents');

    const codes = await model.encodeToIndices({ image });
    expect(codes.shape).toEqual([count, 16, 16]);
    const got = await codes.read();
    const [want, margin] = [await recorded('out.indices', count * CELLS), await recorded('out.margin', count * CELLS)];
    const tie = networkTolerance('f32', LAYERS, 4 * largest ** 2);
    const clear = [...want.keys()].filter((i) => margin[i] > tie);
    expect(clear.length / want.length).toBeGreaterThan(0.98);
    expect(clear.map((i) => got[i])).toEqual(clear.map((i) => want[i]));
  }, 600_000);

  test('the pictures that PyTorch makes of those indices', async () => {
    const indices = { data: await recorded('out.indices', count * CELLS), shape: [count, 16, 16] };
    const picture = await (await model.decodeIndices({ indices })).read();
    const want = await recorded('out.decoded', count * PICTURE);
    expectClose(shown(picture), shown(want), SAME_PICTURE, 'picture');
  }, 600_000);
});

test('what was measured: 28 dB on pictures it has not seen, and most of the codebook is used', () => {
  const { heldOutPsnr, allCodes } = JSON.parse(readFileSync('weights/emoji-vq/figures.json', 'utf8')) as {
    heldOutPsnr: { mean: number };
    allCodes: { used: number; of: number };
  };
  expect(heldOutPsnr.mean).toBeGreaterThanOrEqual(28);
  expect(allCodes.used / allCodes.of).toBeGreaterThan(0.9);
});
