/**
 * PyTorch's CUDA generator, `torch.randn(n, device='cuda')`: the same seed gives the same noise, to the last bits of
 * f32.
 *
 * PyTorch deals elements to threads. Thread t of T takes elements t, t + T, t + 2T, t + 3T, then the next four; its own
 * Philox counter has t in the upper words and counts fours of numbers in the lower ones. T is n rounded up to blocks of
 * 256, but no more than the GPU holds at once; so up to that size every GPU gives the same numbers, and beyond it those
 * with as many multiprocessors do. NumPy forms of this generator (those of Stable Diffusion user interfaces) know no
 * such limit, and nor does this one unless it is told the GPU.
 */
import { InvalidArgumentError } from '../../engine/errors.ts';
import { philox } from './philox.ts';
import { parseSeed } from './seed.ts';

/** Where a generator stands; plain JSON. */
export interface PhiloxState {
  /** Decimal, 0 … 2⁶⁴ − 1. */
  seed: string;
  /** Fours of numbers that every thread has drawn. */
  offset: number;
}

/** The GPU to be imitated. */
export interface PhiloxOptions {
  /** How many it has (A100 108, H100 SXM 132, RTX 3090 82, RTX 4090 128), ≥ 1; default: no limit to its threads. */
  multiprocessors?: number;
  /**
   * Threads that one holds, ≥ 256: 2048 in V100, A100, H100; 1536 in RTX 30 and 40, A10, L40; 1024 in RTX 20, T4;
   * default 2048.
   */
  threadsPerMultiprocessor?: number;
}

const BLOCK = 256;
const UNROLL = 4;
const { fround } = Math;
const INVERSE = 2 ** -32;
const TURN = fround(INVERSE * fround(2 * Math.PI));

/**
 * Box–Muller as cuRAND does it, in f32: sine first, then cosine. Two words of `words` from `at` on, replaced by
 * normals.
 */
function boxMuller(words: Uint32Array, at: number, normals: Float32Array): void {
  const u = fround(fround(words[at]) * INVERSE + INVERSE / 2);
  const angle = fround(fround(words[at + 1]) * TURN + TURN / 2);
  const radius = fround(Math.sqrt(fround(-2 * fround(Math.log(u)))));
  normals[at] = fround(radius * fround(Math.sin(angle)));
  normals[at + 1] = fround(radius * fround(Math.cos(angle)));
}

/** `torch.Generator('cuda')`. */
export class PhiloxGenerator {
  /** The seed as PyTorch reports it, 0 … 2⁶⁴ − 1. */
  readonly seed: bigint;
  private readonly maxBlocks: number;
  private readonly key: readonly [number, number];
  private offset = 0;

  /**
   * As `manual_seed(seed)`; all 64 bits count.
   * @throws InvalidArgumentError unless the seed is an integer in −2⁶³ … 2⁶⁴ − 1 (a bigint beyond 2⁵³), and the GPU's
   *   numbers are integers of at least 1 and 256
   */
  constructor(seed: number | bigint = 0, options: PhiloxOptions = {}) {
    const { multiprocessors = Infinity, threadsPerMultiprocessor = 2048 } = options;
    const whole = (n: number): boolean => Number.isInteger(n) || n === Infinity;
    if (
      !whole(multiprocessors) ||
      multiprocessors < 1 ||
      !whole(threadsPerMultiprocessor) ||
      threadsPerMultiprocessor < BLOCK
    )
      throw new InvalidArgumentError(
        `PhiloxGenerator: expected multiprocessors ≥ 1 and threadsPerMultiprocessor ≥ ${BLOCK}, integers, got ` +
          `${multiprocessors} and ${threadsPerMultiprocessor}; see the GPU's data sheet`,
      );
    this.seed = parseSeed(seed);
    this.key = [Number(this.seed & 0xffffffffn), Number(this.seed >> 32n)];
    this.maxBlocks = multiprocessors * Math.floor(threadsPerMultiprocessor / BLOCK);
  }

  /**
   * `torch.randn(n, device='cuda')`: standard normals, f32. @throws InvalidArgumentError unless n is in 0 … 2³¹ − 1.
   */
  randn(n: number): Float32Array {
    if (!Number.isInteger(n) || n < 0 || n >= 2 ** 31)
      throw new InvalidArgumentError(`randn: expected a count in 0 … 2³¹ − 1, got ${n}; draw in parts`);
    const out = new Float32Array(n);
    if (n === 0) return out;
    const threads = BLOCK * Math.min(Math.ceil(n / BLOCK), this.maxBlocks);
    const rounds = Math.ceil(n / (threads * UNROLL));
    const [words, normals] = [new Uint32Array(UNROLL), new Float32Array(UNROLL)];
    for (let round = 0; round < rounds; round++) {
      const first = round * threads * UNROLL;
      const count = this.offset + round;
      for (let t = 0; t < threads && first + t < n; t++) {
        words[0] = count;
        words[1] = Math.floor(count / 2 ** 32);
        words[2] = t;
        words[3] = 0;
        philox(words, ...this.key);
        boxMuller(words, 0, normals);
        if (first + t + 2 * threads < n) boxMuller(words, 2, normals);
        for (let k = 0, i = first + t; k < UNROLL && i < n; k++, i += threads) out[i] = normals[k];
      }
    }
    this.offset += rounds;
    return out;
  }

  /** Where the generator stands; set it to go on from there. */
  get state(): PhiloxState {
    return { seed: this.seed.toString(), offset: this.offset };
  }

  /** @throws InvalidArgumentError if it is the state of another seed, or no state of this kind */
  set state({ seed, offset }: PhiloxState) {
    if (seed !== this.seed.toString() || !Number.isSafeInteger(offset) || offset < 0)
      throw new InvalidArgumentError(
        `PhiloxGenerator: expected a state of seed ${this.seed} with offset ≥ 0, got seed ${seed}, offset ${offset}; ` +
          'make the generator with the same seed',
      );
    this.offset = offset;
  }
}
