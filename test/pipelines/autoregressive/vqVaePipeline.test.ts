/**
 * VQ-VAE and VQ-VAE-2 with their priors: against the recorded runs, against the parts by hand, what is refused and
 * left.
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import {
  AbortedError,
  ConfigError,
  FormatError,
  InvalidArgumentError,
  NotFoundError,
} from '../../../src/engine/index.ts';
import { Checkpoint, type RawConfig } from '../../../src/loading/index.ts';
import { MemorySource } from '../../../src/loading/source.ts';
import { vqVae2 } from '../../../src/models/autoencoders/vqVae2.ts';
import { LoadedModel } from '../../../src/models/loadedModel.ts';
import { PixelSnail, pixelSnailDefinition } from '../../../src/models/pixelSnail/pixelSnailModel.ts';
import { OriginalCase } from '../../../src/node/parity/original/recorded.ts';
import { pathDirectory } from '../../../src/node/fileSource.ts';
import type { CodePriorOptions, RowStep } from '../../../src/pipelines/autoregressive/options.ts';
import { pixelSnailArguments, vqVaeLayout } from '../../../src/pipelines/autoregressive/shapesOfWeights.ts';
import { VQVAEPipeline } from '../../../src/pipelines/autoregressive/vqVaePipeline.ts';
import { Pipeline } from '../../../src/pipelines/index.ts';
import { PhiloxGenerator, TorchGenerator } from '../../../src/sampler/index.ts';
import { f32, file, type Tensor } from '../../loading/files.ts';
import { failure } from '../../models/fixtures.ts';
import { adapters } from '../../support/gpu.ts';
import { openDevice } from '../../support/runGraph.ts';
import { heldBy } from '../folders.ts';
import { directory, json, type Files } from '../tinyModels.ts';
import { BOTTOM, CONDITIONED, prior, TOP, twoLevelFiles, VQVAE } from './vqVaeFiles.ts';

const fixtures = fileURLToPath(new URL('../../fixtures/original', import.meta.url));
const recorded = (name: string) => OriginalCase.open<{ net: RawConfig }>(pathDirectory(fixtures).folder(name));
const adapter = adapters().at(-1)!; // the faster of them: a draw is a call
const device = await openDevice(adapter);

type Tensors = Record<string, Tensor>;

const opened = (bytes: Uint8Array) => Checkpoint.open(new MemorySource(bytes, 'weights'));

async function tensorsOf(name: string): Promise<Tensors> {
  const checkpoint = await opened(Uint8Array.from(readFileSync(`${fixtures}/${name}/weights.safetensors`)));
  const entries = checkpoint.keys().map(async (key): Promise<[string, Tensor]> => {
    const { dtype, shape } = checkpoint.info(key);
    return [key, { dtype, shape: [...shape], bytes: await checkpoint.readRaw(key) }];
  });
  return Object.fromEntries(await Promise.all(entries));
}

/** An autoencoder of a recorded case with the first `n` entries of its codebook, so that it has as many as a prior. */
async function fewer(name: string, key: string, n: number): Promise<Tensors> {
  const tensors = await tensorsOf(name);
  const { shape, bytes } = tensors[key];
  const [D, all] = shape;
  const values = new Float32Array(bytes.slice().buffer);
  return {
    ...Object.fromEntries(Object.entries(tensors).filter(([k]) => !/cluster_size|embed_avg/.test(k))),
    [key]: f32(
      [D, n],
      Array.from({ length: D * n }, (_, i) => values[Math.floor(i / n) * all + (i % n)]),
    ),
  };
}

const bytesOf = { vqvae: twoLevelFiles()[VQVAE], top: prior([2, 2], 24, 5), bottom: prior([4, 4], 24, 9, CONDITIONED) };

const directoryOf = (files: Files) => directory(files, 'vq');

/** As the authors name them, side by side. */
const threeFiles = (changes: Files = {}) => directoryOf({ ...twoLevelFiles(), ...changes });

