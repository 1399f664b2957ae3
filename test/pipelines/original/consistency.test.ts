/** consistency_models as a pipeline: recorded runs of every sampler, editing, folders, classes, refusals. */
import { describe, expect, it } from 'vitest';
import { ConfigError, InvalidArgumentError } from '../../../src/engine/index.ts';
import type { RawConfig } from '../../../src/loading/index.ts';
import { readAdmConfig } from '../../../src/models/adm/admConfig.ts';
import { AdmUNet, admWeights } from '../../../src/models/adm/admModel.ts';
import { Pipeline } from '../../../src/pipelines/index.ts';
import { ConsistencyPipeline } from '../../../src/pipelines/original/consistency.ts';
import { readConsistencySetup } from '../../../src/pipelines/original/consistencyConfig.ts';
import type { ConsistencyOptions, ConsistencySampler } from '../../../src/pipelines/original/options.ts';
import { consistencyScalings } from '../../../src/sampler/edm/index.ts';
import { TorchGenerator } from '../../../src/sampler/index.ts';
import { karrasSigmas } from '../../../src/sampler/schedule/sigmas.ts';
import { CLAMPED_MEAN, expectClose, NETWORK_NORM } from '../../support/close.ts';
import { normals } from '../../support/random.ts';
import { failure } from '../../models/fixtures.ts';
import { heldBy, largest } from '../folders.ts';
import { abortsCleanly, adapter, bytesOf, caseOf, device, Draws, folderOf, resumes, showsSteps } from './cases.ts';

interface Config {
  net: RawConfig;
  sigma_data: number;
  sigma_min: number;
  sigma_max: number;
  distillation: boolean;
  sample: {
    sampler: ConsistencySampler;
    steps: number;
    clip_denoised?: boolean;
    ts?: readonly number[];
    s_churn?: number;
    s_tmin?: number;
    s_tmax?: number;
    s_noise?: number;
    sigma_min?: number;
    sigma_max?: number;
    rho?: number;
  };
}

const configOf = ({ net, sigma_data, sigma_min, sigma_max, distillation }: Config): RawConfig => ({
  _class_name: 'UNetModel',
  attention_type: 'flash',
  ...net,
  ...{ sigma_data, sigma_min, sigma_max, distillation },
});

const open = (name: string) =>
  caseOf<Config>(name, ({ net }) =>
    admWeights(readAdmConfig({ _class_name: 'UNetModel', attention_type: 'flash', ...net })),
  );

async function replay(
  pipe: ConsistencyPipeline,
  { recording }: Awaited<ReturnType<typeof open>>,
  changes: ConsistencyOptions = {},
) {
  const { sample: o } = recording.config;
  const [, batch] = recording.tensor('draws').shape;
  return pipe.generate({
    batchSize: batch,
    classLabels: recording.has('in.y') ? [...recording.tensor('in.y').data] : undefined,
    generator: new Draws(recording),
    sampler: o.sampler,
    numInferenceSteps: o.steps,
    clipDenoised: o.clip_denoised,
    ts: o.ts,
    sChurn: o.s_churn,
    sTmin: o.s_tmin,
    sTmax: o.s_tmax,
    sNoise: o.s_noise,
    sigmaMin: o.sigma_min,
    sigmaMax: o.sigma_max,
    rho: o.rho,
    ...changes,
  });
}

