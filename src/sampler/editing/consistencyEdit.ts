/**
 * Zero-shot editing with a consistency model: after each jump to x₀ what is known of the picture is put back. Song et
 * al. 2023, https://arxiv.org/abs/2303.01469, algorithm 4.
 */
import { InvalidArgumentError } from '../../engine/errors.ts';
import type { Solver } from '../solver.ts';
import { checkBoxDirection, LinearForm, type BoxDirection, type Vec } from '../vec.ts';

/**
 * x₀ with its known part put in: A⁻¹[(A·known)⊙Ω + (A·x₀)⊙(1 − Ω)] of the paper. The result lasts until the step ends.
 */
export type Replacement = (x0: Vec) => Vec | LinearForm;

/** How a picture is edited. */
export interface ConsistencyEditOptions {
  replace: Replacement;
  /** sigma of what the model answers with, ≥ 0; default 0.002. */
  sigmaMin?: number;
}

/**
 * One round of editing: to x₀, the known part put in, and up to `to` with new noise, which is drawn in every step
 * though none is added where `to` is at sigmaMin. Clip x₀ beforehand ({@link clipped}), as the authors do.
 * @throws InvalidArgumentError if sigmaMin < 0
 */
export function consistencyEdit({ replace, sigmaMin = 0.002 }: ConsistencyEditOptions): Solver {
  if (!(sigmaMin >= 0 && sigmaMin < Infinity))
    throw new InvalidArgumentError(`consistencyEdit: expected sigmaMin ≥ 0, got ${sigmaMin}; it is the model's own`);
  return async ({ x, from, to, denoise, noise, signal }) => {
    const { x0 } = await denoise(x, from, signal);
    const edited = LinearForm.of(replace(x0.materialise())); // line 9
    const spread = Math.sqrt(Math.max(to.sigma ** 2 - sigmaMin ** 2, 0));
    return { x: edited.plus(noise(x), spread).materialise(), x0: edited }; // line 7, for the next
  };
}

/** Inpainting: `known` where the mask is 1, both [B, C, …]. @throws ShapeError (on the step) on another length */
export function maskReplacement(known: Vec, mask: Vec): Replacement {
  return (x0) => x0.space.mask(LinearForm.of(known), LinearForm.of(x0), mask);
}

/** Extents of one item, C, H, W. */
export type ItemShape = BoxDirection['shape'];

/**
 * Colourisation: the brightness of `known`, [B, 3, H, W], the colours of x₀. Brightness is the share along
 * (0.2989, 0.5870, 0.1140), normalised.
 * @throws InvalidArgumentError unless there are 3 channels; ShapeError unless the shape fits `known`
 */
export function brightnessReplacement(known: Vec, shape: ItemShape): Replacement {
  if (shape[0] !== 3)
    throw new InvalidArgumentError(`brightnessReplacement: expected 3 channels, got ${shape[0]}; pass an RGB picture`);
  return partReplacement('brightnessReplacement', known, {
    shape,
    box: [3, 1, 1],
    direction: [0.2989, 0.587, 0.114],
  });
}

/**
 * Super-resolution: the mean of `known`, [B, C, H, W], over each square of `patch` pixels, everything finer from x₀.
 * @throws InvalidArgumentError unless the patch divides H and W; ShapeError unless the shape fits `known`
 */
export function patchMeanReplacement(known: Vec, shape: ItemShape, patch = 8): Replacement {
  return partReplacement('patchMeanReplacement', known, { shape, box: [1, patch, patch], direction: [1] });
}

/**
 * The part of x₀ along a direction becomes that of `known`: x₀ + P(known − x₀). The authors turn into a basis that
 * begins with the direction, mix, and turn back; only this part differs.
 */
function partReplacement(who: string, known: Vec, along: BoxDirection): Replacement {
  checkBoxDirection(who, along, known);
  return (x0) => LinearForm.of(x0).plus(x0.space.project(LinearForm.of(known).minus(x0), along));
}