const planes = async (images: { toPlanes(): Promise<Float32Array>; dispose(): void }[]) => {
  const all = await Promise.all(images.map((picture) => picture.toPlanes()));
  images.forEach((picture) => picture.dispose());
  return all.map((plane) => [...plane]);
};

describe(`recorded priors on ${adapter}`, () => {
  it('draws the recorded codes with the recorded draws, one level', async () => {
    const before = await heldBy(device);
    const recording = await recorded('j-pixelsnail');
    const checkpoint = await opened(file(await tensorsOf('j-pixelsnail')));
    const vqvae = await opened(file(await fewer('j-vqvae', 'quantize.embed', 9)));
    const pipe = await VQVAEPipeline.fromParts(device, {
      vqvae: { config: {}, checkpoint: vqvae },
      top: { config: recording.config.net, checkpoint },
    });
    expect(pipe.sampleSize).toEqual({ width: 24, height: 24 });
    const result = await pipe.generate({ batchSize: 2, uniforms: { top: recording.tensor('in.u').data } });
    expect([...result.codes.top.data]).toEqual([...recording.tensor('out.sampled').data]);
    const [image] = result.images;
    expect([image.width, image.height]).toEqual([24, 24]);
    const want = await planes(result.images);
    expect(await planes(await pipe.decode(result.latents, [2, 1, 6, 6]))).toEqual(want);
    await pipe.dispose();
    expect(await heldBy(device)).toEqual(before);
  });

  it('draws the recorded codes of a bottom level below a given top level', async () => {
    const recording = await recorded('j-pixelsnail-cond');
    const bottom = await tensorsOf('j-pixelsnail-cond');
    const vqvae = {
      ...(await fewer('j-vqvae2', 'quantize_t.embed', 9)),
      'quantize_b.embed': (await fewer('j-vqvae2', 'quantize_b.embed', 9))['quantize_b.embed'],
    };
    const pipe = await VQVAEPipeline.load(
      device,
      threeFiles({
        [VQVAE]: file(vqvae),
        [TOP]: prior([3, 3], 9, 7).bytes,
        [BOTTOM]: file(bottom),
      }),
    );
    const { data, shape } = recording.tensor('in.condition');
    const options = { codes: { top: { data, shape } }, uniforms: { bottom: recording.tensor('in.u').data } };
    const { codes, images } = await pipe.generate(options);
    expect([...codes.bottom!.data]).toEqual([...recording.tensor('out.sampled').data]);
    expect([...codes.top.data]).toEqual([...data]);
    expect(images).toHaveLength(2);
    images.forEach((image) => image.dispose());
    await pipe.dispose();
  });

  it('decodes recorded codes, and encodes to them', async () => {
    const recording = await recorded('j-vqvae2');
    const pipe = await Pipeline.fromPretrained(threeFiles(), { device });
    const codes = { top: recording.tensor('in.code_t'), bottom: recording.tensor('in.code_b') };
    const decoded = await planes(await pipe.decodeCodes!(codes));
    recording.compare('decode_code', decoded.flat());
    const { data, shape } = recording.tensor('in.x');
    const encoded = await pipe.encodeToCodes!({ data: Float32Array.from(data), shape });
    recording.same('id_t', encoded.top.data);
    recording.same('id_b', encoded.bottom!.data);
    ['quant_t', 'quant_b', 'diff', 'margin', 'decode'].forEach((key) => recording.ignore(key));
    const { error, tolerance } = recording.result();
    expect(error).toBeLessThanOrEqual(tolerance);
    await pipe.dispose();
  });
});

