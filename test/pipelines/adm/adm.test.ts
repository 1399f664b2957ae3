/** guided-diffusion's models as a pipeline: trajectories that the original code recorded, folders, stages, refusals. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import type { Checkpoint, RawConfig } from '../../../src/loading/index.ts';
import { filesDirectory } from '../../../src/loading/index.ts';
import { readAdmConfig, readClassifierConfig } from '../../../src/models/adm/admConfig.ts';
import { readAdmFlags } from '../../../src/models/adm/admFlags.ts';
import { admWeights } from '../../../src/models/adm/admModel.ts';
import { classifierWeights } from '../../../src/models/classifier/classifierModel.ts';
import { pathDirectory } from '../../../src/node/fileSource.ts';
import { weightFiles } from '../../../src/node/parity/original/admCase.ts';
import type { DiffusionConfig } from '../../../src/node/parity/original/gaussianDiffusion.ts';
import { OriginalCase } from '../../../src/node/parity/original/recorded.ts';
import { mergedWeights } from '../../../src/node/parity/original/weights.ts';
import { ADMPipeline } from '../../../src/pipelines/adm/adm.ts';
import type { AdmOptions } from '../../../src/pipelines/adm/options.ts';
import { Pipeline } from '../../../src/pipelines/index.ts';
import { FormatError, InvalidArgumentError } from '../../../src/engine/index.ts';
import { TorchGenerator } from '../../../src/sampler/index.ts';
import { file, type Tensor } from '../../loading/files.ts';
import { failure } from '../../models/fixtures.ts';
import { adapters } from '../../support/gpu.ts';
import { openDevice } from '../../support/runGraph.ts';
import { heldBy } from '../folders.ts';

interface Config {
  model: RawConfig;
  classifier?: RawConfig;
  classifier_scale?: number;
  method: 'p_sample' | 'ddim_sample';
  eta?: number;
  clip_denoised: boolean;
  diffusion: DiffusionConfig;
}

const fixtures = fileURLToPath(new URL('../../fixtures/original', import.meta.url));
const root = pathDirectory(fixtures);
const [adapter] = adapters();
const device = await openDevice(adapter);

/** Plays recorded draws. */
class Draws {
  state = 0;
  constructor(private readonly next: (i: number) => ArrayLike<number>) {}
  randn(): Float32Array {
    return Float32Array.from(this.next(this.state++));
  }
}

/** The networks of a case, with configs in the constructor's form beside the arguments of its process. */
async function partsOf(name: string) {
  const recording = await OriginalCase.open<Config>(root.folder(name));
  const { model, classifier, diffusion } = recording.config;
  const { steps, ...rest } = diffusion;
  const config = (raw: RawConfig) => ({ ...raw, ...rest, diffusion_steps: steps, small_size: 4 });
  const files = await weightFiles({ dir: root.folder(name), root, name, device: async () => device, dtype: 'f32' });
  const enlarges = recording.has('in.low_res');
  const unet = {
    config: config(model),
    checkpoint: await mergedWeights(
      { root, name },
      files.model,
      admWeights(readAdmConfig({ ...model, _class_name: enlarges ? 'SuperResModel' : 'UNetModel' })),
    ),
  };
  const judge = classifier && {
    config: classifier,
    checkpoint: await mergedWeights(
      { root, name },
      files.classifier,
      classifierWeights(readClassifierConfig(classifier)),
    ),
  };
  return { recording, unet, judge, enlarges };
}

async function replay(pipe: Pick<ADMPipeline, 'generate'>, recording: OriginalCase<Config>, changes: AdmOptions = {}) {
  const { method, eta, clip_denoised, classifier_scale } = recording.config;
  const states: number[] = [];
  const times: number[] = [];
  const small = recording.has('in.low_res') ? recording.tensor('in.low_res') : undefined;
  const { latents } = await pipe.generate({
    classLabels: recording.has('in.y') ? [...recording.tensor('in.y').data] : undefined,
    batchSize: recording.tensor('in.noise').shape[0],
    classifierScale: classifier_scale,
    image: small && { data: Float32Array.from(small.data), shape: small.shape },
    latents: Float32Array.from(recording.tensor('in.noise').data),
    generator: new Draws((i) => recording.item('draws', i)),
    sampler: method === 'ddim_sample' ? 'ddim' : 'ddpm',
    ...(method === 'ddim_sample' && { eta }),
    clipDenoised: clip_denoised,
    onStep: async ({ state, timestep }) => {
      states.push(...(await state()).x);
      times.push(timestep);
    },
    ...changes,
  });
  recording.compare('sample', states);
  recording.compare('model_t', times);
  recording.compare('final', latents);
  return recording;
}

