import type { Directory } from '../../src/loading/index.ts';
import type { BenchCase } from '../case.ts';
import { cifar10Case } from './cifar10.ts';
import { emojiCases } from './emoji.ts';

/** The model suite. @param weights the folder `weights` of this package */
export async function modelCases(weights: Directory, dtype: 'f32' | 'f16'): Promise<BenchCase[]> {
  return [...(await emojiCases(weights, dtype)), cifar10Case(dtype)];
}
