/** Timestep features, computed on the host: the sine and cosine of real drivers are wrong in the fourth digit. */
import { InvalidArgumentError } from '../engine/index.ts';

/** The variants of sinusoidal features that checkpoints were trained with. */
export interface SinusoidOptions {
  /** [cos, sin] in place of [sin, cos]; default false. */
  flipSinToCos?: boolean;
  /** Frequencies fall to 1/maxPeriod after dim/2 − freqShift steps; default 1. */
  freqShift?: number;
  /** Factor on every angle; default 1. */
  scale?: number;
  /** Default 10,000. */
  maxPeriod?: number;
}

/**
 * Sinusoidal features [B,dim] of timesteps (Vaswani et al. 2017, section 3.5, as Ho et al. 2020 use it).
 *
 * Angles are rounded to f32 where the reference library rounds them: at t = 1000 that moves an angle by up to 6·10⁻⁵,
 * and networks were trained with it; so are frequencies, by the exponential that it uses. Sine and cosine of the
 * rounded angle are then exact.
 * @throws InvalidArgumentError for a timestep that is not finite, or when dim/2 = freqShift.
 */
export function sinusoidalEmbedding(timesteps: readonly number[], dim: number, options: SinusoidOptions = {}) {
  const { flipSinToCos = false, freqShift = 1, scale = 1, maxPeriod = 10000 } = options;
  const f = Math.fround;
  const half = Math.floor(dim / 2);
  if (half === freqShift) {
    throw new InvalidArgumentError(`sinusoidalEmbedding: expected dim/2 ≠ freqShift, got ${dim} and ${freqShift}`);
  }
  const out = new Float32Array(timesteps.length * dim);
  timesteps.forEach((t, b) => {
    expectFinite('sinusoidalEmbedding', t);
    for (let i = 0; i < half; i++) {
      const frequency = expf(f(f(f(-Math.log(maxPeriod)) * i) / f(half - freqShift)));
      put(out, b * dim, half, i, f(scale * f(f(t) * frequency)), flipSinToCos);
    }
  });
  return out;
}

/**
 * Gaussian Fourier features [B, 2·D] of log t, or of t itself where `log` is false, at the frequencies `weight` [D]
 * (Song et al. 2021, appendix C.1), with f32 angles as in {@link sinusoidalEmbedding}.
 * @throws InvalidArgumentError for a timestep that is not positive and whose logarithm is taken.
 */
export function fourierEmbedding(
  timesteps: readonly number[],
  weight: ArrayLike<number>,
  { flipSinToCos = false, log = true }: Pick<SinusoidOptions, 'flipSinToCos'> & { log?: boolean } = {},
): Float32Array {
  const f = Math.fround;
  const D = weight.length;
  const out = new Float32Array(timesteps.length * 2 * D);
  timesteps.forEach((t, b) => {
    expectFinite('fourierEmbedding', t);
    if (log && !(t > 0)) {
      throw new InvalidArgumentError(
        `fourierEmbedding: expected a positive timestep (its logarithm is taken), got ${t}; pass sigma, not an index`,
      );
    }
    const x = log ? f(Math.log(f(t))) : f(t);
    for (let i = 0; i < D; i++) put(out, b * 2 * D, D, i, f(2 * f(x * weight[i]) * f(Math.PI)), flipSinToCos);
  });
  return out;
}

/** Taylor coefficients of eˣ from x⁷ down to x², economised. */
const EXP = [0.00019852762, 0.0013930436, 0.008333361, 0.041666485, 0.16666667, 0.5].map(Math.fround);

/**
 * eˣ in f32 as PyTorch's vectorised one rounds it (SLEEF's `expf`, good to one unit in the last place): one such unit
 * in a frequency of 0.9 is 6·10⁻⁵ in the angle of t = 1000. Shibata & Petrogalli 2020, https://arxiv.org/abs/2001.09258
 */
function expf(x: number): number {
  const f = Math.fround;
  const q = Math.round(f(x * f(Math.LOG2E)));
  const s = f(q * f(-1.4286068e-6) + f(q * -0.693145751953125 + x)); // x − q·ln 2, ln 2 in two parts
  const u = EXP.reduce((sum, c) => f(sum * s + c), 0);
  return f(1 + f(f(s * s) * u + s)) * 2 ** q;
}

function put(out: Float32Array, row: number, half: number, i: number, angle: number, flip: boolean): void {
  out[row + i + (flip ? half : 0)] = Math.sin(angle);
  out[row + i + (flip ? 0 : half)] = Math.cos(angle);
}

function expectFinite(where: string, t: number): void {
  if (!Number.isFinite(t)) throw new InvalidArgumentError(`${where}: expected a finite timestep, got ${t}`);
}
