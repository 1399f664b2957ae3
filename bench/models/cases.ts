import type { Directory } from '../../src/loading/index.ts';
import type { BenchCase } from '../case.ts';
import { emojiCases } from './emoji.ts';

/** The model suite. @param weights the folder `weights` of this package */
export async function modelCases(weights: Directory, dtype: 'f32' | 'f16'): Promise<BenchCase[]> {
  return emojiCases(weights, dtype);
}
