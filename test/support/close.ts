/**
 * The one file that holds tolerances. Every one is derived from the storage type and the length of the reduction:
 * a sum of K products in f32 carries a rounding error of about √K·2⁻²⁴ relative to the terms' magnitude (random walk),
 * bounded by K·2⁻²⁴; storing the result rounds once more (2⁻²⁴ for f32, 2⁻¹¹ for f16).
 */

/** Unit roundoff of each storage type. */
export const ROUNDOFF = { f32: 2 ** -24, f16: 2 ** -11 } as const;
export type Storage = keyof typeof ROUNDOFF;

/** PyTorch's CPU normals: its vectorised log and cos differ between machines in the last bits. */
export const TORCH_NORMAL = 2e-6;

/** Half a unit of the fourth decimal: a number as PyTorch prints it. */
export const PRINTED_4 = 0.5e-4 + TORCH_NORMAL;

/**
 * A normal made in f32 from the same bits as one made in f64: its radius, at most √(2·24·ln 2) = 5.8, is good to some
 * roundings (logarithm, root), and so are sine and cosine, absolutely.
 */
export const COUNTER_NORMAL = 16 * ROUNDOFF.f32 * 5.8;

/**
 * A recorded run of a dozen steps on draws of our own generator, relative to its largest value: draws are off by up to
 * 2e-6 and scaled by their sigmas, which are no larger than that value; steps and the network's slope multiply it by a
 * few.
 */
export const SCHEDULER_RUN = 5 * TORCH_NORMAL;

/** Fixture hints are the reference's own response to 1e-6 weight noise; our promise is at most three times that. */
export const HINT_FACTOR = 3;

/** Host arithmetic in f64 that should agree to rounding: a few thousand operations. */
export const F64 = 1e-12;

/** A fitted order of convergence: what the next term of the error series bends the slope by at the step sizes used. */
export const ORDER_SLOPE = 0.15;

/**
 * By how much an order fitted to sampled moments may fall short: their differences of n^−p carry a sampling error of a
 * tenth or so of themselves at the counts used, at either end of a halving.
 */
export const SAMPLED_SLOPE = 0.4;

/** Standard errors by which a sampled moment may be off: one in a million for a normal one. */
export const STANDARD_ERRORS = 5;

/**
 * By how much the mean of 16 values near 0 may move where some of them, moved a little beyond ±1 with the mean, are
 * clamped: one of them loses less than a unit.
 */
export const CLAMPED_MEAN = 1 / 16;

/** Nats per dimension by which a likelihood along the probability flow may miss the exact density: what we promise. */
export const LIKELIHOOD_NATS = 1e-3;

/** Two solutions of one flow, each with a local error of 1e-12 per unit of its state, over some hundred steps. */
export const REFERENCE_FLOW = 1e-10;

/** A figure that a comment quotes with two digits, relative: half a unit of the second, where the first is 1. */
export const TWO_DIGITS = 0.05;

/** One step of an 8-bit picture, in its own units; half of it is what rounding costs. */
export const EIGHT_BIT = 1;

/** The same picture in 0 … 1: two 8-bit steps, one for the rounding of either side and one that no eye sees. */
export const SAME_PICTURE = (2 * EIGHT_BIT) / 255;

/**
 * ‖error‖ / ‖output‖ of a whole network in f32: a hundred layers, each off by √K·2⁻²⁴ with K up to a few thousand, add
 * up like a random walk to √100·√2304·2⁻²⁴ = 3·10⁻⁵; three times that.
 */
export const NETWORK_NORM = 1e-4;

/**
 * The largest error of an element over the output's range: as {@link NETWORK_NORM}, for both are a few standard
 * deviations.
 */
export const NETWORK_RANGE = NETWORK_NORM;

/**
 * The same where activations are stored in halves: √100 layers' roundings of 2⁻¹¹ are 0.5 %; twice that is the one
 * percent that users are promised.
 */
export const F16_PIPELINE = 0.01;

/** Absolute tolerance of a dot product of length k whose terms have magnitude `scale`. */
export function dotTolerance(storage: Storage, k: number, scale: number): number {
  return scale * (8 * Math.sqrt(k) * ROUNDOFF.f32 + 2 * ROUNDOFF[storage]) + 1e-30;
}

/**
 * Absolute tolerance of a 3×3 convolution over k products by minimal filtering F(tile×tile, 3×3). Its sums pass through
 * transforms that cancel: roundings grow by the norms of the transforms, some 3 along one direction for a tile of two
 * and 8 for one of four, the square of that in both directions, of which typical ones are a fourth. Transformed weights
 * that are stored in halves are rounded once more.
 */
