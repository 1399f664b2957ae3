/** Autoencoders in tiles: as the reference library blends them, when they are used, and what a plan says of them. */
import { describe, expect, it } from 'vitest';
import { DEFAULT_CAPABILITIES, InvalidArgumentError, LimitError } from '../../src/engine/index.ts';
import { Checkpoint } from '../../src/loading/index.ts';
import { readAutoencoderKLConfig } from '../../src/models/autoencoderKlConfig.ts';
import { planAutoencoderKL } from '../../src/models/autoencoderKlModel.ts';
import { AutoencoderKL } from '../../src/models/index.ts';
import { FileSource, pathDirectory } from '../../src/node/fileSource.ts';
import { SplitCalls } from '../../src/models/splitCalls.ts';
import { runTiles, tileGrid, tileSpans } from '../../src/models/tiling.ts';
import { VQModel } from '../../src/models/vq/vqModel.ts';
import { expectClose, networkTolerance } from '../support/close.ts';
import { adapters } from '../support/gpu.ts';
import { normals } from '../support/random.ts';
import { failure, fixture } from './fixtures.ts';
import { openDevice } from '../support/runGraph.ts';

/** Results of the autoencoder that are stored one after the other. */
const LAYERS = 64;
const device = await openDevice(adapters()[0]);

const largest = (values: Float32Array) => values.reduce((m, v) => Math.max(m, Math.abs(v)), 0);
const agree = (got: Float32Array, want: Float32Array, what: string) =>
  expectClose(got, want, networkTolerance('f32', LAYERS, 4 * largest(want)), what);

async function recording() {
  const checkpoint = await Checkpoint.open(await fixture('pipelines/recorded').open('tiles.safetensors'));
  const tensors: Record<string, { data: Float32Array; shape: number[] }> = {};
  for (const key of checkpoint.keys()) {
    tensors[key] = { data: await checkpoint.read(key), shape: [...checkpoint.info(key).shape] };
  }
  await checkpoint.close();
  return tensors;
}

const vaeFolder = fixture('pipe_sd_ddim').folder('vae');

/** Runs something on a model while the device seems to bind no more than so many bytes. */
async function bound<T>(bytes: number, work: () => Promise<T>): Promise<T> {
  const { limits } = device.caps;
  const own = limits.maxStorageBufferBindingSize;
  const set = (value: number) => Object.assign(limits, { maxStorageBufferBindingSize: value });
  set(bytes);
  try {
    return await work();
  } finally {
    set(own);
  }
}

/** The least that a device has to bind for a call that is not split: kernels have forms that bind less. */
async function leastBinding(vae: AutoencoderKL, shape: Parameters<AutoencoderKL['plan']>[1]): Promise<number> {
  const { tiling } = vae;
  vae.tiling = 'off';
  let least = device.caps.limits.maxStorageBufferBindingSize;
  try {
    for (;;) least = await bound(least - 4, async () => vae.plan('decode', shape).largestBinding.bytes);
  } catch (error) {
    expect(error).toBeInstanceOf(LimitError);
    return least;
  } finally {
    vae.tiling = tiling;
  }
}

