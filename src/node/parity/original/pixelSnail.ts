/** Parity of PixelSNAIL: logits of recorded codes, and codes drawn with recorded uniforms. */
import type { RawConfig } from '../../../loading/index.ts';
import { weightsOf } from '../../../models/loadedModel.ts';
import {
  cumulativeOf,
  PixelSnail,
  pixelSnailDefinition,
  type CodeMap,
} from '../../../models/pixelSnail/pixelSnailModel.ts';
import { modelFiles } from './autoencoders.ts';
import { OriginalCase, type CaseResult } from './recorded.ts';
import { mergedWeights, type NetworkCase } from './weights.ts';

/** `pixelsnail.PixelSNAIL(**config.net)(codes, condition)` and its ancestral samples. */
export async function runPixelSnail(c: NetworkCase): Promise<CaseResult> {
  const recording = await OriginalCase.open<{ net: RawConfig; temp: number }>(c.dir);
  const { net, temp } = recording.config;
  const config = { _class_name: 'PixelSNAIL', ...net };
  const wanted = weightsOf(pixelSnailDefinition, pixelSnailDefinition.readConfig(config));
  const checkpoint = await mergedWeights(c, await modelFiles(c), wanted);
  const model = await PixelSnail.load(await c.device(), { config, checkpoint }, { dtype: c.dtype });
  try {
    const codes: CodeMap = recording.tensor('in.codes');
    const condition: CodeMap | undefined = recording.has('in.condition') ? recording.tensor('in.condition') : undefined;
    recording.compare('logits', await (await model.logits(codes, { condition })).read());
    const [batch] = codes.shape;
    const uniforms = recording.tensor('in.u').data;
    const sampled = await model.sample({ batch, condition, uniforms, temperature: temp });
    recording.same('sampled', sampled);
    const again = await (await model.logits({ data: sampled, shape: codes.shape }, { condition })).read();
    recording.compare('sample_margin', [marginOf(again, uniforms, batch, model.config.nClass, temp)]);
    return recording.result();
  } finally {
    model.dispose();
    await checkpoint.close();
  }
}

/** How near a draw came to the border between two codes. */
function marginOf(logits: Float32Array, u: ArrayLike<number>, batch: number, n: number, temp: number): number {
  const T = u.length / batch;
  let least = Infinity;
  for (let i = 0; i < u.length; i++) {
    const [b, t] = [Math.floor(i / T), i % T];
    const row = Array.from({ length: n }, (_, k) => logits[(b * n + k) * T + t] / temp);
    for (const border of cumulativeOf(row)) least = Math.min(least, Math.abs(border - u[i]));
  }
  return least;
}
