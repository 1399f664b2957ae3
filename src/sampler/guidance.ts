/** Classifier-free guidance: away from what the network says without the condition. Wraps denoisers. */
import { InvalidArgumentError } from '../engine/errors.ts';
import type { Denoiser, PairDenoiser } from './denoiser.ts';
import { LinearForm } from './vec.ts';

/** What may be done to the guided output. */
export interface GuidanceOptions {
  /** φ in [0, 1]: how far the standard deviation of each item is drawn back to the conditional one; default 0. */
  guidanceRescale?: number;
}

/** Two denoisers as a pair, called one after the other. */
export function pairOf(uncond: Denoiser, cond: Denoiser): PairDenoiser {
  return async (x, level, signal) => [await uncond(x, level, signal), await cond(x, level, signal)];
}

/**
 * out = u + w·(c − u) (Ho & Salimans 2022, equation 6, with w = 1 + their w): w = 1 is the conditional network, w = 0
 * the unconditional. A learned variance is the conditional one's. Only coefficients change, except with
 * `guidanceRescale`, which costs two dispatches (Lin et al. 2023, equations 15 and 16).
 *
 * @throws InvalidArgumentError if the scale is not finite or the rescale not in [0, 1]
 */
export function guided(pair: PairDenoiser, guidanceScale: number, options: GuidanceOptions = {}): Denoiser {
  const { guidanceRescale: phi = 0 } = options;
  if (!Number.isFinite(guidanceScale))
    throw new InvalidArgumentError(`guided: expected a finite guidanceScale, got ${guidanceScale}; 1 turns it off`);
  if (!(phi >= 0 && phi <= 1))
    throw new InvalidArgumentError(`guided: expected guidanceRescale in [0, 1], got ${phi}; 0 turns it off`);
  return async (x, level, signal) => {
    const [u, c] = await pair(x, level, signal);
    const out = u.out.scale(1 - guidanceScale).plus(c.out, guidanceScale);
    if (phi === 0) return c.reread(out);
    return c.reread(LinearForm.of(x.space.matchStd(out, c.out.materialise(), phi)));
  };
}