describe('tiles on the host', () => {
  it('overlap and cover, the last ones cut off', () => {
    const grid = tileGrid({ tileSize: 16 }, 2, false);
    expect(grid).toEqual({ size: 8, step: 6, kept: 12, blend: 4 });
    expect(tileGrid({ tileSize: 16 }, 2, true)).toEqual({ size: 16, step: 12, kept: 6, blend: 2 });
    expect(tileSpans(13, grid)).toEqual([
      { from: 0, length: 8 },
      { from: 6, length: 7 },
      { from: 12, length: 1 },
    ]);
  });

  it('leave what each pixel has alone, and what is the same in all of them', async () => {
    // Twice the size, nearest neighbour: where tiles overlap they agree, so that no blending shows.
    const [B, C, H, W] = [2, 3, 21, 13];
    const data = normals(1, B * C * H * W);
    const grow = (v: Float32Array, h: number, w: number, n: number) =>
      Float32Array.from({ length: 4 * n * h * w }, (_, i) => {
        const [x, y, c] = [i % (2 * w), Math.floor(i / (2 * w)) % (2 * h), Math.floor(i / (4 * w * h))];
        return v[(c * h + (y >> 1)) * w + (x >> 1)];
      });
    const seen: number[] = [];
    for (const options of [{ tileSize: 16 }, { tileSize: 16, overlap: 0 }, { tileSize: 24, overlap: 0.5 }]) {
      const out = await runTiles({ data, shape: [B, C, H, W] }, tileGrid(options, 2, false), async (tile) => {
        const [, , h, w] = tile.shape;
        seen.push(h, w);
        return { data: grow(tile.data, h, w, C), shape: [1, C, 2 * h, 2 * w] };
      });
      expect(out.shape).toEqual([B, C, 2 * H, 2 * W]);
      expectClose(out.data, grow(data, H, W, B * C), networkTolerance('f32', 1, largest(data)), 'grown');
      expect(Math.max(...seen.splice(0))).toBe(options.tileSize / 2);
    }
  });

  it('are whole latent cells', () => {
    for (const options of [{ tileSize: 17 }, { tileSize: 12 }, { tileSize: 0 }, { overlap: 0.6 }, { overlap: -1 }]) {
      expect(() => tileGrid(options, 2, true)).toThrow(InvalidArgumentError);
    }
  });
});

describe('AutoencoderKL', () => {
  it('blends tiles as the reference library does, both ways; in few forms', async () => {
    const { z, image, picture, latents, logvar } = await recording();
    const before = { ...device.held };
    const vae = await AutoencoderKL.load(device, vaeFolder);
    expect(vae.tiling).toBe('auto');
    vae.tiling = {};
    const decoded = await vae.decode({ latent: z });
    expect(decoded.shape).toEqual(picture.shape);
    agree(await decoded.read(), picture.data, 'decoded');
    const posterior = await (await vae.encode({ image })).posterior();
    agree(posterior.mode(), latents.data, 'mean');
    agree(posterior.logvar, logvar.data, 'log variance');
    const plan = vae.plan('decode', { batch: 2, height: 20, width: 13 });
    expect(plan.split).toEqual({ into: 'tiles', calls: 24, tileSize: 16, overlap: 0.25 });
    vae.tiling = 'off';
    const whole = vae.plan('decode', { batch: 2, height: 20, width: 13 });
    expect(whole.split).toBeUndefined();
    expect(plan.largestBinding.bytes).toBeLessThan(whole.largestBinding.bytes / 2);
    vae.dispose();
    await device.idle();
    expect(device.held).toEqual(before);
  });

  it('makes pictures of 16 latent cells that are as far from whole ones as the source says', async () => {
    const checkpoint = await Checkpoint.open(new FileSource('weights/emoji-reference/io.safetensors'));
    const latent = { data: await checkpoint.read('vae.mean'), shape: [4, 4, 16, 16] };
    await checkpoint.close();
    const vae = await AutoencoderKL.load(device, pathDirectory('weights/emoji/vae'));
    const decode = async (tiling: AutoencoderKL['tiling']) => {
      vae.tiling = tiling;
      const picture = await (await vae.decode({ latent })).read();
      return picture.map((v) => Math.min(1, Math.max(0, v / 2 + 0.5)));
    };
    const whole = await decode('off');
    const cell = 4;
    const decibels: number[] = [];
    for (const cells of [8, 12]) {
      const tiled = await decode({ tileSize: cells * cell });
      const error = tiled.reduce((sum, v, i) => sum + (v - whole[i]) ** 2, 0) / whole.length;
      decibels.push(Math.round(-10 * Math.log10(error)));
    }
    expect(decibels).toEqual([27, 34]);
    vae.dispose();
  });

  it('splits only what does not fit: items first, which changes nothing, then tiles as large as they may be', async () => {
    const vae = await AutoencoderKL.load(device, vaeFolder);
    const latent = { data: normals(3, 2 * 4 * 20 * 12), shape: [2, 4, 20, 12] };
    const shape = { batch: 2, height: 20, width: 12 };
    const item = await leastBinding(vae, { ...shape, batch: 1 });
    const whole = await (await vae.decode({ latent })).read();
    vae.dispose();
    const items = await AutoencoderKL.load(device, vaeFolder);
    await bound(item, async () => {
      expect(items.plan('decode', shape).split).toEqual({ into: 'items', calls: 2 });
      agree(await (await items.decode({ latent })).read(), whole, 'item by item');
    });
    items.dispose();
    const tiles = await AutoencoderKL.load(device, vaeFolder);
    await bound(item / 2, async () => {
      const plan = tiles.plan('decode', shape);
      expect(plan.split).toMatchObject({ into: 'tiles', tileSize: 16 });
      expect(plan.largestBinding.bytes).toBeLessThanOrEqual(item / 2);
      const out = await tiles.decode({ latent });
      expect(out.shape).toEqual([2, 3, 40, 24]);
      tiles.tiling = {};
      expect(await out.read()).toEqual(await (await tiles.decode({ latent })).read());
      tiles.tiling = 'off';
      expect(() => tiles.plan('decode', shape)).toThrow(LimitError);
      expect(await failure(tiles.decode({ latent: { ...latent } }))).toBeInstanceOf(LimitError);
    });
    tiles.dispose();
  });
});

