/** Classifier guidance from end to end on the GPU, against the trajectory that the original code recorded. */
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import type { RawConfig } from '../../../src/loading/index.ts';
import { pathDirectory } from '../../../src/node/fileSource.ts';
import { withAdm, weightFiles } from '../../../src/node/parity/original/admCase.ts';
import { withClassifier } from '../../../src/node/parity/original/classifier.ts';
import { diffusionOf, type DiffusionConfig } from '../../../src/node/parity/original/gaussianDiffusion.ts';
import { OriginalCase } from '../../../src/node/parity/original/recorded.ts';
import { admNetwork, classifierGradient } from '../../../src/pipelines/adm/onGpu.ts';
import { GpuSpace } from '../../../src/pipelines/gpu/gpuSpace.ts';
import {
  classifierMeanShift,
  clipped,
  ddpm,
  parameterise,
  runSolver,
  type LogProbGradient,
} from '../../../src/sampler/index.ts';
import { adapters } from '../../support/gpu.ts';
import { openDevice } from '../../support/runGraph.ts';

interface Config {
  model: RawConfig;
  classifier: RawConfig;
  classifier_scale: number;
  diffusion: DiffusionConfig;
}

const root = pathDirectory(fileURLToPath(new URL('../../fixtures/original', import.meta.url)));
const name = 'b-adm-ddpm-cls-guided';
const [adapter] = adapters();

/** The recorded run with the gradient times `factor`; how far its worst state is off, and how far it may be. */
async function replay(factor: number) {
  const device = await openDevice(adapter);
  const c = { dir: root.folder(name), root, name, device: async () => device, dtype: 'f32' } as const;
  const recording = await OriginalCase.open<Config>(c.dir);
  const { model, classifier, classifier_scale, diffusion } = recording.config;
  const files = await weightFiles(c);
  const unetConfig = { ...model, _class_name: 'UNetModel' };
  const judgeConfig = { ...classifier, _class_name: 'EncoderUNetModel' };
  const states: number[] = [];
  await withAdm(c, unetConfig, files.model, (unet) =>
    withClassifier(c, judgeConfig, files.classifier, async (judge) => {
      const space = await GpuSpace.open(device);
      const { transitions, prediction, varianceType } = diffusionOf(diffusion);
      const { data, shape } = recording.tensor('in.noise');
      const conditions = { shape, classLabels: [...recording.tensor('in.y').data] };
      const gradient: LogProbGradient = classifierGradient(space, judge, conditions);
      let step = 0;
      await runSolver({
        x: space.vec(data, shape[0]),
        denoiser: clipped(parameterise(admNetwork(space, unet, conditions), prediction)),
        solver: classifierMeanShift(ddpm({ varianceType }), {
          gradient,
          scale: factor * classifier_scale,
          varianceType,
        }),
        transitions,
        noise: () => space.vec(recording.item('draws', step), shape[0]),
        onStep: async ({ state }) => {
          step++;
          states.push(...(await state()).x);
        },
      });
      space.dispose();
    }),
  );
  recording.compare('sample', states);
  ['final', 'pred_xstart', 'cond_grad', 'model_t', 'timestep_map'].forEach((key) => recording.ignore(key));
  return recording.result();
}

test(`ancestral sampling guided by a classifier on ${adapter}`, async () => {
  const { error, tolerance } = await replay(1);
  expect(error).toBeLessThanOrEqual(tolerance);
  const spoilt = await replay(1.01);
  expect(spoilt.error).toBeGreaterThan(tolerance);
});
