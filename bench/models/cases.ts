import type { Directory } from '../../src/loading/index.ts';
import type { BenchCase } from '../case.ts';
import { emojiCases } from './emoji.ts';
import { publishedCases } from './publishedCases.ts';

/** Folders that the model suite reads. */
export interface ModelFolders {
  /** `weights` of this package. */
  weights: Directory;
  /** `bench/models/truth` of this package. */
  truths: Directory;
}

/** The model suite. */
export async function modelCases({ weights, truths }: ModelFolders, dtype: 'f32' | 'f16'): Promise<BenchCase[]> {
  return [...(await emojiCases(weights, dtype)), ...publishedCases(truths, dtype)];
}