it('SDXL’s decoder: a megapixel fits the limits that every adapter has in tiles alone', () => {
  const config = readAutoencoderKLConfig({
    _class_name: 'AutoencoderKL',
    block_out_channels: [128, 256, 512, 512],
    down_block_types: Array<string>(4).fill('DownEncoderBlock2D'),
    up_block_types: Array<string>(4).fill('UpDecoderBlock2D'),
    layers_per_block: 2,
    sample_size: 1024,
    scaling_factor: 0.13025,
  });
  for (const dtype of ['f32', 'f16'] as const) {
    for (const part of ['decode', 'encode'] as const) {
      const plan = ([batch, , height, width]: readonly number[]) =>
        planAutoencoderKL(config, part, { batch, height, width }, dtype);
      const [channels, side] = part === 'decode' ? [4, 128] : [3, 1024];
      expect(() => plan([1, channels, side, side])).toThrow(LimitError);
      const run = () => Promise.reject(new Error('not run'));
      const direction = { encode: part === 'encode', cell: 8, tileSize: 1024, run, plan };
      const { split, largestBinding, peakBytes, dispatches } = new SplitCalls(device).plan(direction, [
        1,
        channels,
        side,
        side,
      ]);
      if (process.env.SHOW) console.log(dtype, part, split, largestBinding, peakBytes / 2 ** 20, dispatches);
      expect(split?.into).toBe('tiles');
      expect(split!.tileSize).toBeGreaterThanOrEqual(256);
      expect(largestBinding.bytes).toBeLessThanOrEqual(DEFAULT_CAPABILITIES.limits.maxStorageBufferBindingSize);
    }
  }
});

describe('VQModel', () => {
  it('goes through in tiles, and says so', async () => {
    const vq = await VQModel.load(device, fixture('vq_ldm'));
    const image = { data: normals(4, 3 * 24 * 16, { std: 0.4 }), shape: [1, 3, 24, 16] };
    vq.tiling = { tileSize: 16, overlap: 0 };
    const encoded = await vq.encode({ image });
    const latents = await encoded.read();
    expect(encoded.shape).toEqual([1, 3, 12, 8]);
    const picture = await vq.decode({ latent: { data: latents, shape: encoded.shape } });
    const values = await picture.read();
    expect(picture.shape).toEqual([1, 3, 24, 16]);
    const call = { part: 'decode', batch: 1, channels: 3, height: 12, width: 8 } as const;
    expect(vq.plan(call).split).toEqual({ into: 'tiles', calls: 2, tileSize: 16, overlap: 0 });
    vq.tiling = 'off';
    // Without overlap a tile is what it would be alone.
    const rows = (v: Float32Array, H: number, W: number, from: number, to: number) =>
      [0, 1, 2].flatMap((c) => [...v.subarray((c * H + from) * W, (c * H + to) * W)]);
    const top = { data: Float32Array.from(rows(image.data, 24, 16, 0, 16)), shape: [1, 3, 16, 16] };
    const alone = await vq.encode({ image: top });
    const own = { data: await alone.read(), shape: alone.shape };
    expect(rows(latents, 12, 8, 0, 8)).toEqual([...own.data]);
    expect(rows(values, 24, 16, 0, 16)).toEqual([...(await (await vq.decode({ latent: own })).read())]);
    vq.dispose();
  });
});
