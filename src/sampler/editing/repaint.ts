/** Inpainting with an unconditional model. Lugmayr et al. 2022, https://arxiv.org/abs/2201.09865 */
import { InvalidArgumentError, ShapeError } from '../../engine/errors.ts';
import type { Solver } from '../solver.ts';
import { LinearForm, type Vec } from '../vec.ts';

/** What is known, and how the rest is sampled. */
export interface RepaintOptions {
  /** The picture, [B, C, …]. */
  originalImage?: Vec;
  /** 1 where it is known, 0 where not, shaped as the picture. */
  mask?: Vec;
  /** η of DDIM, in [0, 1]; default 0. */
  eta?: number;
  /** β of every training timestep, for the way back up. */
  betas: ArrayLike<number>;
}

/**
 * One step down (DDIM's for what is unknown, the forward process for what is known, with the same noise) or, where `to`
 * is the noisier level, one back up: the chain's own small steps, each with a draw. Equations 8 and 1, algorithm 1.
 *
 * @throws InvalidArgumentError if the picture or the mask is missing, or eta is not in [0, 1]; ShapeError if they
 *   differ in shape, or (on the step) from x
 */
export function repaint({ originalImage, mask, eta = 0, betas }: RepaintOptions): Solver {
  if (!originalImage || !mask)
    throw new InvalidArgumentError('repaint: expected originalImage and mask, got none; pass both as vectors');
  if (!(eta >= 0 && eta <= 1)) throw new InvalidArgumentError(`repaint: expected eta in [0, 1], got ${eta}`);
  if (mask.length !== originalImage.length || mask.batch !== originalImage.batch)
    throw new ShapeError(
      `repaint: expected mask of ${originalImage.batch} items, ${originalImage.length} elements as originalImage, got ` +
        `${mask.batch} and ${mask.length}; repeat it over channels and items`,
    );
  return async ({ x, from, to, denoise, noise, signal }) => {
    if (to.sigma > from.sigma) {
      let up = x;
      for (let t = from.timestep; t < to.timestep; t++) {
        up = LinearForm.of(up, Math.sqrt(1 - betas[t]))
          .plus(noise(up), Math.sqrt(betas[t]))
          .materialise();
        // Nothing else of the run is alive: what the small steps before took is used again.
        up.space.endStep([up]);
      }
      return { x: up, x0: LinearForm.of(up) };
    }
    const { x0, eps } = await denoise(x, from, signal);
    const z = noise(x);
    const sigma = eta && eta * (to.sigma / from.sigma) * Math.sqrt(1 - (from.alpha / to.alpha) ** 2);
    const down = LinearForm.of(x0, to.alpha).plus(eps, Math.sqrt(Math.max(to.sigma ** 2 - sigma ** 2, 0)));
    const unknown = from.timestep > 0 ? down.plus(z, sigma) : down;
    const known = LinearForm.of(originalImage, to.alpha).plus(z, to.sigma); // eq. 8a
    return { x: x.space.mask(known, unknown, mask), x0 }; // eq. 8c
  };
}