describe(`trajectories of guided-diffusion on ${adapter}`, () => {
  it.each(['b-adm-ddpm-cls-guided', 'b-adm-ddim-cls-guided', 'b-adm-superres-sample-large-xstart'])(
    '%s',
    async (name) => {
      const { recording, unet, judge, enlarges } = await partsOf(name);
      const before = await heldBy(device);
      const sources = enlarges ? { upsampler: unet } : { unet, classifier: judge };
      const pipe = await ADMPipeline.fromParts(device, sources);
      const run = await replay(pipe, recording);
      ['pred_xstart', 'cond_grad', 'timestep_map'].forEach((key) => recording.has(`out.${key}`) && run.ignore(key));
      const { error, tolerance } = run.result();
      expect(error).toBeLessThanOrEqual(tolerance);
      await pipe.dispose();
      expect((await heldBy(device)).bytes).toBeLessThanOrEqual(before.bytes + 4 * 2 * 3 * 8 * 8);
    },
  );
});

/** The U-Net of the recorded case under the scripts' flags. */
const FLAGS = {
  image_size: 8,
  num_channels: 32,
  num_res_blocks: 1,
  channel_mult: '1,1',
  attention_resolutions: '4',
  num_head_channels: 16,
  class_cond: true,
  num_classes: 5,
  learn_sigma: true,
  resblock_updown: true,
  use_scale_shift_norm: true,
  diffusion_steps: 1000,
  noise_schedule: 'linear',
  timestep_respacing: '10',
  use_fp16: false,
  dropout: 0.1,
};

async function bytesOf(checkpoint: Checkpoint): Promise<Uint8Array> {
  const tensors: Record<string, Tensor> = {};
  for (const key of checkpoint.keys()) {
    const { dtype, shape } = checkpoint.info(key);
    tensors[key] = { dtype, shape: [...shape], bytes: await checkpoint.readRaw(key) };
  }
  return file(tensors);
}

/** A folder of the recorded networks: the U-Net by flags under its published name, the classifier by arguments. */
async function folder(changes: { files?: Record<string, unknown>; unet?: object; without?: string[] } = {}) {
  const { unet, judge, recording } = await partsOf('b-adm-ddpm-cls-guided');
  const small = await partsOf('b-adm-superres-sample-large-xstart');
  const text = (value: unknown) => new Blob([JSON.stringify(value)]);
  const blob = async (checkpoint: Checkpoint) => new Blob([(await bytesOf(checkpoint)) as Uint8Array<ArrayBuffer>]);
  const files: Record<string, Blob> = {
    'model_index.json': text({
      _class_name: 'ADMPipeline',
      unet: ['guided_diffusion', 'UNetModel'],
      classifier: ['guided_diffusion', 'EncoderUNetModel'],
      id2label: { 0: 'tench', 1: 'goldfish' },
      ...changes.files,
    }),
    'unet/config.json': text({ ...FLAGS, ...changes.unet }),
    'unet/8x8_diffusion.safetensors': await blob(unet.checkpoint),
    'classifier/config.json': text({ ...judge!.config, classifier_scale: 4 }),
    'classifier/8x8_classifier.safetensors': await blob(judge!.checkpoint),
    'upsampler/config.json': text({ ...small.unet.config, small_size: 4 }),
    'upsampler/model.safetensors': await blob(small.unet.checkpoint),
  };
  for (const name of changes.without ?? []) delete files[name];
  return { directory: filesDirectory(files, 'adm'), recording };
}

