/** NCSNv2 as a pipeline: the recorded run, folders, seeds, refusals. */
import { describe, expect, it } from 'vitest';
import type { RawConfig } from '../../../src/loading/index.ts';
import { readNcsnv2Config } from '../../../src/models/scoreSde/ncsnv2Config.ts';
import { ncsnv2Weights } from '../../../src/models/scoreSde/ncsnv2Model.ts';
import { NCSNv2Pipeline } from '../../../src/pipelines/original/ncsnv2.ts';
import { expectClose, NETWORK_NORM } from '../../support/close.ts';
import { heldBy, largest } from '../folders.ts';
import { adapter, caseOf, device, Draws } from './cases.ts';

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
});
