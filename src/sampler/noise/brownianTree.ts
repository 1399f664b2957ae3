/**
 * Brownian motion that can be asked at any time, in any order, and always answers from the same path: a run with twice
 * the steps sees the same noise in finer pieces, and its picture is a better one of the same, not another.
 *
 * A virtual Brownian tree: the value in the middle of an interval follows from those at its ends and one draw that
 * belongs to the interval, so nothing need be stored. Li et al. 2020 (Scalable Gradients for Stochastic Differential
 * Equations), https://arxiv.org/abs/2001.01328, section 4; k-diffusion draws so through torchsde. Same idea, own seeds:
 * the numbers are not those of torchsde. Intervals are halved in the logarithm of time, since noise levels span
 * decades.
 */
import { InvalidArgumentError } from '../../engine/errors.ts';
import { counterNormals } from './counterNormals.ts';
import { parseSeed } from './seed.ts';

/** The path is made between these times; before it is a straight line from 0, after it there is none. */
const [LOG_FIRST, LOG_LAST] = [-32, 32];
/** Halvings: the last intervals are 2.6·10⁻⁶ of their time long, and straight inside. */
const DEPTH = 24;
/** Draws that belong to no interval, by what stands in place of their depth. */
const [FIRST, LAST, MOMENT] = [0x40, 0x41, 0x42];
/** Values kept: those that the next question shares with the last one. */
const KEPT = 2 * DEPTH;

/** W(0) = 0, one path per element, f64. */
export class BrownianTree {
  private readonly seeds: readonly bigint[];
  private readonly kept = new Map<string, Float64Array>();

  /**
   * @param length elements in all items together
   * @param seed of the whole, or one per item, whose path then depends on nothing else
   * @param draw another path of the same seed, 0 … 2²⁴ − 1
   * @throws InvalidArgumentError unless the seeds divide the length and are as {@link TorchGenerator}'s
   */
  constructor(
    readonly length: number,
    seed: number | bigint | readonly (number | bigint)[],
    private readonly draw = 0,
  ) {
    this.seeds = [seed].flat().map((s) => parseSeed(s as number | bigint));
    if (this.seeds.length === 0 || !Number.isInteger(length) || length < 1 || length % this.seeds.length !== 0)
      throw new InvalidArgumentError(
        `BrownianTree: expected a length that ${this.seeds.length} seeds divide, got ${length}; pass one seed per item`,
      );
  }

  /** W at a time in [0, 2³²], beyond it W(2³²). @throws InvalidArgumentError on a time below 0 or not a number */
  at(time: number): Float64Array {
    if (!(time >= 0)) throw new InvalidArgumentError(`BrownianTree: expected a time ≥ 0, got ${time}`);
    const [start, end] = [2 ** LOG_FIRST, 2 ** LOG_LAST];
    if (time >= end) return this.last();
    if (time <= start) return this.first().map((w) => (w * time) / start);
    let [low, high, a, b] = [LOG_FIRST, LOG_LAST, this.first(), this.last()];
    let index = 0;
    for (let depth = 0; depth < DEPTH; depth++) {
      const middle = (low + high) / 2;
      const m = this.middle(depth, index, [2 ** low, 2 ** middle, 2 ** high], a, b);
      const right = time >= 2 ** middle;
      [low, high, a, b] = right ? [middle, high, m, b] : [low, middle, a, m];
      index = 2 * index + (right ? 1 : 0);
    }
    const [from, to] = [2 ** low, 2 ** high];
    const share = (time - from) / (to - from);
    return a.map((w, i) => w + share * (b[i] - w));
  }

  /**
   * (W(b) − W(a))/√|b − a|: standard normal, independent of what lies outside. At a = b, a draw of that moment's own.
   */
  normal(a: number, b: number): Float64Array {
    const [from, to] = [a, b].map((t) => Math.min(t, 2 ** LOG_LAST));
    if (from === to) return this.normals(MOMENT, Math.round(Math.log2(Math.max(from, 2 ** LOG_FIRST)) * 2 ** 24));
    const [start, end] = [this.at(from), this.at(to)];
    const norm = 1 / Math.sqrt(Math.abs(to - from));
    return end.map((w, i) => norm * (w - start[i]));
  }

  private first(): Float64Array {
    return this.keep('first', () => this.normals(FIRST, 0).map((z) => Math.sqrt(2 ** LOG_FIRST) * z));
  }

  private last(): Float64Array {
    return this.keep('last', () => {
      const deviation = Math.sqrt(2 ** LOG_LAST - 2 ** LOG_FIRST);
      const start = this.first();
      return this.normals(LAST, 0).map((z, i) => start[i] + deviation * z);
    });
  }

  /** Brownian bridge: a normal round the straight line between the ends. */
  private middle(
    depth: number,
    index: number,
    [from, at, to]: readonly number[],
    a: Float64Array,
    b: Float64Array,
  ): Float64Array {
    return this.keep(`${depth} ${index}`, () => {
      const share = (at - from) / (to - from);
      const deviation = Math.sqrt((to - at) * share);
      return this.normals(depth, index).map((z, i) => a[i] + share * (b[i] - a[i]) + deviation * z);
    });
  }

  /** The draws of one interval. */
  private normals(depth: number, index: number): Float64Array {
    const out = new Float64Array(this.length);
    const size = this.length / this.seeds.length;
    this.seeds.forEach((seed, b) =>
      counterNormals(seed, [index >>> 0, (this.draw << 8) | depth], out.subarray(b * size, (b + 1) * size)),
    );
    return out;
  }

  private keep(key: string, make: () => Float64Array): Float64Array {
    const value = this.kept.get(key) ?? make();
    this.kept.delete(key);
    this.kept.set(key, value);
    for (const [oldest] of this.kept) {
      if (this.kept.size <= KEPT) break;
      this.kept.delete(oldest);
    }
    return value;
  }
}
