/**
 * EDM's networks as a pipeline: trajectories that the authors' samplers recorded, folders, classes, seeds, refusals.
 */
import { describe, expect, it } from 'vitest';
import { ConfigError, FormatError, InvalidArgumentError, WeightError } from '../../../src/engine/index.ts';
import type { RawConfig } from '../../../src/loading/index.ts';
import { readEdmConfig } from '../../../src/models/edm/edmConfig.ts';
import { edmWeights } from '../../../src/models/edm/edmModel.ts';
import { EDMPipeline } from '../../../src/pipelines/original/edm.ts';
import type { EdmOptions } from '../../../src/pipelines/original/options.ts';
import { Pipeline } from '../../../src/pipelines/index.ts';
import { TorchGenerator } from '../../../src/sampler/index.ts';
import { failure } from '../../models/fixtures.ts';
import { expectClose, F16_PIPELINE, NETWORK_NORM } from '../../support/close.ts';
import { heldBy, largest } from '../folders.ts';
import { abortsCleanly, adapter, bytesOf, caseOf, device, Draws, folderOf, resumes, showsSteps } from './cases.ts';

interface Config {
  net: RawConfig & { precond: string };
  sampler: Record<string, number> & Pick<EdmOptions, 'solver' | 'discretization' | 'schedule' | 'scaling'>;
}

const CLASSES: Record<string, string> = { iddpm: 'iDDPMPrecond', vp: 'VPPrecond', ve: 'VEPrecond' };

/** `config.json` of a case; the recorded networks of ADM were made with narrower heads than the code has built in. */
function configOf({ net: { precond, ...net } }: Config): RawConfig {
  const heads = net.model_type === 'SongUNet' ? {} : { channels_per_head: 8 };
  return { _class_name: CLASSES[precond] ?? precond, ...net, ...heads };
}

const open = (name: string) => caseOf<Config>(name, (config) => edmWeights(readEdmConfig(configOf(config))));

async function replay(pipe: EDMPipeline, { recording }: Awaited<ReturnType<typeof open>>, changes: EdmOptions = {}) {
  const { sampler: o } = recording.config;
  const rows = recording.has('in.class_labels') ? recording.tensor('in.class_labels').data : undefined;
  return pipe.generate({
    latents: Float32Array.from(recording.tensor('in.latents').data),
    batchSize: recording.tensor('in.latents').shape[0],
    classLabels: rows && Float32Array.from(rows),
    generator: new Draws(recording),
    numInferenceSteps: o.num_steps,
    sigmaMin: o.sigma_min,
    sigmaMax: o.sigma_max,
    rho: o.rho,
    solver: o.solver,
    discretization: o.discretization,
    schedule: o.schedule,
    scaling: o.scaling,
    alpha: o.alpha,
    epsilonS: o.epsilon_s,
    c1: o.C_1,
    c2: o.C_2,
    m: o.M,
    sChurn: o.S_churn,
    sMin: o.S_min,
    sMax: o.S_max,
    sNoise: o.S_noise,
    ...changes,
  });
}

