/** Parity with guided-diffusion's classifier: logits, log probability, and its gradient by the picture. */
import type { RawConfig } from '../../../loading/index.ts';
import { readClassifierConfig } from '../../../models/adm/admConfig.ts';
import { AdmClassifier, classifierWeights } from '../../../models/classifier/classifierModel.ts';
import { pictureOf, weightFiles } from './admCase.ts';
import { OriginalCase, type CaseResult } from './recorded.ts';
import { mergedWeights, type NetworkCase } from './weights.ts';

/** Opens the classifier of a case, and lets it go when the work is done. */
export async function withClassifier<T>(
  c: NetworkCase,
  config: RawConfig,
  files: readonly string[],
  run: (judge: AdmClassifier) => Promise<T>,
): Promise<T> {
  const checkpoint = await mergedWeights(c, files, classifierWeights(readClassifierConfig(config)));
  const judge = await AdmClassifier.load(await c.device(), { config, checkpoint }, { dtype: c.dtype });
  try {
    return await run(judge);
  } finally {
    judge.dispose();
    await checkpoint.close();
  }
}

/** One call. */
export async function runAdmClassifier(c: NetworkCase): Promise<CaseResult> {
  const recording = await OriginalCase.open<{ model: RawConfig }>(c.dir);
  const config = { ...recording.config.model, _class_name: 'EncoderUNetModel' };
  await withClassifier(c, config, (await weightFiles(c)).model, async (judge) => {
    const classes = [...recording.tensor('in.y').data];
    const found = await judge.gradient({
      sample: pictureOf(recording, 'in.x'),
      timestep: [...recording.tensor('in.t').data],
      classLabels: classes,
    });
    const logits = await found.logits.read();
    recording.compare('logits', logits);
    recording.compare('grad', await found.gradient.read());
    recording.compare(
      'log_prob_y',
      classes.map((y, b) =>
        logProb(logits.subarray((b * logits.length) / classes.length), y, logits.length / classes.length),
      ),
    );
  });
  return recording.result();
}

/** log softmax at y. */
function logProb(logits: Float32Array, y: number, classes: number): number {
  const own = logits.subarray(0, classes);
  const top = Math.max(...own);
  return logits[y] - top - Math.log(own.reduce((sum, v) => sum + Math.exp(v - top), 0));
}
