/** What a picture keeps while a consistency model edits it. Song et al. 2023, algorithm 4 and appendix D. */
import { InvalidArgumentError } from '../../engine/index.ts';
import {
  brightnessReplacement,
  maskReplacement,
  patchMeanReplacement,
  type Replacement,
} from '../../sampler/editing/consistencyEdit.ts';
import type { GpuSpace } from '../gpu/gpuSpace.ts';
import { planesOf, repeatedTo, type Planes } from '../picture/imageInput.ts';
import type { LatentShape } from '../run/latents.ts';
import { CONSISTENCY_EDITS, type ConsistencyOptions } from './options.ts';

/** An edit, before there is a space to run it in. */
export interface Edit {
  /** Pictures given. */
  pictures: number;
  /** Of the result, pixels. */
  size: { width: number; height: number };
  /** @throws InvalidArgumentError unless there is one picture, or one for each of the batch */
  replacement(space: GpuSpace, shape: LatentShape): Replacement;
}

/** The authors' squares. */
const PATCH = 8;

/** Options of edits where none is asked for. @throws InvalidArgumentError */
export function checkEdit({ image, maskImage, patchSize }: ConsistencyOptions): void {
  if (image === undefined && maskImage === undefined && patchSize === undefined) return;
  throw new InvalidArgumentError(
    `generate: expected edit (${CONSISTENCY_EDITS.join(', ')}) with image, maskImage or patchSize, got none`,
  );
}

/**
 * @param usual the size that the network was trained at, pixels
 * @throws InvalidArgumentError for an edit that is not known, or pictures that do not fit it
 */
export function editOf(options: ConsistencyOptions, channels: number, usual: Edit['size']): Edit {
  const { edit, image } = options;
  if (!CONSISTENCY_EDITS.some((known) => known === edit)) {
    throw new InvalidArgumentError(`generate: expected edit ${CONSISTENCY_EDITS.join(', ')}, got ${String(edit)}`);
  }
  if (options.sampler !== undefined) {
    throw new InvalidArgumentError(
      `generate: expected no sampler with edit, got ${options.sampler}: an edit is a multistep run of its own; leave it out`,
    );
  }
  if (!image) throw new InvalidArgumentError(`generate: expected image with edit ${edit}, got none; pass the picture`);
  if ((options.maskImage !== undefined) !== (edit === 'inpainting')) {
    throw new InvalidArgumentError('generate: expected maskImage with inpainting, and with nothing else');
  }
  if (edit !== 'superResolution' && options.patchSize !== undefined) {
    throw new InvalidArgumentError('generate: expected patchSize with superResolution alone');
  }
  const given = planesOf('image', image, channels, [-1, 1]);
  if (edit === 'superResolution') {
    return enlarging(options, given, { width: options.width ?? usual.width, height: options.height ?? usual.height });
  }
  const [pictures, , height, width] = given.shape;
  checkSize(options, { width, height });
  const mask = edit === 'inpainting' ? maskOf(options, given) : undefined;
  return {
    pictures,
    size: { width, height },
    replacement(space, shape) {
      const [batch, ...item] = shape;
      const known = space.vec(repeatedTo('image', given, batch).data, batch);
      if (!mask) return brightnessReplacement(known, item);
      return maskReplacement(known, space.vec(repeatedTo('maskImage', mask, batch).data, batch));
    },
  };
}

/** What is known, 1 or 0, in every channel. */
function maskOf({ maskImage }: ConsistencyOptions, { shape: [, channels, height, width] }: Planes): Planes {
  const { data, shape } = planesOf('maskImage', maskImage!, 1, [0, 1]);
  if (shape[2] !== height || shape[3] !== width) {
    throw new InvalidArgumentError(
      `generate: expected maskImage of ${width}×${height} as image, got ${shape[3]}×${shape[2]}; scale one of them`,
    );
  }
  const plane = height * width;
  const known = Float32Array.from({ length: shape[0] * channels * plane }, (_, i) => {
    const item = Math.floor(i / (channels * plane));
    return data[item * plane + (i % plane)] < 0.5 ? 1 : 0;
  });
  return { data: known, shape: [shape[0], channels, height, width] };
}

/** Small pictures, or such of the result's size, of which the means of squares are kept. */
function enlarging({ patchSize }: ConsistencyOptions, given: Planes, size: Edit['size']): Edit {
  const [pictures, channels, h, w] = given.shape;
  const [by, alike] = [size.width / w, size.height / h];
  const patch = patchSize ?? (by === 1 ? PATCH : by);
  const squares = Number.isInteger(patch) && size.width % patch === 0 && size.height % patch === 0;
  if (by !== alike || !squares || (by !== 1 && by !== patch)) {
    throw new InvalidArgumentError(
      `generate: expected an image of ${size.width}×${size.height} and a patchSize that divides it, or an image that is ` +
        `smaller by patchSize, got ${w}×${h} and ${patch}; width and height say the size of the result`,
    );
  }
  const large = by === 1 ? given.data : repeatedPixels(given, by);
  const planes: Planes = { data: large, shape: [pictures, channels, size.height, size.width] };
  return {
    pictures,
    size,
    replacement(space, [batch, ...item]) {
      return patchMeanReplacement(space.vec(repeatedTo('image', planes, batch).data, batch), item, patch);
    },
  };
}

function repeatedPixels({ data, shape: [B, C, H, W] }: Planes, by: number): Float32Array {
  const out = new Float32Array(B * C * H * W * by * by);
  for (let i = 0; i < out.length; i++) {
    const [row, column] = [Math.floor(i / (W * by)), i % (W * by)];
    const plane = Math.floor(row / (H * by));
    out[i] = data[(plane * H + Math.floor((row % (H * by)) / by)) * W + Math.floor(column / by)];
  }
  return out;
}

function checkSize({ width, height }: ConsistencyOptions, size: { width: number; height: number }): void {
  if ((width ?? size.width) === size.width && (height ?? size.height) === size.height) return;
  throw new InvalidArgumentError(
    `generate: expected width and height as the picture has them, ${size.width}×${size.height}, got ` +
      `${width ?? size.width}×${height ?? size.height}; leave them out`,
  );
}
