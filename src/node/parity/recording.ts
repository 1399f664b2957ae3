/** Recorded inputs and outputs of a case: `io.safetensors`, keys `in.*` and `out.*`. */
import { Checkpoint } from '../../loading/checkpoint.ts';
import type { Directory } from '../../loading/directory.ts';
import type { TensorInput } from '../../models/index.ts';
import { worstDifference } from './torchRandnCase.ts';

export class Recording {
  private constructor(private readonly file: Checkpoint) {}

  static async open(folder: Directory): Promise<Recording> {
    return new Recording(await Checkpoint.open(await folder.open('io.safetensors')));
  }

  has(key: string): boolean {
    return this.file.has(key);
  }

  async tensor(key: string): Promise<TensorInput & { data: Float32Array }> {
    return { data: await this.file.read(key), shape: this.file.info(key).shape };
  }

  async numbers(key: string): Promise<number[]> {
    return [...(await this.file.read(key))];
  }

  /** Names of what was recorded as results, without `out.`. */
  outputs(): string[] {
    return this.file.keys().flatMap((key) => (key.startsWith('out.') ? [key.slice('out.'.length)] : []));
  }

  /**
   * Compares all recorded outputs with what was computed.
   * @returns the largest absolute difference; infinite for a NaN, a wrong shape, or an output that was not computed.
   */
  async worst(got: Readonly<Record<string, { data: ArrayLike<number>; shape: readonly number[] }>>): Promise<number> {
    let worst = 0;
    for (const key of this.file.keys().filter((k) => k.startsWith('out.'))) {
      const mine = got[key.slice('out.'.length)];
      const want = await this.tensor(key);
      const same = mine?.shape.join() === want.shape.join();
      worst = Math.max(worst, same ? worstDifference(mine.data, want.data) : Infinity);
    }
    return worst;
  }

  close(): Promise<void> {
    return this.file.close();
  }
}
