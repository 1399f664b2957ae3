/** consistency_models as a pipeline: recorded runs of every sampler, editing, folders, classes, refusals. */
import { describe, expect, it } from 'vitest';
import type { RawConfig } from '../../../src/loading/index.ts';
import { readAdmConfig } from '../../../src/models/adm/admConfig.ts';
import { admWeights } from '../../../src/models/adm/admModel.ts';
import { ConsistencyPipeline } from '../../../src/pipelines/original/consistency.ts';
import type { ConsistencyOptions, ConsistencySampler } from '../../../src/pipelines/original/options.ts';
import { expectClose, NETWORK_NORM } from '../../support/close.ts';
import { heldBy, largest } from '../folders.ts';
import { adapter, caseOf, device, Draws } from './cases.ts';

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
});