describe(`VQ-VAE-2 with its priors on ${adapter}`, () => {
  it('is its parts put together by hand, and leaves nothing', async () => {
    const before = await heldBy(device);
    const pipe = await VQVAEPipeline.load(device, threeFiles());
    expect([pipe.sampleSize, pipe.sizeMultiple, pipe.codebookSize]).toEqual([{ width: 16, height: 16 }, 8, 24]);
    const rows: RowStep[] = [];
    const temperature = { top: 0.8, bottom: 1.3 };
    const previews: number[][][] = [];
    const result = await pipe.generate({
      batchSize: 2,
      generator: 3,
      temperature,
      onStep: async (event) => {
        rows.push(event);
        if (event.step === event.steps) previews.push(await planes(await event.preview()));
      },
    });
    expect(rows.map(({ step, steps, level, row }) => `${step}/${steps} ${level} ${row}`)).toEqual([
      ...['1/6 top 1', '2/6 top 2'],
      ...['3/6 bottom 1', '4/6 bottom 2', '5/6 bottom 3', '6/6 bottom 4'],
    ]);
    expect(rows[0].codes.top.data.slice(2, 4)).toEqual(new Uint32Array(2)); // what is not drawn yet
    expect(rows[5].codes).toEqual(result.codes);
    expect(result.timing.stepMs).toHaveLength(6);

    // By hand: draws of one generator, top before bottom, and the parts' own calls.
    const g = new TorchGenerator(3);
    const load = async ({ config, bytes }: { config: RawConfig; bytes: Uint8Array }) =>
      PixelSnail.load(device, { config, checkpoint: await opened(bytes) }, { dtype: 'f32' });
    const [top, bottom] = [await load(bytesOf.top), await load(bytesOf.bottom)];
    const first = await top.sample({ batch: 2, uniforms: g.rand(8), temperature: 0.8 });
    const condition = { data: first, shape: [2, 2, 2] };
    const second = await bottom.sample({ batch: 2, condition, uniforms: g.rand(32), temperature: 1.3 });
    expect(result.codes.top.data).toEqual(first);
    expect(result.codes.bottom!.data).toEqual(second);
    expect(new Set(second).size).toBeGreaterThan(3);
    const config = { _class_name: 'VQVAE2', channel: 16, n_res_channel: 8, embed_dim: 8, n_embed: 24 };
    const model = await LoadedModel.load(device, { config, checkpoint: await opened(bytesOf.vqvae) }, vqVae2);
    const call = { part: 'decodeCode', batch: 2, height: 16, width: 16 } as const;
    const want = await (await model.run(call, { idsTop: first, idsBottom: second })).read();
    const pictures = await planes(result.images);
    expect(pictures.flat()).toEqual([...want]);
    expect(previews).toEqual([pictures]);
    expect(await planes(await pipe.decode(result.latents, [2, 5, 2, 2]))).toEqual(pictures);
    [top, bottom, model].forEach((part) => part.dispose());

    // A picture of a batch is the picture of its generator alone, and codes that are given are kept.
    const options = { outputType: 'latent' } as const;
    const two = await pipe.generate({ ...options, generator: [new TorchGenerator(8), new TorchGenerator(9)] });
    const one = await pipe.generate({ ...options, generator: 9 });
    expect(two.codes.bottom!.data.slice(16)).toEqual(one.codes.bottom!.data);
    expect([two.images, one.images]).toEqual([[], []]);
    const kept = await pipe.generate({ ...options, generator: 1, codes: { top: one.codes.top } });
    expect(kept.codes.top).toEqual(one.codes.top);
    expect(kept.codes.bottom).not.toEqual(one.codes.bottom);
    const all = await pipe.generate({ ...options, codes: one.codes });
    expect([all.latents, all.timing.stepMs]).toEqual([one.latents, []]);

    const plan = pipe.plan({ batchSize: 2 });
    expect([plan.fits, plan.dispatches!.unet > 0, plan.dispatches!.decoder > 0]).toEqual([true, true, true]);
    await pipe.dispose();
    expect(await heldBy(device)).toEqual(before);
  });

  it('loads folders by model_index.json, with and without configs, of parallel training', async () => {
    const parallel = Object.fromEntries(
      Object.entries(await tensorsOf('j-vqvae2')).map(([key, tensor]) => [`module.${key}`, tensor]),
    );
    const folder = directoryOf({
      'model_index.json': json({
        _class_name: 'VQVAE2Pipeline',
        vqvae: ['vqvae', 'VQVAE'],
        top: ['pixelsnail', 'PixelSNAIL'],
        bottom: ['pixelsnail', 'PixelSNAIL'],
      }),
      'vqvae/vqvae_560.safetensors': file(parallel),
      'top/model.safetensors': bytesOf.top.bytes,
      'top/config.json': json({ ...bytesOf.top.config, _class_name: undefined, dropout: 0.1 }),
      'bottom/model.safetensors': bytesOf.bottom.bytes,
    });
    const codes = [];
    for (const source of [folder, threeFiles()]) {
      const pipe = await Pipeline.fromPretrained(source, { device });
      codes.push(((await pipe({ generator: 4, outputType: 'latent' })) as unknown as { codes: unknown }).codes);
      await pipe.dispose();
    }
    expect(codes[1]).toEqual(codes[0]);
  });

  it('stops between two codes and goes on afterwards', async () => {
    const pipe = await VQVAEPipeline.load(device, threeFiles());
    const stop = new AbortController();
    const options = { generator: 2, outputType: 'latent' } as const;
    const want = await pipe.generate(options);
    const held = await heldBy(device);
    const call = pipe.generate({
      ...options,
      signal: stop.signal,
      onStep: ({ step }) => void (step === 3 && stop.abort()),
    });
    expect(await failure(call)).toBeInstanceOf(AbortedError);
    expect((await heldBy(device)).bytes).toBeLessThanOrEqual(held.bytes);
    expect((await pipe.generate(options)).codes).toEqual(want.codes);
    await pipe.dispose();
  });

  it('refuses options that do not fit', async () => {
    const pipe = await VQVAEPipeline.load(device, threeFiles());
    const top = { data: new Uint32Array(4), shape: [1, 2, 2] };
    const refused: [CodePriorOptions | Record<string, unknown>, RegExp][] = [
      [{ temperature: 0 }, /temperature above 0/],
      [{ temperature: { bottom: -1 } }, /temperature above 0/],
      [{ batchSize: 3, generator: [new TorchGenerator(1)] }, /one generator or 3/],
      [{ uniforms: { top: [0.5] } }, /4 uniforms/],
      [{ uniforms: { top: [0, 0.5, 1, 0] } }, /\[0, 1\)/],
      [{ uniforms: { bottom: [0.5] }, onStep: () => expect.unreachable('the top level was drawn') }, /16 uniforms/],
      [{ generator: new PhiloxGenerator(1) }, /a seed or a TorchGenerator/],
      [{ sigmas: [1] }, /no sigmas/],
      [{ width: 32 }, /width 16, got 32/],
      [{ classLabels: 3 }, /no classLabels.*no classes/],
      [{ numInferenceSteps: 3 }, /no numInferenceSteps/],
      [{ codes: { top: { ...top, shape: [1, 4, 1] } } }, /\[1,2,2\]/],
      [{ codes: { top: { ...top, data: [0, 1, 2, 24] } } }, /0 … 23, got 24/],
      [{ codes: { bottom: top } }, /top level/],
    ];
    for (const [options, message] of refused) {
      const error = await failure(pipe.generate(options));
      expect(error).toBeInstanceOf(InvalidArgumentError);
      expect(error.message).toMatch(message);
    }
    expect((await failure(pipe.decodeCodes({ top }))).message).toMatch(/bottom codes \[1,4,4\]/);
    expect(
      (await failure(pipe.encodeToCodes({ data: new Float32Array(3 * 64 + 24), shape: [1, 3, 9, 8] }))).message,
    ).toMatch(/multiples of 8/);
    expect((await failure(pipe.decode(new Float32Array(20).fill(0.5), [1, 5, 2, 2]))).message).toMatch(/0\.5/);
    await pipe.dispose();
  });

  it('refuses parts that do not belong together, and leaves nothing', async () => {
    const before = await heldBy(device);
    const load = (files: Record<string, Uint8Array>) => failure(Pipeline.fromPretrained(threeFiles(files), { device }));
    const wrong: [Record<string, Uint8Array>, RegExp][] = [
      [{ [TOP]: prior([2, 2], 23, 5).bytes }, /top prior of 24 codes, got 23/],
      [{ [BOTTOM]: prior([6, 6], 24, 5, CONDITIONED).bytes }, /bottom prior of 4×4 codes, got 6×6/],
      [{ [BOTTOM]: prior([4, 4], 24, 5).bytes }, /reads the top level/],
      [{ [TOP]: bytesOf.bottom.bytes }, /without condition/],
      [{ [VQVAE]: file(await fewer('j-vqvae', 'quantize.embed', 9)) }, /each of 1 levels/],
    ];
    for (const [files, message] of wrong) {
      const error = await load(files);
      expect(error).toBeInstanceOf(ConfigError);
      expect(error.message).toMatch(message);
    }
    expect((await load({ [TOP]: bytesOf.vqvae })).message).toMatch(/weights of a PixelSNAIL/);
    expect((await load({ [VQVAE]: bytesOf.top.bytes })).message).toMatch(/weights of a VQ-VAE/);
    const pickles = directoryOf({ 'vqvae_560.pt': new Uint8Array(2), 'pixelsnail_top_420.pt': new Uint8Array(2) });
    expect(await failure(Pipeline.fromPretrained(pickles, { device }))).toBeInstanceOf(FormatError);
    const alone = directoryOf({ [VQVAE]: bytesOf.vqvae });
    expect(await failure(VQVAEPipeline.load(device, alone))).toBeInstanceOf(NotFoundError);
    expect(await heldBy(device)).toEqual(before);
  });
});

