/**
 * Codes of one or two levels as one map of numbers [B,1,h,w] or [B,5,h,w], h and w those of the top level: channel 0
 * holds its codes, channels 1 to 4 those of the four cells that the bottom level has for each of them, row by row.
 */
import { InvalidArgumentError } from '../../engine/index.ts';
import type { LatentShape } from '../run/latents.ts';
import type { CodeLevels } from './options.ts';

/** Rows and columns of a bottom level's cell within a top level's. */
const CELLS = [
  [0, 0],
  [0, 1],
  [1, 0],
  [1, 1],
] as const;

/** Codes → planes. */
export function planesOfCodes({ top, bottom }: CodeLevels): { data: Float32Array; shape: LatentShape } {
  const [B, h, w] = top.shape;
  const C = bottom ? 1 + CELLS.length : 1;
  const data = new Float32Array(B * C * h * w);
  for (let b = 0; b < B; b++) {
    data.set(top.data.subarray(b * h * w, (b + 1) * h * w), b * C * h * w);
    if (!bottom) continue;
    CELLS.forEach((cell, i) => {
      const plane = (b * C + 1 + i) * h * w;
      for (let p = 0; p < h * w; p++) data[plane + p] = bottom.data[bottomAt(b, p, cell, h, w)];
    });
  }
  return { data, shape: [B, C, h, w] };
}

/** Planes → codes. @throws InvalidArgumentError for another number of planes, or values that are no codes */
export function codesOfPlanes(data: ArrayLike<number>, [B, C, h, w]: LatentShape, levels: 1 | 2): CodeLevels {
  const wanted = levels === 2 ? 1 + CELLS.length : 1;
  if (C !== wanted || data.length !== B * C * h * w) {
    throw new InvalidArgumentError(
      `decode: expected codes as latents [B,${wanted},h,w], got [${B},${C},${h},${w}] and ${data.length} values`,
    );
  }
  const top = new Uint32Array(B * h * w);
  const bottom = new Uint32Array(levels === 2 ? 4 * B * h * w : 0);
  for (let i = 0; i < data.length; i++) {
    const value = data[i];
    if (!Number.isInteger(value) || value < 0) {
      throw new InvalidArgumentError(
        `decode: expected codes as latents, got ${value} at ${i}; pass a result's latents`,
      );
    }
    const [b, c, p] = [Math.floor(i / (C * h * w)), Math.floor(i / (h * w)) % C, i % (h * w)];
    if (c === 0) top[b * h * w + p] = value;
    else bottom[bottomAt(b, p, CELLS[c - 1], h, w)] = value;
  }
  return {
    top: { data: top, shape: [B, h, w] },
    ...(levels === 2 && { bottom: { data: bottom, shape: [B, 2 * h, 2 * w] as const } }),
  };
}

function bottomAt(b: number, p: number, [dy, dx]: readonly [number, number], h: number, w: number): number {
  const [y, x] = [Math.floor(p / w), p % w];
  return b * 4 * h * w + (2 * y + dy) * 2 * w + 2 * x + dx;
}