describe(`EDM on ${adapter}`, () => {
  it.each([
    'd-edm-sampler-heun',
    'd-edm-sampler-churn',
    'd-abl-heun-iddpm',
    'd-abl-heun-ve-churn',
    'd-abl-heun-vp',
    'd-abl-heun-edm-alpha',
    'd-abl-euler-ve',
  ])('%s', async (name) => {
    const found = await open(name);
    const before = await heldBy(device);
    const { checkpoint, recording } = found;
    const pipe = await EDMPipeline.load(device, { config: configOf(recording.config), checkpoint }, { dtype: 'f32' });
    const { latents, images } = await replay(pipe, found);
    const want = [...recording.tensor('out.final').data];
    const scale = largest(want);
    expectClose(latents, want, NETWORK_NORM * scale, 'final');
    images.forEach((image) => image.dispose());
    await pipe.dispose();
    expect(await heldBy(device)).toEqual(before);
  });

  it('a folder of the network alone: classes, seeds, steps, abort, refusals', async () => {
    const { recording, checkpoint } = await open('d-edm-sampler-churn');
    const config = { ...configOf(recording.config), id2label: { 0: 'cat', 5: 'dog' } };
    const weights = await bytesOf(checkpoint);
    const before = await heldBy(device);
    const folder = folderOf(config, weights, 'edm-cifar10-32x32-cond-vp.safetensors');
    const pipe = await Pipeline.fromPretrained(folder, { device, dtype: 'f32' });
    expect([pipe.labels[5], pipe.sampleSize, pipe.plan({ batchSize: 2 }).fits]).toEqual([
      'dog',
      { width: 8, height: 8 },
      true,
    ]);

    // A picture of a seed and class is the same in any batch, and the class that a seed draws is the authors'.
    const call = { numInferenceSteps: 3, sChurn: 10 };
    const both = await pipe({ ...call, seeds: [1, 2] });
    const drawn = [1, 2].map((seed) => {
      const generator = new TorchGenerator(seed);
      generator.randn(3 * 8 * 8);
      return generator.randint(0, 6, 1)[0];
    });
    expect(both.classLabels).toEqual(drawn);
    const second = await pipe({ ...call, seeds: [2], classLabels: drawn[1] });
    const scale = largest(both.latents);
    expectClose(second.latents, both.latents.subarray(3 * 8 * 8), NETWORK_NORM * scale, 'second seed');
    const named = await pipe({ ...call, seeds: [2], classLabels: 'dog', outputType: 'latent' });
    const rows = Float32Array.of(0, 0, 0, 0, 0, 1);
    const byRow = await pipe({ ...call, seeds: [2], classLabels: rows, outputType: 'latent' });
    const none = await pipe({ ...call, seeds: [2], classLabels: null, outputType: 'latent' });
    expect([named.classLabels, byRow.classLabels, none.classLabels, named.images]).toEqual([
      [5],
      undefined,
      undefined,
      [],
    ]);
    expect(byRow.latents).toEqual(named.latents);
    expect(none.latents).not.toEqual(named.latents);
    [...both.images, ...second.images].forEach((image) => image.dispose());

    const steps: EdmOptions = { numInferenceSteps: 3, classLabels: [0, 5], generator: 4 };
    await showsSteps(pipe, steps, { count: 3, batch: 2 });
    await abortsCleanly(pipe, steps);
    await resumes(pipe, { ...steps, sChurn: 10 });
    const wrong: object[] = [
      { classLabels: 6 },
      { classLabels: 'cow' },
      { classLabels: [1, 2], batchSize: 3 },
      { numInferenceSteps: 1 },
      { numInferenceSteps: 2.5 },
      { discretization: 'karras' },
      { solver: 'dpm' },
      { eta: 1 },
      { guidanceScale: 2 },
      { width: 9 },
      { batchSize: 0 },
      { seeds: [1], generator: 1 },
      { seeds: [1], batchSize: 2 },
      { latents: new Float32Array(5) },
      { generator: [new TorchGenerator(1)], batchSize: 2 },
    ];
    for (const options of wrong)
      expect(await failure(pipe(options)), Object.keys(options).join()).toBeInstanceOf(InvalidArgumentError);
    await pipe.dispose();
    expect(await heldBy(device)).toEqual(before);
  });

  it('one file with its config, and what is no such folder', async () => {
    const { recording, checkpoint } = await open('d-edm-sampler-heun');
    const config = configOf(recording.config);
    const weights = await bytesOf(checkpoint);
    const before = await heldBy(device);
    const whole = new File([weights as Uint8Array<ArrayBuffer>], 'edm.safetensors');
    const pipe = await Pipeline.fromPretrained(whole, { device, dtype: 'f32', configs: { unet: config } });
    const alone = await failure(Pipeline.fromPretrained(whole, { device }));
    expect(alone).toBeInstanceOf(FormatError);
    expect(alone.message).toMatch(/got a SongUNet .*configs: \{ unet: its config \}/);
    const { latents } = await pipe({ numInferenceSteps: 2, seeds: [1], outputType: 'latent' });
    await pipe.dispose();
    const folder = await Pipeline.fromPretrained(folderOf(config, weights), { device, dtype: 'f32' });
    const same = await folder({ numInferenceSteps: 2, seeds: [1], outputType: 'latent' });
    expect(same.latents).toEqual(latents);
    await folder.dispose();
    const halves = await Pipeline.fromPretrained(folderOf(config, weights), { device, dtype: 'f16' });
    const near = await halves({ numInferenceSteps: 2, seeds: [1], outputType: 'latent' });
    expectClose(near.latents, latents, F16_PIPELINE * largest(latents), 'stored in halves');
    await halves.dispose();
    const load = (changes: RawConfig) =>
      failure(Pipeline.fromPretrained(folderOf({ ...config, ...changes }, weights), { device, dtype: 'f32' }));
    expect(await load({ _class_name: 'SongUNet', in_channels: 3, out_channels: 3 })).toBeInstanceOf(ConfigError);
    expect(await load({ no_such_field: 1 })).toBeInstanceOf(ConfigError);
    expect(await load({ model_channels: 16 })).toBeInstanceOf(WeightError);
    expect(await load({ _class_name: 'NoSuchPrecond' })).toBeInstanceOf(ConfigError);
    expect(await heldBy(device)).toEqual(before);
  });
});
