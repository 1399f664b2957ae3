import type { Directory } from '../../src/loading/index.ts';
import type { BenchCase } from '../case.ts';
import { emojiNetworks, emojiPicture } from './emoji.ts';
import { networkCase, type NetworkCase } from './modelCase.ts';
import { publishedNetworks } from './publishedCases.ts';

/** Folders that the model suite reads. */
export interface ModelFolders {
  /** `weights` of this package. */
  weights: Directory;
  /** `bench/models/truth` of this package. */
  truths: Directory;
}

/** The model suite. */
export async function modelCases(folders: ModelFolders, dtype: 'f32' | 'f16'): Promise<BenchCase[]> {
  const networks = (await networkCases(folders, dtype)).map(networkCase);
  return [...networks, emojiPicture(folders.weights, dtype)];
}

/** Those of it that are a single network. */
export async function networkCases({ weights, truths }: ModelFolders, dtype: 'f32' | 'f16'): Promise<NetworkCase[]> {
  return [...(await emojiNetworks(weights, dtype)), ...publishedNetworks(truths, dtype)];
}
