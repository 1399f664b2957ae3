/** Autoencoders alone as pipelines: codes of pictures, edited and drawn ones; what is refused, and what is left. */
import { describe, expect, it } from 'vitest';
import { ConfigError, InvalidArgumentError, UnsupportedError } from '../../src/engine/index.ts';
import { VQModel } from '../../src/models/vq/vqModel.ts';
import { AutoencoderPipeline, type AutoencoderResult } from '../../src/pipelines/autoencoder/autoencoderPipeline.ts';
import { Pipeline } from '../../src/pipelines/index.ts';
import { TorchGenerator } from '../../src/sampler/index.ts';
import { expectClose, NETWORK_NORM } from '../support/close.ts';
import { adapters } from '../support/gpu.ts';
import { normals } from '../support/random.ts';
import { openDevice } from '../support/runGraph.ts';
import { failure, fixture } from '../models/fixtures.ts';
import { heldBy, largest } from './folders.ts';

const [adapter] = adapters();
const device = await openDevice(adapter);
const f32 = { device, dtype: 'f32' } as const;

describe(`an autoencoder with a codebook on ${adapter}`, () => {
  it('takes pictures to codes and back, and makes pictures of edited codes', async () => {
    const before = await heldBy(device);
    const pipe = await Pipeline.fromPretrained(fixture('vq_ldm'), f32);
    const { downsampling: f, codebookSize = 0 } = pipe;
    const side = 4 * f;
    const image = { data: normals(3, 2 * 3 * side * side, { std: 0.5 }), shape: [2, 3, side, side] };
    expect(codebookSize).toBeGreaterThan(1);

    const codes = await pipe.encodeToIndices!(image);
    expect(codes.shape).toEqual([2, 4, 4]);
    const model = await VQModel.load(device, fixture('vq_ldm'), { dtype: 'f32' });
    expect(codes.data).toEqual(await (await model.encodeToIndices({ image })).read());

    // Through codes, through latents, or by the pipeline's call: one picture.
    const planes = async (images: { toPlanes(): Promise<Float32Array>; dispose(): void }[]) => {
      const all = await Promise.all(images.map((picture) => picture.toPlanes()));
      images.forEach((picture) => picture.dispose());
      return all.flatMap((plane) => [...plane]);
    };
    const want = await planes(await pipe.decodeIndices!(codes));
    expect(await planes(await pipe.reconstruct!(image))).toEqual(want);
    const result: AutoencoderResult = await pipe({ image });
    expect(result.indices).toEqual(codes);
    expect(await planes(result.images)).toEqual(want);
    const [B, h, w] = codes.shape;
    expectClose(
      await planes(await pipe.decode(result.latents, [B, result.latents.length / (B * h * w), h, w])),
      want,
      NETWORK_NORM * largest(want),
      'latents of codes',
    );

    const edited = { ...codes, data: codes.data.map((code, i) => (i === 5 ? (code + 1) % codebookSize : code)) };
    const other = await planes(await pipe.decodeIndices!(edited));
    expect(other.slice(0, want.length / 2)).not.toEqual(want.slice(0, want.length / 2));
    expect(other.slice(want.length / 2)).toEqual(want.slice(want.length / 2)); // the second picture was left alone

    model.dispose();
    await pipe.dispose();
    expect(await heldBy(device)).toEqual(before);
  });

  it('draws codes as PyTorch does, one generator for all or each its own', async () => {
    const pipe = await AutoencoderPipeline.load(device, fixture('vq_ldm'), { dtype: 'f32' });
    const size = { width: 4 * pipe.downsampling, height: 2 * pipe.downsampling };
    const { indices, images } = await pipe.generate({ generator: 7, batchSize: 2, ...size });
    expect(indices!.shape).toEqual([2, 2, 4]);
    expect([...indices!.data]).toEqual(new TorchGenerator(7).randint(0, pipe.codebookSize, 16));
    expect(images.map(({ width, height }) => ({ width, height }))).toEqual([size, size]);
    const each = await pipe.generate({ generator: [new TorchGenerator(7), new TorchGenerator(8)], ...size });
    expect(each.indices!.data.slice(0, 8)).toEqual(indices!.data.slice(0, 8));
    expect(each.indices!.data.slice(8)).not.toEqual(indices!.data.slice(8));

    const plan = pipe.plan(size);
    expect([plan.fits, plan.dispatches!.unet > 0, plan.dispatches!.decoder > 0]).toEqual([true, true, true]);
    const refused = [
      pipe.generate({ indices: { data: [pipe.codebookSize], shape: [1, 1, 1] } }),
      pipe.generate({ indices: { data: [0], shape: [1, 1, 2] } }),
      pipe.generate({
        indices: { data: [0], shape: [1, 1, 1] },
        image: { data: new Float32Array(3), shape: [1, 3, 1, 1] },
      }),
      pipe.generate({ batchSize: 3, generator: [new TorchGenerator(1)] }),
      pipe.generate({ width: pipe.downsampling + 1, height: pipe.downsampling }),
      pipe.generate({ image: { data: new Float32Array(4), shape: [1, 1, 2, 2] } }),
    ];
    for (const call of refused) expect(await failure(call)).toBeInstanceOf(InvalidArgumentError);
    [...images, ...each.images].forEach((image) => image.dispose());
    await pipe.dispose();
  });
});

