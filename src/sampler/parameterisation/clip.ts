/** Keeping x₀ within the range of pictures. Wraps a denoiser, after guidance. */
import type { Denoiser, Prediction } from './denoiser.ts';
import { InvalidArgumentError } from '../../engine/errors.ts';
import type { NoiseLevel } from '../schedule/schedule.ts';
import { LinearForm, type Vec } from '../vec.ts';

/**
 * At pure noise, alpha = 0, the x₀ of an ε network is infinite, and what clipping makes of it is its sign. An alpha
 * this small says the same in finite numbers, in f32 too.
 */
const ALMOST_NO_SIGNAL = 2 ** -60;

/** Replaces x₀ by f(x₀); ε stays as the network said it. */
function correctX0(denoiser: Denoiser, f: (x0: LinearForm) => Vec): Denoiser {
  return async (x, level, signal) => {
    const alpha = Math.max(level.alpha, ALMOST_NO_SIGNAL);
    const p = await denoiser(x, { ...level, alpha }, signal);
    const correct = (from: Prediction): Prediction => {
      let x0: LinearForm | undefined;
      return {
        out: from.out,
        variance: from.variance,
        get x0() {
          return (x0 ??= LinearForm.of(f(from.x0)));
        },
        get eps() {
          return from.eps;
        },
        reread: (...other) => correct(from.reread(...other)),
      };
    };
    return correct(p);
  };
}

/** x₀ clipped to ±range. @throws InvalidArgumentError unless range > 0 */
export function clipped(denoiser: Denoiser, range = 1): Denoiser {
  if (!(range > 0)) throw new InvalidArgumentError(`clipped: expected clip_sample_range > 0, got ${range}`);
  return correctX0(denoiser, (x0) => x0.space.clamp(x0, -range, range));
}

/**
 * Dynamic thresholding: x₀ of each item clipped at its own quantile of |x₀|, kept within [1, maxValue], and divided by
 * it. For pictures, not latents. Saharia et al. 2022 (Imagen), section 2.3.
 *
 * @throws InvalidArgumentError unless ratio is in [0, 1] and maxValue > 0
 */
export function thresholded(denoiser: Denoiser, ratio = 0.995, maxValue = 1): Denoiser {
  if (!(ratio >= 0 && ratio <= 1))
    throw new InvalidArgumentError(`thresholded: expected dynamic_thresholding_ratio in [0, 1], got ${ratio}`);
  if (!(maxValue > 0)) throw new InvalidArgumentError(`thresholded: expected sample_max_value > 0, got ${maxValue}`);
  return correctX0(denoiser, (x0) => x0.space.threshold(x0, ratio, maxValue));
}

/** ε = (x − alpha·x₀) / sigma from the x₀ given, so that both agree after clipping (as Glide does it). */
export function consistentEps(denoiser: Denoiser): Denoiser {
  return async (x, level, signal) => {
    const p = await denoiser(x, level, signal);
    const rederive = (from: Prediction, at: Vec, { alpha, sigma }: NoiseLevel): Prediction => ({
      out: from.out,
      variance: from.variance,
      get x0() {
        return from.x0;
      },
      get eps() {
        return LinearForm.of(at)
          .minus(from.x0, alpha)
          .scale(1 / sigma);
      },
      reread: (out, other = at, nearby = level) => rederive(from.reread(out, other, nearby), other, nearby),
    });
    return rederive(p, x, level);
  };
}
