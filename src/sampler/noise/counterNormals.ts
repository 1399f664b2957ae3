/**
 * Normals by number instead of by turn: element i of a draw follows from seed, draw and i alone, through Philox4x32-10
 * and Box–Muller. So a batch can be drawn in any order, in parallel, and an item does not depend on the batch it is in.
 *
 * The counter's words are (i/4, 0, a, b) with the draw's name (a, b); its key is the seed. Of the four words that come
 * out the upper 23 bits count, taken at the middle of their interval: such numbers and their distance from 1 are exact
 * in f32, so a GPU makes the same normals from them, but for the last bits of its arithmetic ({@link GpuNoise}).
 */
import { InvalidArgumentError } from '../../engine/errors.ts';
import type { NormalGenerator } from './generator.ts';
import { philox } from './philox.ts';
import { parseSeed } from './seed.ts';

const [BITS, UNIT] = [9, 2 ** -24];

/** Of the upper 23 bits of a word, a number in (0, 1). */
function uniform(word: number): number {
  return (2 * (word >>> BITS) + 1) * UNIT;
}

/**
 * Fills `out` with standard normals, |z| ≤ 5.77.
 * @param seed 0 … 2⁶⁴ − 1
 * @param draw two words, each 0 … 2³² − 1, that tell this draw from others of the seed
 */
export function counterNormals(seed: bigint, draw: readonly [number, number], out: Float64Array): Float64Array {
  const [low, high] = [Number(seed & 0xffffffffn), Number(seed >> 32n)];
  const words = new Uint32Array(4);
  for (let i = 0; i < out.length; i += 4) {
    words[0] = i / 4;
    words[1] = 0;
    words[2] = draw[0];
    words[3] = draw[1];
    philox(words, low, high);
    for (let k = 0; k < 4 && i + k < out.length; k += 2) {
      const radius = Math.sqrt(-2 * Math.log(uniform(words[k])));
      const angle = 2 * Math.PI * uniform(words[k + 1]);
      out[i + k] = radius * Math.cos(angle);
      if (i + k + 1 < out.length) out[i + k + 1] = radius * Math.sin(angle);
    }
  }
  return out;
}

/** Second word of the names of plain draws; a Brownian path's are smaller. */
export const PLAIN_DRAW = 0xffffffff;

/** Where a generator stands; plain JSON. */
export interface CounterState {
  /** Decimal, 0 … 2⁶⁴ − 1. */
  seed: string;
  /** Draws made. */
  draw: number;
}

/** Normals by number as a generator: the host's twin of {@link GpuNoise}, and equal to it but for f32's last bits. */
export class CounterGenerator implements NormalGenerator<CounterState> {
  /** 0 … 2⁶⁴ − 1. */
  readonly seed: bigint;
  private draw = 0;

  /** @throws InvalidArgumentError unless an integer in −2⁶³ … 2⁶⁴ − 1 (a bigint beyond 2⁵³) */
  constructor(seed: number | bigint = 0) {
    this.seed = parseSeed(seed);
  }

  /** n standard normals, f32. @throws InvalidArgumentError unless n is an integer ≥ 0 */
  randn(n: number): Float32Array {
    if (!Number.isSafeInteger(n) || n < 0)
      throw new InvalidArgumentError(`randn: expected a count ≥ 0, got ${n}; pass how many numbers are wanted`);
    return Float32Array.from(counterNormals(this.seed, [this.draw++, PLAIN_DRAW], new Float64Array(n)));
  }

  /** Where the generator stands; set it to go on from there. */
  get state(): CounterState {
    return { seed: this.seed.toString(), draw: this.draw };
  }

  /** @throws InvalidArgumentError if it is the state of another seed, or no state of this kind */
  set state({ seed, draw }: CounterState) {
    if (seed !== this.seed.toString() || !Number.isInteger(draw) || draw < 0 || draw >= 2 ** 32)
      throw new InvalidArgumentError(
        `CounterGenerator: expected a state of seed ${this.seed} with draw in 0 … 2³² − 1, got seed ${seed}, draw ` +
          `${draw}; make the generator with the same seed`,
      );
    this.draw = draw;
  }
}
