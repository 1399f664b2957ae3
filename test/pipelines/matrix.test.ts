/**
 * Every kind of pipeline × what all of them take: batches, several pictures of one kind, latents in and out, events,
 * abort.
 */
import { describe, expect, it } from 'vitest';
import { AbortedError } from '../../src/engine/index.ts';
import { Pipeline } from '../../src/pipelines/index.ts';
import type { GenerationResult, StepProgress } from '../../src/pipelines/options/generation.ts';
import type { LatentShape } from '../../src/pipelines/run/latents.ts';
import { TorchGenerator } from '../../src/sampler/index.ts';
import { failure } from '../models/fixtures.ts';
import { expectClose, networkTolerance } from '../support/close.ts';
import { adapters } from '../support/gpu.ts';
import { normals } from '../support/random.ts';
import { openDevice } from '../support/runGraph.ts';
import { largest, pipelineFolder, type FolderParts } from './folders.ts';
import { schedule } from './tinyModels.ts';

/** Results of a network that are stored one after the other. */
const LAYERS = 64;
const device = await openDevice(adapters()[0]);
const ddim = schedule('DDIMScheduler', { clip_sample: false, set_alpha_to_one: false, steps_offset: 1 });
const flow = { _class_name: 'FlowMatchEulerDiscreteScheduler', shift: 3 };

type Options = Record<string, unknown>;

interface Kind {
  folder: Pick<FolderParts, 'parts' | 'schedulers'>;
  /** Of one picture's latents. */
  item: readonly [number, number, number];
  /** Four pictures, two of each of two kinds; by default with texts. */
  many: Options;
  /** The third of them alone. */
  third: Options;
}

/** Embeddings of two texts, and of the second alone. */
function texts(width: number, vector?: number): Pick<Kind, 'many' | 'third'> {
  const [S, data] = [5, normals(1, 2 * 5 * width)];
  const pooled = vector ? normals(2, 2 * vector) : undefined;
  const of = (first: number, N: number): Options => ({
    promptEmbeds: { data: data.slice(first * S * width, (first + N) * S * width), shape: [N, S, width] },
    negativePromptEmbeds: { data: normals(3, S * width), shape: [1, S, width] },
    ...(vector && {
      pooledPromptEmbeds: { data: pooled!.slice(first * vector, (first + N) * vector), shape: [N, vector] },
      negativePooledPromptEmbeds: { data: normals(4, vector), shape: [1, vector] },
    }),
    guidanceScale: 3,
  });
  return { many: { ...of(0, 2), numImagesPerPrompt: 2 }, third: of(1, 1) };
}

const sized = (kind: Pick<Kind, 'many' | 'third'>, more: Options) => ({
  many: { ...kind.many, ...more },
  third: { ...kind.third, ...more },
});

const vae = 'pipe_sd_ddim/vae';
const KINDS: Record<string, Kind> = {
  StableDiffusionPipeline: {
    folder: { parts: { unet: 'pipe_sd_ddim/unet', vae }, schedulers: { scheduler: ddim } },
    item: [4, 8, 8],
    ...sized(texts(16), { width: 16, height: 16 }),
  },
  StableDiffusionXLPipeline: {
    folder: { parts: { unet: 'unet_cond_sdxl', vae }, schedulers: { scheduler: schedule('EulerDiscreteScheduler') } },
    item: [4, 8, 8],
    ...sized(texts(24, 20), { width: 16, height: 16 }),
  },
  StableDiffusion3Pipeline: {
    folder: { parts: { transformer: 'sd3', vae }, schedulers: { scheduler: flow } },
    item: [4, 8, 8],
    ...sized(texts(24, 20), { width: 16, height: 16 }),
  },
  FluxPipeline: {
    folder: { parts: { transformer: 'flux', vae }, schedulers: { scheduler: flow } },
    item: [4, 4, 8],
    ...sized(texts(24, 20), { width: 16, height: 8, trueCfgScale: 2 }),
  },
  DiTPipeline: {
    folder: {
      parts: { transformer: 'pipe_dit_dpmpp/transformer', vae: 'pipe_dit_dpmpp/vae' },
      schedulers: { scheduler: ddim },
    },
    item: [4, 8, 8],
    many: { classLabels: [2, 5], numImagesPerClass: 2, guidanceScale: 3 },
    third: { classLabels: 5, guidanceScale: 3 },
  },
  LDMPipeline: {
    folder: { parts: { unet: 'unet2d_ldm_celebahq', vqvae: 'vq_ldm' }, schedulers: { scheduler: ddim } },
    item: [3, 8, 8],
    many: { batchSize: 4 },
    third: {},
  },
  DDIMPipeline: {
    folder: { parts: { unet: 'unet2d_ddpm_cifar' }, schedulers: { scheduler: ddim } },
    item: [3, 16, 16],
    many: { batchSize: 4 },
    third: {},
  },
};

describe.each(Object.entries(KINDS))('%s', (className, { folder, item, many, third }) => {
  const source = pipelineFolder({ className, ...folder });
  const count = item[0] * item[1] * item[2];

  it('makes of a batch what each picture would be alone; tells its steps; takes and gives latents; stops when told', async () => {
    await device.idle();
    const before = { ...device.held };
    const pipe = await Pipeline.fromPretrained(source, { device });
    const run = (options: Options) =>
      pipe({ numInferenceSteps: 2, ...options } as unknown as { prompt: string }) as Promise<GenerationResult>;
    const give = ({ images }: Pick<GenerationResult, 'images'>) => images.forEach((image) => image.dispose());

    const steps: number[][] = [];
    const onStep = async ({ step, steps: all, preview }: StepProgress) => {
      const believed = await preview();
      steps.push([step, all, believed.length]);
      give({ images: believed });
    };
    const generators = [11, 12, 13, 14].map((seed) => new TorchGenerator(seed));
    const batch = await run({ ...many, generator: generators, onStep });
    expect(steps).toEqual([
      [1, 2, 4],
      [2, 2, 4],
    ]);
    expect(batch.images).toHaveLength(4);
    expect(batch.latents).toHaveLength(4 * count);
    expect(batch.timing.stepMs).toHaveLength(2);

    const one = await run({ ...third, generator: 13 });
    const tolerance = networkTolerance('f32', LAYERS, 4 * largest(one.latents));
    expectClose(batch.latents.subarray(2 * count, 3 * count), one.latents, tolerance, 'third of four');
    const picture = await one.images[0].toTensor();
    expectClose(await batch.images[2].toTensor(), picture, networkTolerance('f32', LAYERS, 4), 'its picture');
    give(batch);
    give(one);

    const latents = new TorchGenerator(13).randn(count);
    const again = await run({ ...third, latents, generator: 1, outputType: 'latent' });
    expect(again.latents).toEqual(one.latents);
    expect(again.images).toEqual([]);
    const decoded = await pipe.decode(again.latents, [1, ...item] as LatentShape);
    expect(await decoded[0].toTensor()).toEqual(picture);
    give({ images: decoded });

    const controller = new AbortController();
    const stopped = await failure(run({ ...third, signal: controller.signal, onStep: () => controller.abort() }));
    expect(stopped).toBeInstanceOf(AbortedError);
    expect((await run({ ...third, latents, outputType: 'latent' })).latents).toEqual(one.latents);
    await pipe.dispose();
    expect(device.held).toEqual(before);
  });
});
