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
    const sample = pictureOf(recording, 'in.x');
    const timestep = [...recording.tensor('in.t').data];
    if (!recording.has('in.y')) {
      recording.compare('logits', await (await judge.forward({ sample, timestep })).read());
      return;
    }
    const classes = [...recording.tensor('in.y').data];
    const found = await judge.gradient({ sample, timestep, classLabels: classes });
    const logits = await found.logits.read();
    const N = logits.length / classes.length;
    if (recording.has('out.logits')) recording.compare('logits', logits);
    if (recording.has('out.grad')) recording.compare('grad', await found.gradient.read());
    if (recording.has('out.log_prob_y')) {
      const logProbs = classes.map((y, b) => logProb(logits.subarray(b * N, (b + 1) * N), y));
      recording.compare('log_prob_y', logProbs);
    }
  });
  return recording.result();
}

/** log softmax at y. */
function logProb(logits: Float32Array, y: number): number {
  const top = Math.max(...logits);
  return logits[y] - top - Math.log(logits.reduce((sum, v) => sum + Math.exp(v - top), 0));
}
