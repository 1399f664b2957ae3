/**
 * PyTorch's CPU generator where normals are drawn in f64, which takes other integers of its stream than f32 does: from
 * 16 values on, 53-bit uniforms fill the whole buffer first and are transformed in blocks of 16.
 */
import type { NormalGenerator } from '../../sampler/noise/generator.ts';
import { TorchGenerator, type GeneratorState } from '../../sampler/noise/torchGenerator.ts';

const BLOCK = 16;
const HALF = BLOCK / 2;

/** `torch.randn(n, dtype=torch.float64)` on the stream of a generator, rounded to f32. */
export class DoubleNormals implements NormalGenerator<GeneratorState> {
  constructor(private readonly generator: TorchGenerator) {}

  /** n standard normals. @throws InvalidArgumentError unless n is an integer ≥ 0 */
  randn(n: number): Float32Array {
    if (!(n >= BLOCK)) return this.generator.randn(n); // pairs, which are f64 there too
    const data = Float64Array.from({ length: n }, () => this.uniform());
    for (let i = 0; i + BLOCK <= n; i += BLOCK) transform(data, i);
    if (n % BLOCK !== 0) {
      // A ragged end is drawn anew as one whole block, over values already made.
      for (let i = n - BLOCK; i < n; i++) data[i] = this.uniform();
      transform(data, n - BLOCK);
    }
    return Float32Array.from(data);
  }

  get state(): GeneratorState {
    return this.generator.state;
  }

  set state(state: GeneratorState) {
    this.generator.state = state;
  }

  /** 53 bits of two draws, the high word first. */
  private uniform(): number {
    const high = this.generator.random() & 0x1fffff;
    return (high * 2 ** 32 + this.generator.random()) * 2 ** -53;
  }
}

/** Box–Muller on 16 uniforms in place: value j and value j + 8 make a pair. */
function transform(data: Float64Array, from: number): void {
  for (let j = from; j < from + HALF; j++) {
    const [radius, theta] = [Math.sqrt(-2 * Math.log(1 - data[j])), 2 * Math.PI * data[j + HALF]];
    data[j] = radius * Math.cos(theta);
    data[j + HALF] = radius * Math.sin(theta);
  }
}

/** A generator of a run that draws in f64; other kinds of generators have one precision alone. */
export function doubleNormals<G>(generator: G): G | DoubleNormals {
  return generator instanceof TorchGenerator ? new DoubleNormals(generator) : generator;
}