describe(`folders on ${adapter}`, () => {
  it('runs the recorded trajectory from the scripts’ flags, and says what it takes', async () => {
    const { directory, recording } = await folder();
    const pipe = await Pipeline.fromPretrained(directory, { device });
    expect(pipe.labels).toEqual({ 0: 'tench', 1: 'goldfish' });
    expect(pipe.sampleSize).toEqual({ width: 8, height: 8 });
    const plan = pipe.plan({ batchSize: 2 });
    expect(plan.fits).toBe(true);
    expect(plan.dispatches!.unet).toBeGreaterThan(100);
    const adm = { generate: (options: AdmOptions) => pipe(options) };
    const run = await replay(adm as unknown as ADMPipeline, recording, { classifierScale: undefined });
    ['pred_xstart', 'cond_grad', 'timestep_map'].forEach((key) => run.ignore(key));
    const { error, tolerance } = run.result();
    expect(error).toBeLessThanOrEqual(tolerance);

    const options = { generator: 3, numInferenceSteps: 2, classLabels: ['Goldfish', 4] };
    const { latents, classLabels } = await pipe(options as AdmOptions);
    expect(classLabels).toEqual([1, 4]);
    const alone = await pipe({ ...options, classLabels: [1, 4], classifierScale: 0 } as AdmOptions);
    expect(alone.latents).not.toEqual(latents); // the classifier had a say
    expect((await pipe({ numInferenceSteps: 1, batchSize: 3 } as AdmOptions)).classLabels).toHaveLength(3);
    await pipe.dispose();
  });

  it('enlarges in a second stage what the first has made, as bytes', async () => {
    const { directory } = await folder({ files: { upsampler: ['guided_diffusion', 'SuperResModel'] } });
    const pipe = await ADMPipeline.load(device, directory);
    expect(pipe.factor).toBe(2);
    const stages: string[] = [];
    const generator = new TorchGenerator(8);
    const options = { classLabels: [2, 0], generator, numInferenceSteps: 3, upsamplerRespacing: 'ddim4' } as const;
    const both = await pipe.generate({
      ...options,
      width: 16,
      height: 16,
      onStep: ({ stage, step }) => void stages.push(`${stage} ${step}`),
    });
    expect(stages).toEqual(['base 1', 'base 2', 'base 3', ...[1, 2, 3, 4].map((i) => `upsampler ${i}`)]);
    expect(both.images.map(({ width, height }) => [width, height])).toEqual([
      [16, 16],
      [16, 16],
    ]);
    expect(both.small!.shape).toEqual([2, 3, 8, 8]);
    const asBytes = (pictures: Float32Array) =>
      pictures.map((x) => Math.floor(Math.min(255, Math.max(0, Math.fround(Math.fround(x + 1) * 127.5)))) / 127.5 - 1);

    // The stages one by one, on one generator, are the cascade.
    const again = new TorchGenerator(8);
    const first = await folder();
    const base = await ADMPipeline.load(device, first.directory);
    const small = await base.generate({ ...options, generator: again, width: 8, height: 8 });
    const bytes = asBytes(small.latents);
    expect(both.small!.data).toEqual(bytes);
    const large = await pipe.generate({ ...options, generator: again, image: { data: bytes, shape: [2, 3, 8, 8] } });
    expect(large.latents).toEqual(both.latents);
    expect(large.small).toBeUndefined();
    await Promise.all([pipe.dispose(), base.dispose()]);
  });

  it('refuses what does not fit, and leaves nothing', async () => {
    const before = await heldBy(device);
    const pickled = filesDirectory(
      {
        'model_index.json': new Blob(['{"_class_name": "ADMPipeline", "unet": ["guided_diffusion", "UNetModel"]}']),
        'unet/config.json': new Blob([JSON.stringify(FLAGS)]),
        'unet/64x64_diffusion.pt': new Blob(['PK']),
      },
      'adm',
    );
    expect(await failure(Pipeline.fromPretrained(pickled, { device }))).toBeInstanceOf(FormatError);
    const load = async (changes: Parameters<typeof folder>[0]) =>
      failure(ADMPipeline.load(device, (await folder(changes)).directory));
    expect((await load({ unet: { num_channel: 3 } })).message).toMatch(/num_channel/);
    expect((await load({ unet: { channel_mult: '' } })).message).toMatch(/channel_mult.*size of 8.*512/);
    expect(await load({ unet: { num_classes: 7 } })).toBeInstanceOf(Error);
    expect((await load({ files: { unet: [null, null] } })).message).toMatch(/neither|alone/);
    expect(await heldBy(device)).toEqual(before);

    const pipe = await ADMPipeline.load(device, (await folder()).directory);
    const refused: [AdmOptions, RegExp][] = [
      [{ classLabels: 5 }, /class of 0 … 4/],
      [{ classLabels: 'cat' }, /tench/],
      [{ classLabels: [1, 2], batchSize: 3 }, /1 or 3 classLabels/],
      [{ eta: 1 }, /ddim/],
      [{ sampler: 'heun' as 'ddpm' }, /ddpm or ddim/],
      [{ timestepRespacing: 'ddim999' }, /stride/],
      [{ timesteps: [10, 20, 0] }, /down to 0/],
      [{ image: { data: new Float32Array(48), shape: [1, 3, 4, 4] } }, /does not enlarge/],
      [{ width: 9 }, /multiple of 2/],
      [{ numInferenceSteps: 0 }, /1 … 1000/],
      [{ classifierScale: NaN }, /finite/],
    ];
    for (const [options, message] of refused) {
      const error = await failure(pipe.generate(options));
      expect(error).toBeInstanceOf(InvalidArgumentError);
      expect(error.message).toMatch(message);
    }
    await pipe.dispose();
    expect(await heldBy(device)).toEqual(before);
  });
});

