/**
 * PyTorch's CPU generator: the same seed gives the same noise. The integers are exact; normals agree to 2·10⁻⁶, because
 * PyTorch's own vectorised log and cos differ between machines in the last bits. Its algorithm depends on the size:
 * below 16 values each pair comes from two 53-bit uniforms and the second one waits for the next call; from 16 on, the
 * whole buffer is filled with 24-bit uniforms first and transformed in blocks of 16.
 */
import { InvalidArgumentError } from '../../engine/errors.ts';
import type { NormalGenerator } from './generator.ts';
import { Mt19937 } from './mt19937.ts';
import { parseSeed } from './seed.ts';
import type { NoiseSource } from '../solver.ts';

/** Everything a generator is made of; plain JSON. */
export interface GeneratorState {
  /** Decimal, 0 … 2⁶⁴ − 1. */
  seed: string;
  words: number[];
  used: number;
  /** The normal that the path for small sizes keeps for its next call. */
  nextNormal: number | null;
}

const BLOCK = 16;
const HALF = BLOCK / 2;
const TWO_PI = 2 * Math.PI;
const { fround } = Math;

/** Box–Muller in f32 on 16 uniforms in place: value j and value j + 8 make a pair. */
function normalBlock(data: Float32Array, from: number): void {
  for (let j = from; j < from + HALF; j++) {
    const radius = fround(Math.sqrt(fround(-2 * fround(Math.log(1 - data[j])))));
    const theta = fround(fround(TWO_PI) * data[j + HALF]);
    data[j] = radius * fround(Math.cos(theta));
    data[j + HALF] = radius * fround(Math.sin(theta));
  }
}

/** `torch.Generator()` on the CPU. */
export class TorchGenerator {
  /** The seed as PyTorch reports it, 0 … 2⁶⁴ − 1. */
  readonly seed: bigint;
  private readonly engine: Mt19937;
  private nextNormal: number | null = null;

  /**
   * As `manual_seed(seed)`; only the low 32 bits make a difference.
   * @throws InvalidArgumentError unless an integer in −2⁶³ … 2⁶⁴ − 1 (a bigint beyond 2⁵³)
   */
  constructor(seed: number | bigint = 0) {
    this.seed = parseSeed(seed);
    this.engine = new Mt19937(Number(this.seed & 0xffffffffn));
  }

  /** `torch.randn(n)`: standard normals, f32. @throws InvalidArgumentError unless n is an integer ≥ 0. */
  randn(n: number): Float32Array {
    const data = new Float32Array(this.size(n, 'randn'));
    if (n < BLOCK) return data.map(() => this.pairedNormal());
    for (let i = 0; i < n; i++) data[i] = this.uniform24();
    for (let i = 0; i + BLOCK <= n; i += BLOCK) normalBlock(data, i);
    if (n % BLOCK !== 0) {
      // A ragged end is drawn anew as one whole block, over values already made.
      for (let i = n - BLOCK; i < n; i++) data[i] = this.uniform24();
      normalBlock(data, n - BLOCK);
    }
    return data;
  }

  /** `torch.rand(n)`: uniform in [0, 1), f32. @throws InvalidArgumentError unless n is an integer ≥ 0. */
  rand(n: number): Float32Array {
    return new Float32Array(this.size(n, 'rand')).map(() => this.uniform24());
  }

  /** `torch.randint(low, high, (n,))`: integers low ≤ k < high. @throws InvalidArgumentError unless low < high, safe */
  randint(low: number, high: number, n: number): number[] {
    const range = high - low;
    if (!Number.isSafeInteger(low) || !Number.isSafeInteger(range) || range < 1)
      throw new InvalidArgumentError(`randint: expected integers low < high, got ${low} and ${high}`);
    const wide = range >= 2 ** 32;
    return Array.from({ length: this.size(n, 'randint') }, () =>
      wide ? low + Number(this.random64() % BigInt(range)) : low + (this.engine.next() % range),
    );
  }

  /** The next 32-bit integer of the stream. */
  random(): number {
    return this.engine.next();
  }

  /** Where the generator stands; set it to go on from there. */
  get state(): GeneratorState {
    return { seed: this.seed.toString(), ...this.engine.state, nextNormal: this.nextNormal };
  }

  set state({ words, used, nextNormal }: GeneratorState) {
    this.engine.state = { words, used };
    this.nextNormal = nextNormal;
  }

  private size(n: number, what: string): number {
    if (Number.isSafeInteger(n) && n >= 0) return n;
    throw new InvalidArgumentError(`${what}: expected a count ≥ 0, got ${n}`);
  }

  /** 24 bits of one draw. */
  private uniform24(): number {
    return (this.engine.next() & 0xffffff) * 2 ** -24;
  }

  private random64(): bigint {
    const high = BigInt(this.engine.next());
    return (high << 32n) | BigInt(this.engine.next());
  }

  /** The low 53 bits of two draws, high word first. */
  private uniform53(): number {
    const high = this.engine.next() & 0x1fffff;
    return (high * 2 ** 32 + this.engine.next()) * 2 ** -53;
  }

  private pairedNormal(): number {
    if (this.nextNormal !== null) {
      const kept = this.nextNormal;
      this.nextNormal = null;
      return kept;
    }
    const theta = TWO_PI * this.uniform53();
    const radius = Math.sqrt(-2 * Math.log1p(-this.uniform53()));
    this.nextNormal = radius * Math.sin(theta);
    return radius * Math.cos(theta);
  }
}

/**
 * Noise for a solver: one generator draws the whole batch, or one per item each draws its own (then an item's picture
 * does not depend on the batch it is in).
 *
 * @throws InvalidArgumentError (on the draw) unless there are as many generators as items
 */
export function torchNoise(generator: NormalGenerator | readonly NormalGenerator[]): NoiseSource {
  return (like) => {
    if ('randn' in generator) return like.space.upload(generator.randn(like.length), like);
    if (generator.length !== like.batch)
      throw new InvalidArgumentError(`generator: expected ${like.batch}, one per item, got ${generator.length}`);
    const values = new Float32Array(like.length);
    const size = like.length / like.batch;
    generator.forEach((g, b) => values.set(g.randn(size), b * size));
    return like.space.upload(values, like);
  };
}
