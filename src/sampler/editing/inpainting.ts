/**
 * Masked inpainting with any solver and any model: after each step the known part is laid over, at the noise of the
 * step. Song et al. 2021 (score SDE), appendix I.2; Rombach et al. 2022, appendix D.6. Cheaper than RePaint, less in
 * harmony.
 */
import { ShapeError } from '../../engine/errors.ts';
import type { Solver } from '../solver.ts';
import { LinearForm, type Vec } from '../vec.ts';

/** What is known. */
export interface InpaintingOptions {
  /** The picture or latent, [B, C, …]. */
  image: Vec;
  /** 1 where something new is wanted, 0 where `image` stays, between at soft edges; of its shape. */
  maskImage: Vec;
  /**
   * The noise of the known part, the same in all steps, as diffusers' pipelines lay it; default: drawn in every step.
   */
  noise?: Vec;
  /** After so many steps the picture stays without noise; default all of them. A run that ends earlier ends so, too. */
  end?: number;
}

/**
 * `solver`, and after each of its steps image·(1 − mask) at the level of the next step, without noise after the last.
 * The result equals `image` wherever the mask is 0.
 * @throws ShapeError (on the step) if the image, the mask or the noise has not x's shape
 */
export function inpainted(solver: Solver, { image, maskImage, noise, end }: InpaintingOptions): Solver {
  return async (step) => {
    const { x, to, index = 0, transitions = [] } = step;
    for (const [name, vec] of Object.entries({ image, maskImage, noise }))
      if (vec && (vec.length !== x.length || vec.batch !== x.batch))
        throw new ShapeError(
          `inpainted: expected ${name} of ${x.batch} items, ${x.length} elements, got ${vec.batch} and ${vec.length}; ` +
            "repeat it to x's shape",
        );
    const done = await solver(step);
    const last = index === (end ?? transitions.length) - 1;
    const { alpha, sigma } = last ? { alpha: 1, sigma: 0 } : (transitions[index + 1]?.from ?? to);
    const clean = LinearForm.of(image, alpha);
    const known = last ? clean : clean.plus(noise ?? step.noise(x), sigma);
    return { ...done, x: x.space.mask(LinearForm.of(done.x), known, maskImage) };
  };
}
