/** What cases with OpenAI's U-Nets have in common: the network, and recorded pictures and conditions. */
import type { RawConfig } from '../../../loading/index.ts';
import { readAdmConfig } from '../../../models/adm/admConfig.ts';
import { AdmUNet, admWeights } from '../../../models/adm/admModel.ts';
import type { TensorInput } from '../../../models/index.ts';
import type { OriginalCase } from './recorded.ts';
import { mergedWeights, type NetworkCase } from './weights.ts';

/** Files of weights by the network's name. */
export type WeightFiles = Readonly<Record<string, readonly string[]>>;

/** Opens the network of a case, and lets it go when the work is done. */
export async function withAdm<T>(
  c: NetworkCase,
  config: RawConfig,
  files: readonly string[],
  run: (network: AdmUNet) => Promise<T>,
): Promise<T> {
  const checkpoint = await mergedWeights(c, files, admWeights(readAdmConfig(config)));
  const network = await AdmUNet.load(await c.device(), { config, checkpoint }, { dtype: c.dtype });
  try {
    return await run(network);
  } finally {
    network.dispose();
    await checkpoint.close();
  }
}

/** The files of weights that a case names. */
export async function weightFiles(c: NetworkCase): Promise<WeightFiles> {
  return ((await c.dir.json('config.json')) as { weights: WeightFiles }).weights;
}

/** A recorded picture as networks take it. */
export function pictureOf(recording: OriginalCase<unknown>, key: string): TensorInput {
  const { data, shape } = recording.tensor(key);
  return { data: Float32Array.from(data), shape };
}

/** Recorded conditions: class ids and the small picture, where the case has them. */
export function conditionsOf(recording: OriginalCase<unknown>): { classLabels?: number[]; lowRes?: TensorInput } {
  return {
    classLabels: recording.has('in.y') ? [...recording.tensor('in.y').data] : undefined,
    lowRes: recording.has('in.low_res') ? pictureOf(recording, 'in.low_res') : undefined,
  };
}