describe('sizes from the weights alone', () => {
  it.each(['j-pixelsnail', 'j-pixelsnail-cond'])('%s', async (name) => {
    const { config } = await recorded(name);
    const stored = await opened(file(await tensorsOf(name)));
    const read = (raw: RawConfig) => pixelSnailDefinition.readConfig({ _class_name: 'PixelSNAIL', ...raw });
    expect(read(pixelSnailArguments(stored))).toEqual(read(config.net));
  });

  it('of deeper priors', async () => {
    for (const changes of [CONDITIONED, { n_block: 3, n_res_block: 2, kernel_size: 5, n_out_res_block: 2 }]) {
      const { config, bytes } = prior([4, 6], 7, 1, changes);
      const read = (raw: RawConfig) => pixelSnailDefinition.readConfig({ _class_name: 'PixelSNAIL', ...raw });
      expect(read(pixelSnailArguments(await opened(bytes)))).toEqual(read(config));
    }
  });

  it('of autoencoders in every layout', async () => {
    const layout = async (name: string) => vqVaeLayout(await opened(file(await tensorsOf(name))));
    expect(await layout('j-vqvae2')).toEqual({
      _class_name: 'VQVAE2',
      ...{ in_channel: 3, channel: 16, n_res_block: 2, n_res_channel: 8, embed_dim: 8, n_embed: 24 },
    });
    expect(await layout('j-vqvae')).toEqual({
      _class_name: 'VQVAE1',
      ...{ in_channel: 3, channel: 16, n_res_block: 1, n_res_channel: 8, embed_dim: 6, n_embed: 16 },
    });
    expect(await layout('j-vqvae-antixk')).toEqual({
      _class_name: 'VQVAE',
      ...{ in_channels: 3, embedding_dim: 6, num_embeddings: 20, hidden_dims: [8, 12] },
    });
  });
});