describe(`autoencoders without a codebook on ${adapter}`, () => {
  it.each(['vae_kl_sd', 'vae_tiny'])('%s takes pictures to latents and back', async (name) => {
    const before = await heldBy(device);
    const pipe = await Pipeline.fromPretrained(fixture(name), f32);
    const side = 2 * pipe.sizeMultiple;
    const image = { data: normals(5, 3 * side * side, { std: 0.5 }), shape: [1, 3, side, side] };
    const { images, latents, indices }: AutoencoderResult = await pipe({ image });
    expect(indices).toBeUndefined();
    const encoded = await pipe.encode!(image);
    expect(encoded.data).toEqual(latents);
    const [decoded] = await pipe.decode(encoded.data, encoded.shape);
    const [again] = await pipe.reconstruct!(image);
    const want = await images[0].toPlanes();
    expect(await decoded.toPlanes()).toEqual(want);
    expectClose(await again.toPlanes(), want, NETWORK_NORM * largest(want), 'unscaled');
    expect(await failure(pipe.encodeToIndices!(image))).toBeInstanceOf(UnsupportedError);
    expect(await failure(pipe())).toBeInstanceOf(InvalidArgumentError);
    [...images, decoded, again].forEach((picture) => picture.dispose());
    await pipe.dispose();
    expect(await heldBy(device)).toEqual(before);
  });

  it('a tiny one takes tiles: away from their seams they are the whole picture', async () => {
    const before = await heldBy(device);
    const pipe = await Pipeline.fromPretrained(fixture('vae_tiny'), f32);
    const shape = [2, 4, 8, 48] as const;
    const latents = normals(7, 2 * 4 * 8 * 48);
    const planes = async () => {
      const pictures = await pipe.decode(latents, shape);
      const all = await Promise.all(pictures.map((picture) => picture.toPlanes()));
      pictures.forEach((picture) => picture.dispose());
      return all.map((plane) => [...plane]);
    };
    const want = await planes();
    pipe.enableVaeTiling!({ tileSize: 160, overlap: 0.5 });
    expect(pipe.plan({ width: 192, height: 32, batchSize: 2 }).split).toMatchObject({ into: 'tiles', calls: 6 });
    const got = await planes();
    // Tiles of 40 cells begin at 0, 20 and 40; what looks over the border of one lies within its first 12.
    const cells = (from: number, to: number) => (plane: number[]) =>
      plane.filter((_, i) => i % 192 >= 4 * from && i % 192 < 4 * to);
    for (const b of [0, 1]) {
      expectClose(cells(0, 20)(got[b]), cells(0, 20)(want[b]), NETWORK_NORM * largest(want[b]), 'the first tile');
      expect(cells(20, 48)(got[b])).not.toEqual(cells(20, 48)(want[b]));
    }
    const image = { data: normals(5, 3 * 32 * 192, { std: 0.5 }), shape: [1, 3, 32, 192] };
    const inTiles = await pipe.encode!(image);
    pipe.disableVaeTiling!();
    const whole = await pipe.encode!(image);
    expect(inTiles.shape).toEqual(whole.shape);
    expect(await planes()).toEqual(want);
    const left = (z: Float32Array) => [...z].filter((_, i) => i % 48 < 20);
    expectClose(left(inTiles.data), left(whole.data), NETWORK_NORM * largest(whole.data), 'latents of the first tile');
    const { unet, decoder } = await pipe.profile({ width: 16, height: 16 });
    expect([unet.rows.length > 0, decoder.rows.length > 0]).toEqual([true, true]);
    await pipe.dispose();
    expect(await heldBy(device)).toEqual(before);
  });

  it('refuses the folder of another component', async () => {
    const error = await failure(Pipeline.fromPretrained(fixture('unet2d_ddpm_cifar'), f32));
    expect(error).toBeInstanceOf(ConfigError);
    expect(error.message).toMatch(/component UNet2DModel.*folder above/);
  });
});