export function winogradTolerance(storage: Storage, tile: 2 | 4, k: number, scale: number): number {
  const growth = tile === 2 ? 2 : 16;
  return growth * dotTolerance('f32', k, scale) + (storage === 'f16' ? 2 : 1) * dotTolerance(storage, k, scale);
}

/**
 * Absolute tolerance of a normalised value `want`: mean and deviation are good to a few roundings of the largest input,
 * which dividing by the deviation multiplies by `gain` = |gamma|·max|x|/std; storing rounds once more.
 */
export function normTolerance(storage: Storage, gain: number, want: number): number {
  return 16 * ROUNDOFF.f32 * (gain + 1) + 2 * ROUNDOFF[storage] * Math.abs(want) + (storage === 'f16' ? 2 ** -24 : 0);
}

/**
 * Absolute tolerance of attention over `keys` keys. A score of d products whose magnitudes sum to `score` is off by
 * about √d·2⁻²⁴ of that, which moves its weight by as much, relatively, and every weight twice (numerator and sum);
 * values of magnitude `value` are then averaged and stored.
 */
export function attentionTolerance(storage: Storage, d: number, keys: number, score: number, value: number): number {
  const weight = 2 * ROUNDOFF.f32 * (Math.sqrt(d) * score + 8);
  return value * (2 * weight + 8 * Math.sqrt(keys) * ROUNDOFF.f32 + 2 * ROUNDOFF[storage]);
}

/**
 * Absolute tolerance of an activation at x, in f32: its factor of magnitude 1 (sigmoid, tanh, erf) is good to a few
 * roundings, and x multiplies it. An exponential is off by |argument|·2⁻²⁴ relatively, which its smallness outweighs.
 */
export function activationTolerance(x: number): number {
  return 4 * ROUNDOFF.f32 * Math.max(1, Math.abs(x));
}

/** Sine or cosine of an angle that was rounded to f32 up to four times on the way. */
export function angleTolerance(angle: number): number {
  return (4 * Math.abs(angle) + 2) * ROUNDOFF.f32;
}

/**
 * A whole network whose `layers` layers each round its trunk once when they store it: √layers roundings of the output's
 * size, twice that for the largest of a few thousand elements.
 */
export function networkTolerance(storage: Storage, layers: number, scale: number): number {
  return 2 * Math.sqrt(layers) * ROUNDOFF[storage] * scale;
}

/**
 * A sampler's state in f32 after so many updates of values of magnitude `scale`, each of which rounds some three times;
 * what a bounded network makes of earlier roundings is of the same size.
 */
export function trajectoryTolerance(updates: number, scale: number): number {
  return dotTolerance('f32', 3 * updates, scale);
}

export interface Comparison {
  ok: boolean;
  worst: number;
  index: number;
  message: string;
}

/** Compares element-wise: |got − want| ≤ tol, or ≤ tol[i] where a tolerance per element is given; NaN never passes. */
export function compare(
  got: ArrayLike<number>,
  want: ArrayLike<number>,
  tol: number | ArrayLike<number>,
  what = '',
): Comparison {
  if (got.length !== want.length) {
    return { ok: false, worst: Infinity, index: -1, message: `${what}: length ${got.length}, expected ${want.length}` };
  }
  let worst = 0;
  let index = 0;
  let ratio = -1;
  let ok = true;
  for (let i = 0; i < want.length; i++) {
    const t = typeof tol === 'number' ? tol : tol[i];
    const same = got[i] === want[i];
    const d = same ? 0 : Math.abs(got[i] - want[i]);
    if (!same && !(d <= t)) ok = false;
    const r = Number.isNaN(d) ? Infinity : d / (t + 1e-300);
    if (r > ratio) [ratio, worst, index] = [r, Number.isNaN(d) ? Infinity : d, i];
  }
  if (ok) return { ok, worst, index, message: '' };
  const from = Math.max(0, index - 3);
  const rows = [];
  for (let i = from; i < Math.min(want.length, from + 7); i++) {
    rows.push(`  [${i}] got ${got[i]}  want ${want[i]}  diff ${got[i] - want[i]}${i === index ? '  <' : ''}`);
  }
  const t = typeof tol === 'number' ? tol : tol[index];
  return { ok, worst, index, message: `${what}: worst at ${index}: ${worst} > ${t}\n${rows.join('\n')}` };
}

/** Throws with a small table of differences unless {@link compare} passes. */
export function expectClose(
  got: ArrayLike<number>,
  want: ArrayLike<number>,
  tol: number | ArrayLike<number>,
  what = '',
): number {
  const c = compare(got, want, tol, what);
  if (!c.ok) throw new Error(c.message);
  return c.worst;
}
