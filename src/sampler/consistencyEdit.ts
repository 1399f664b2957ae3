/**
 * Zero-shot editing with a consistency model: after each jump to x₀ what is known of the picture is put back. Song et al.
 * 2023, https://arxiv.org/abs/2303.01469, algorithm 4.
 */
import { InvalidArgumentError } from '../engine/errors.ts';
import type { Solver } from './solver.ts';
import { LinearForm, type Vec } from './vec.ts';

/** x₀ with its known part put in: A⁻¹[(A·known)⊙Ω + (A·x₀)⊙(1 − Ω)] of the paper. The result lasts until the step ends. */
export type Replacement = (x0: Vec) => Vec | Promise<Vec>;

/** How a picture is edited. */
export interface ConsistencyEditOptions {
  replace: Replacement;
  /** sigma of what the model answers with, ≥ 0; default 0.002. */
  sigmaMin?: number;
}

/**
 * One round of editing: to x₀, the known part put in, and up to `to` with new noise, which is drawn in every step though
 * none is added where `to` is at sigmaMin. Clip x₀ beforehand ({@link clipped}), as the authors do.
 * @throws InvalidArgumentError if sigmaMin < 0
 */
export function consistencyEdit({ replace, sigmaMin = 0.002 }: ConsistencyEditOptions): Solver {
  if (!(sigmaMin >= 0 && sigmaMin < Infinity))
    throw new InvalidArgumentError(`consistencyEdit: expected sigmaMin ≥ 0, got ${sigmaMin}; it is the model's own`);
  return async ({ x, from, to, denoise, noise, signal }) => {
    const { x0 } = await denoise(x, from, signal);
    const edited = LinearForm.of(await replace(x0.materialise())); // line 7
    const spread = Math.sqrt(Math.max(to.sigma ** 2 - sigmaMin ** 2, 0));
    return { x: edited.plus(noise(x), spread).materialise(), x0: edited }; // line 6
  };
}

/** Inpainting: `known` where the mask is 1, both [B, C, …]. @throws ShapeError (on the step) on another length */
export function maskReplacement(known: Vec, mask: Vec): Replacement {
  return (x0) => x0.space.mask(LinearForm.of(known), LinearForm.of(x0), mask);
}

/** Extents of one item, C, H, W. */
export type ItemShape = readonly [channels: number, height: number, width: number];

/**
 * Colourisation: the brightness of `known`, [B, 3, H, W], the colours of x₀. Brightness is the share along
 * (0.2989, 0.5870, 0.1140), normalised. Read back and uploaded once per step.
 * @throws InvalidArgumentError unless shape is 3, H, W and fits `known`
 */
export function brightnessReplacement(known: Vec, shape: ItemShape): Replacement {
  if (shape[0] !== 3)
    throw new InvalidArgumentError(`brightnessReplacement: expected 3 channels, got ${shape[0]}; pass an RGB picture`);
  const plane = shape[1] * shape[2];
  return alongGroups('brightnessReplacement', known, shape, [0.2989, 0.587, 0.114], plane, (pixel) => [
    pixel,
    pixel + plane,
    pixel + 2 * plane,
  ]);
}

/**
 * Super-resolution: the mean of `known`, [B, C, H, W], over each square of `patch` pixels, everything finer from x₀. Read
 * back and uploaded once per step.
 * @throws InvalidArgumentError unless the patch divides H and W and the shape fits `known`
 */
export function patchMeanReplacement(known: Vec, shape: ItemShape, patch = 8): Replacement {
  const [channels, height, width] = shape;
  if (!Number.isInteger(patch) || patch < 1 || height % patch !== 0 || width % patch !== 0)
    throw new InvalidArgumentError(
      `patchMeanReplacement: expected a patch that divides ${height} × ${width}, got ${patch}; crop or pad the picture`,
    );
  const [rows, columns] = [height / patch, width / patch];
  const inside = Array.from({ length: patch ** 2 }, (_, k) => Math.floor(k / patch) * width + (k % patch));
  const ones = inside.map(() => 1);
  return alongGroups('patchMeanReplacement', known, shape, ones, channels * rows * columns, (g) => {
    const row = Math.floor(g / columns) % rows;
    const corner = Math.floor(g / (rows * columns)) * height * width + (row * width + (g % columns)) * patch;
    return inside.map((i) => corner + i);
  });
}

/**
 * In each group of elements of an item, the component of x₀ along a direction becomes that of `known`. The authors turn
 * into a basis that begins with the direction, mix, and turn back; only this component differs.
 */
function alongGroups(
  who: string,
  known: Vec,
  shape: ItemShape,
  direction: readonly number[],
  groups: number,
  group: (g: number) => readonly number[],
): Replacement {
  const size = shape[0] * shape[1] * shape[2];
  if (!shape.every((n) => Number.isInteger(n) && n >= 1) || size * known.batch !== known.length)
    throw new InvalidArgumentError(
      `${who}: expected ${known.length / known.batch} elements per item, got shape ${shape.join(' × ')}; pass C, H, W`,
    );
  const square = direction.reduce((sum, d) => sum + d * d, 0);
  let picture: ArrayLike<number> | undefined;
  return async (x0) => {
    picture ??= await known.space.read(known);
    const out = await x0.space.read(x0);
    for (let g = 0; g < groups * known.batch; g++) {
      const at = group(g % groups).map((i) => i + Math.floor(g / groups) * size);
      const missing = at.reduce((sum, i, k) => sum + direction[k] * (picture![i] - out[i]), 0) / square;
      at.forEach((i, k) => (out[i] += direction[k] * missing));
    }
    return x0.space.upload(out, x0);
  };
}
