/** OpenAI's networks and the trajectories over them, against what the original code gave. */
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import type { RawConfig } from '../../../src/loading/index.ts';
import { readAdmConfig, readClassifierConfig } from '../../../src/models/adm/admConfig.ts';
import { AdmUNet, admWeights } from '../../../src/models/adm/admModel.ts';
import { AdmClassifier, classifierWeights } from '../../../src/models/classifier/classifierModel.ts';
import { pathDirectory } from '../../../src/node/fileSource.ts';
import { conditionsOf, pictureOf } from '../../../src/node/parity/original/admCase.ts';
import { runOriginalCase } from '../../../src/node/parity/original/index.ts';
import { OriginalCase } from '../../../src/node/parity/original/recorded.ts';
import { adapters, isFullRun } from '../../support/gpu.ts';
import { openDevice } from '../../support/runGraph.ts';
import { generated, recordedOptions } from './generated.ts';

const originals = pathDirectory(fileURLToPath(new URL('../../fixtures/original', import.meta.url)));
const CASES = readdirSync(fileURLToPath(new URL('../../fixtures/original', import.meta.url))).filter((name) =>
  /^(b-adm-|c-iddpm-(bpd|training)|h-cm-(denoise|sample)-)/.test(name),
);
const OPTIONS = readdirSync(fileURLToPath(new URL('../../fixtures/adm', import.meta.url))).filter((name) =>
  /^(unet|sr|cls)-/.test(name),
);

/** Trajectories that differ from another one by few lines of the sampler. */
const LONG = ['c-iddpm-bpd-cosine', 'h-cm-sample-ancestral', 'h-cm-sample-heun-churn', 'b-adm-ddpm-cls-guided'];

/** lavapipe compiles slowly: one of each network there. */
function chosen(adapter: string, names: readonly string[], few: readonly string[]): readonly string[] {
  if (isFullRun) return names;
  return names.filter((name) => (adapter === 'swiftshader' ? !LONG.includes(name) : few.includes(name)));
}

interface Options {
  model: RawConfig;
}

describe.each(adapters())('recorded on %s', (adapter) => {
  const device = () => openDevice(adapter);

  test.each(chosen(adapter, CASES, ['b-adm-unet-forward', 'b-adm-classifier']))('%s', async (name) => {
    const network = { root: originals, name, device, dtype: 'f32' } as const;
    const { error, tolerance } = await runOriginalCase(originals.folder(name), network);
    if (process.env.SHOW_PARITY) console.log(`${name} ${error.toExponential(1)} ${tolerance.toExponential(1)}`);
    expect(error).toBeLessThanOrEqual(tolerance);
  });

  const [networks, classifiers] = [/^(unet|sr)/, /^cls/].map((kind) => OPTIONS.filter((name) => kind.test(name)));

  test.each(chosen(adapter, networks, []))('%s: a U-Net with other options', async (name) => {
    const recording = await OriginalCase.open<Options>(recordedOptions(name));
    const _class_name = recording.has('in.low_res') ? 'SuperResModel' : 'UNetModel';
    const raw = { ...recording.config.model, _class_name };
    const network = await AdmUNet.load(await device(), await generated(raw, admWeights(readAdmConfig(raw))));
    const out = await network.forward({
      sample: pictureOf(recording, 'in.x'),
      timestep: [...recording.tensor('in.t').data],
      ...conditionsOf(recording),
    });
    recording.compare('model', await out.read());
    network.dispose();
    const { error, tolerance } = recording.result();
    expect(error).toBeLessThanOrEqual(tolerance);
  });

  test.each(chosen(adapter, classifiers, ['cls-attention']))('%s: a classifier with other options', async (name) => {
    const recording = await OriginalCase.open<Options>(recordedOptions(name));
    const raw = { ...recording.config.model, _class_name: 'EncoderUNetModel' };
    const source = await generated(raw, classifierWeights(readClassifierConfig(raw)));
    const judge = await AdmClassifier.load(await device(), source);
    const call = { sample: pictureOf(recording, 'in.x'), timestep: [...recording.tensor('in.t').data] };
    const alone = await (await judge.forward(call)).read();
    const found = await judge.gradient({ ...call, classLabels: [...recording.tensor('in.y').data] });
    expect(await found.logits.read()).toEqual(alone);
    expect(found.logits.shape).toEqual(recording.tensor('out.logits').shape);
    recording.compare('logits', alone);
    recording.compare('grad', await found.gradient.read());
    recording.ignore('log_prob_y'); // follows from the logits
    judge.dispose();
    const { error, tolerance } = recording.result();
    expect(error).toBeLessThanOrEqual(tolerance);
  });
});
