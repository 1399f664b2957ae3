/**
 * Normals by number instead of by turn: element i of a draw follows from seed, draw and i alone, through Philox4x32-10 and
 * Box–Muller. So a batch can be drawn in any order, in parallel, and an item does not depend on the batch it is in.
 *
 * The counter's words are (i/4, 0, a, b) with the draw's name (a, b); its key is the seed. Of the four words that come out
 * the upper 23 bits count, taken at the middle of their interval: such numbers and their distance from 1 are exact in f32,
 * so a GPU makes the same normals from them, but for the last bits of its arithmetic ({@link GpuNoise}).
 */
import { philox } from './philox.ts';

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