describe('flags of the published models', () => {
  const published = (name: string) =>
    JSON.parse(readFileSync(new URL(`../../models/configs/${name}.json`, import.meta.url), 'utf8')) as RawConfig;
  const common = {
    diffusion_steps: 1000,
    learn_sigma: true,
    resblock_updown: true,
    use_fp16: true,
    use_scale_shift_norm: true,
  };
  it.each([
    [
      'adm-64',
      {
        ...common,
        attention_resolutions: '32,16,8',
        class_cond: true,
        dropout: 0.1,
        image_size: 64,
        noise_schedule: 'cosine',
      },
      { num_channels: 192, num_head_channels: 64, num_res_blocks: 3, use_new_attention_order: true },
    ],
    [
      'adm-256',
      { ...common, attention_resolutions: '32,16,8', class_cond: true, image_size: 256, noise_schedule: 'linear' },
      { num_channels: 256, num_head_channels: 64, num_res_blocks: 2 },
    ],
    [
      'adm-512',
      { ...common, attention_resolutions: '32,16,8', class_cond: true, image_size: 512, noise_schedule: 'linear' },
      { num_channels: 256, num_head_channels: 64, num_res_blocks: 2 },
    ],
  ])('%s', (name, a, b) => {
    const { network } = readAdmFlags({ ...a, ...b }, 'unet', name);
    expect(admWeights(readAdmConfig(network))).toEqual(admWeights(readAdmConfig(published(name))));
  });
  it.each([
    ['adm-64-256-upsampler', { large_size: 256, small_size: 64 }],
    [
      'adm-128-512-upsampler',
      { large_size: 512, small_size: 128, attention_resolutions: '32,16', num_head_channels: 64 },
    ],
  ])('%s', (name, own) => {
    const flags = {
      ...common,
      attention_resolutions: '32,16,8',
      class_cond: true,
      num_channels: 192,
      num_heads: 4,
      num_res_blocks: 2,
      ...own,
    };
    const { network, smallSize } = readAdmFlags(flags, 'upsampler', name);
    expect(admWeights(readAdmConfig(network))).toEqual(admWeights(readAdmConfig(published(name))));
    expect(smallSize).toBe(own.small_size);
  });
  it.each([
    ['adm-64-classifier', { image_size: 64, classifier_depth: 4 }],
    ['adm-256-classifier', { image_size: 256, classifier_depth: 2 }],
  ])('%s', (name, own) => {
    const flags = {
      classifier_attention_resolutions: '32,16,8',
      classifier_width: 128,
      classifier_pool: 'attention',
      ...own,
    };
    const { network } = readAdmFlags(flags, 'classifier', name);
    expect(classifierWeights(readClassifierConfig(network))).toEqual(
      classifierWeights(readClassifierConfig(published(name))),
    );
  });
});
