/** A generator whose draws were recorded: what a reference drew, in the order in which it drew. */
import { FormatError } from '../../engine/errors.ts';
import { TorchGenerator } from '../../sampler/noise/torchGenerator.ts';
import type { Recording } from './recording.ts';

export class RecordedDraws extends TorchGenerator {
  private next = 0;

  private constructor(private readonly draws: readonly Float32Array[]) {
    super(0);
  }

  /** The draws `in.draw.0`, `in.draw.1` … */
  static async open(io: Recording): Promise<RecordedDraws> {
    const draws: Float32Array[] = [];
    while (io.has(`in.draw.${draws.length}`)) draws.push((await io.tensor(`in.draw.${draws.length}`)).data);
    return new RecordedDraws(draws);
  }

  /**
   * A draw for both halves of guidance serves the first, which is the conditional one.
   * @throws FormatError for more draws than there are, or of another size
   */
  override randn(n: number): Float32Array {
    const draw = this.draws[this.next++];
    if (draw?.length === n || draw?.length === 2 * n) return draw.subarray(0, n);
    throw new FormatError(`parity: expected draw ${this.next - 1} of ${n} values, got ${draw?.length ?? 'none'}`);
  }
}