describe(`consistency models on ${adapter}`, () => {
  it.each([
    'h-cm-sample-onestep',
    'h-cm-sample-multistep',
    'h-cm-sample-heun-churn',
    'h-cm-sample-dpm',
    'h-cm-sample-ancestral',
    'h-cm-sample-progdist',
  ])('%s', async (name) => {
    const found = await open(name);
    const { recording, checkpoint } = found;
    const before = await heldBy(device);
    const pipe = await ConsistencyPipeline.load(
      device,
      { config: configOf(recording.config), checkpoint },
      { dtype: 'f32' },
    );
    const { latents, images } = await replay(pipe, found);
    const { data } = recording.tensor('out.final');
    expectClose(latents, data, NETWORK_NORM * largest(data), 'final');
    images.forEach((image) => image.dispose());
    await pipe.dispose();
    expect(await heldBy(device)).toEqual(before);
  });

  /** The recorded network under the flags of the authors' scripts. */
  const FLAGS: RawConfig = {
    training_mode: 'consistency_distillation',
    image_size: 8,
    num_channels: 32,
    num_res_blocks: 1,
    channel_mult: '1,1',
    attention_resolutions: '4',
    num_head_channels: 16,
    class_cond: true,
    num_classes: 5,
    use_scale_shift_norm: true,
    resblock_updown: true,
    use_fp16: false,
    weight_schedule: 'uniform',
    id2label: { 3: 'bird' },
  };

  it('a folder of flags: one step, several, classes, seeds, abort, refusals', async () => {
    const { recording, checkpoint } = await open('h-cm-sample-onestep');
    const before = await heldBy(device);
    const weights = await bytesOf(checkpoint, 'module.');
    const pipe = await Pipeline.fromPretrained(folderOf(FLAGS, weights, 'ema.safetensors'), { device, dtype: 'f32' });
    expect([pipe.sampleSize, pipe.labels]).toEqual([{ width: 8, height: 8 }, { 3: 'bird' }]);
    const classLabels = [...recording.tensor('in.y').data];
    const recorded = { batchSize: 2, classLabels, generator: new Draws(recording) };
    const { latents, timing } = await pipe({ ...recorded, outputType: 'latent' });
    const { data } = recording.tensor('out.final');
    expectClose(latents, data, NETWORK_NORM * largest(data), 'final');
    expect(timing.stepMs).toHaveLength(1);

    const drawn = await pipe({ seeds: [5, 6], outputType: 'latent' });
    expect(drawn.classLabels).toEqual([5, 6].map((seed) => new TorchGenerator(seed).randint(0, 5, 1)[0]));
    const own = await pipe({ seeds: [6], classLabels: drawn.classLabels![1], outputType: 'latent' });
    expectClose(own.latents, drawn.latents.subarray(3 * 64), NETWORK_NORM * largest(data), 'second seed');
    const named = await pipe({ seeds: [6], classLabels: 'bird', outputType: 'latent' });
    expect(named.classLabels).toEqual([3]);

    const several: ConsistencyOptions = { ts: [0, 13, 26, 39], seeds: [5, 6], classLabels: [0, 1] };
    await showsSteps(pipe, several, { count: 3, batch: 2 });
    await abortsCleanly(pipe, several);
    await resumes(pipe, several);
    // One draw at every step, also where none is added.
    for (const sampler of ['heun', 'dpm'] as const) {
      const [generator, twin] = [new TorchGenerator(3), new TorchGenerator(3)];
      const churn = { sChurn: 2, sTmax: 1, numInferenceSteps: 4, classLabels: 0, outputType: 'latent' } as const;
      await pipe({ sampler, generator, ...churn });
      for (let i = 0; i < 5; i++) twin.randn(3 * 64);
      expect(generator.state).toEqual(twin.state);
    }
    const image = { data: new Float32Array(3 * 64), shape: [1, 3, 8, 8] };
    const maskImage = { data: new Float32Array(64), shape: [1, 1, 8, 8] };
    const wrong: ConsistencyOptions[] = [
      { classLabels: 5 },
      { classLabels: 'cow' },
      { sampler: 'multistep' },
      { ts: [0] },
      { ts: [0, 40] },
      { ts: [3, 2] },
      { sampler: 'heun', ts: [0, 3] },
      { sampler: 'ddim' as ConsistencySampler },
      { numInferenceSteps: 1 },
      { sigmaMin: 0 },
      { sigmaMin: 90 },
      { width: 9 },
      { image },
      { edit: 'inpainting', image },
      { edit: 'colorization' },
      { edit: 'colorization', image, maskImage },
      { edit: 'colorization', image, width: 16 },
      { edit: 'inpainting', image, maskImage: { ...maskImage, shape: [1, 1, 4, 16] } },
      { edit: 'superResolution', image, patchSize: 3 },
      { edit: 'superResolution', image: { data: new Float32Array(3 * 9), shape: [1, 3, 3, 3] } },
      { edit: 'blur' as 'inpainting', image },
      { eta: 1 } as ConsistencyOptions,
    ];
    for (const options of wrong)
      expect(await failure(pipe(options)), Object.keys(options).join()).toBeInstanceOf(InvalidArgumentError);
    await pipe.dispose();
    const { training_mode: _mode, ...untold } = FLAGS;
    for (const config of [
      { ...untold, weight_schedule: 'karras' },
      { ...FLAGS, training_mode: 'ddpm' },
      { ...FLAGS, sigma_min: 0 },
      { ...FLAGS, no_such_flag: 1 },
    ])
      expect(await failure(Pipeline.fromPretrained(folderOf(config, weights), { device }))).toBeInstanceOf(ConfigError);
    expect(await heldBy(device)).toEqual(before);
  });

  it('edits a picture: what is known stays, what is not is made in rounds', async () => {
    const { checkpoint } = await open('h-cm-sample-onestep');
    const before = await heldBy(device);
    const pipe = await ConsistencyPipeline.load(device, { config: FLAGS, checkpoint }, { dtype: 'f32' });
    const image = { data: normals(7, 3 * 64, { std: 0.4 }), shape: [1, 3, 8, 8] };
    const call = { image, seeds: [3], classLabels: 2, ts: [0, 20, 39], outputType: 'latent' as const };

    const { id2label: _names, ...plain } = FLAGS;
    // Colours by hand: x₀ with the brightness of the picture, and up again.
    const { latents: coloured } = await pipe.generate({ ...call, edit: 'colorization' });
    const network = await AdmUNet.load(
      device,
      { config: readConsistencySetup(plain, 'flags').network, checkpoint },
      { dtype: 'f32' },
    );
    const along = [0.2989, 0.587, 0.114].map((v) => v / Math.hypot(0.2989, 0.587, 0.114));
    const generator = new TorchGenerator(3);
    const grid = karrasSigmas(40, 0.002, 80);
    let x = generator.randn(3 * 64).map((v) => 80 * v);
    for (const [from, to] of [
      [grid[0], grid[20]],
      [grid[20], grid[39]],
    ]) {
      const { cSkip, cOut, cIn } = consistencyScalings(from);
      const sample = { data: x.map((v) => cIn * v), shape: [1, 3, 8, 8] };
      const out = await (await network.forward({ sample, timestep: 250 * Math.log(from), classLabels: [2] })).read();
      const x0 = x.map((v, i) => Math.min(1, Math.max(-1, cSkip * v + cOut * out[i])));
      const z = generator.randn(3 * 64);
      x = x0.map((v, i) => {
        const lack = along.reduce((sum, w, c) => sum + w * (image.data[64 * c + (i % 64)] - x0[64 * c + (i % 64)]), 0);
        return v + along[Math.floor(i / 64)] * lack + Math.sqrt(Math.max(to ** 2 - 0.002 ** 2, 0)) * z[i];
      });
    }
    network.dispose();
    const want = x.map((v) => Math.min(1, Math.max(-1, v)));
    expectClose(coloured, want, NETWORK_NORM * largest(want), 'coloured');

    const mask = Float32Array.from({ length: 64 }, (_, i) => (i % 8 < 4 ? 1 : 0));
    const maskImage = { data: mask, shape: [1, 1, 8, 8] };
    const { latents: filled } = await pipe.generate({ ...call, edit: 'inpainting', maskImage });
    const within = Float32Array.from(image.data, (v) => Math.min(1, Math.max(-1, v)));
    filled.forEach((v, i) => {
      if (mask[i % 64] === 0) expect(v).toBe(within[i]);
    });
    expect(filled.some((v, i) => mask[i % 64] === 1 && v !== within[i])).toBe(true);

    // Means of squares are those of the small picture, whether it is given small or large.
    const small = { data: normals(8, 3 * 4, { std: 0.2 }), shape: [1, 3, 2, 2] };
    const { latents: large } = await pipe.generate({ ...call, image: small, edit: 'superResolution' });
    const at = (c: number, row: number, column: number) => c * 64 + row * 8 + column;
    const means = Array.from(small.data, (_, i) => {
      const [c, row, column] = [Math.floor(i / 4), Math.floor((i % 4) / 2), i % 2];
      const square = Array.from(
        { length: 16 },
        (__, k) => large[at(c, 4 * row + Math.floor(k / 4), 4 * column + (k % 4))],
      );
      return square.reduce((sum, v) => sum + v, 0) / 16;
    });
    // Rounds end in a clamp to −1 … 1, which the means of such a dull picture hardly feel.
    expectClose(means, small.data, CLAMPED_MEAN, 'means');
    const repeated = {
      data: Float32Array.from(
        large,
        (_, i) => small.data[4 * Math.floor(i / 64) + 2 * Math.floor((i % 64) / 32) + Math.floor((i % 8) / 4)],
      ),
      shape: [1, 3, 8, 8],
    };
    const again = await pipe.generate({ ...call, image: repeated, edit: 'superResolution', patchSize: 4 });
    expect(again.latents).toEqual(large);
    const error = await failure(pipe.generate({ ...call, edit: 'colorization', sampler: 'heun' }));
    expect(error.message).toMatch(/no sampler with edit/);
    await pipe.dispose();
    expect(await heldBy(device)).toEqual(before);
  });
});
