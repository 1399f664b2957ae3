/** NCSNv2 as a pipeline: the recorded run, folders, seeds, refusals. */
import { describe, expect, it } from 'vitest';
import { ConfigError, InvalidArgumentError, UnsupportedError } from '../../../src/engine/index.ts';
import type { RawConfig } from '../../../src/loading/index.ts';
import { readNcsnv2Config } from '../../../src/models/scoreSde/ncsnv2Config.ts';
import { ncsnv2Weights } from '../../../src/models/scoreSde/ncsnv2Model.ts';
import { Pipeline } from '../../../src/pipelines/index.ts';
import { NCSNv2Pipeline } from '../../../src/pipelines/original/ncsnv2.ts';
import { PhiloxGenerator, TorchGenerator } from '../../../src/sampler/index.ts';
import { expectClose, NETWORK_NORM } from '../../support/close.ts';
import { failure } from '../../models/fixtures.ts';
import { heldBy, largest } from '../folders.ts';
import { abortsCleanly, adapter, bytesOf, caseOf, device, Draws, folderOf, resumes, showsSteps } from './cases.ts';

interface Config {
  net: RawConfig;
  n_steps_each: number;
  step_lr: number;
  denoise: boolean;
}

const configOf = ({ net, n_steps_each, step_lr, denoise }: Config): RawConfig => ({
  ...net,
  sampling: { n_steps_each, step_lr, denoise, batch_size: 1, data_init: false },
});

const open = () =>
  caseOf<Config>('e-ncsnv2-ald-net', (config) =>
    ncsnv2Weights(readNcsnv2Config({ _class_name: 'NCSNv2', ...configOf(config) })),
  );

describe(`NCSNv2 on ${adapter}`, () => {
  it('runs the recorded dynamics', async () => {
    const { recording, checkpoint } = await open();
    const before = await heldBy(device);
    const pipe = await NCSNv2Pipeline.load(
      device,
      { config: configOf(recording.config), checkpoint },
      { dtype: 'f32' },
    );
    const states: number[] = [];
    const { latents, images } = await pipe.generate({
      latents: Float32Array.from(recording.tensor('in.x').data),
      generator: new Draws(recording),
      onStep: async ({ state }) => void states.push(...(await state()).x),
    });
    const { data } = recording.tensor('out.images');
    expectClose(states, data, NETWORK_NORM * largest(data), 'states');
    expectClose(latents, data.slice(-latents.length), NETWORK_NORM * largest(data), 'final');
    images.forEach((image) => image.dispose());
    await pipe.dispose();
    expect(await heldBy(device)).toEqual(before);
  });

  it('a folder of the authors’ config: seeds, abort, refusals', async () => {
    const { recording, checkpoint } = await open();
    const config = configOf(recording.config);
    const before = await heldBy(device);
    const weights = await bytesOf(checkpoint, 'module.');
    const load = (changes: RawConfig = {}) =>
      Pipeline.fromPretrained(folderOf({ ...config, ...changes }, weights), { device, dtype: 'f32' });
    const pipe = await load();
    expect([pipe.sampleSize, pipe.plan({ batchSize: 2 }).fits]).toEqual([{ width: 8, height: 8 }, true]);
    const call = { seeds: [1, 2] };
    await showsSteps(pipe, call, { count: 11, batch: 2 });
    await abortsCleanly(pipe, call);
    await resumes(pipe, call);
    // The start is uniform, as `torch.rand` draws it, and noise follows from the same generator.
    const both = await pipe({ ...call, outputType: 'latent' });
    const generator = new TorchGenerator(2);
    const latents = generator.rand(3 * 64);
    const second = await pipe({ latents, generator, outputType: 'latent' });
    const scale = largest(both.latents);
    expectClose(second.latents, both.latents.subarray(3 * 64), NETWORK_NORM * scale, 'second seed');
    const wrong: object[] = [
      { stepsEach: 0 },
      { stepSize: 0 },
      { numInferenceSteps: 5 },
      { batchSize: 0 },
      { width: 7 },
      { latents: new Float32Array(3) },
      { generator: new PhiloxGenerator(1) },
      { seeds: [1], batchSize: 2 },
    ];
    for (const options of wrong)
      expect(await failure(pipe(options)), Object.keys(options).join()).toBeInstanceOf(InvalidArgumentError);
    await pipe.dispose();
    const plain = await load({ sampling: {} });
    expect(await failure(plain())).toBeInstanceOf(InvalidArgumentError);
    await plain.dispose();
    const data = { ...(config.data as RawConfig), logit_transform: true };
    expect(await failure(load({ data }))).toBeInstanceOf(UnsupportedError);
    expect(await failure(load({ sampling: { tea: 1 } }))).toBeInstanceOf(ConfigError);
    expect(await heldBy(device)).toEqual(before);
  });
});
