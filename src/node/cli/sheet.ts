/** Sheets and strips: several pictures of one size on one. Pure functions on RGBA bytes. */
import { InvalidArgumentError } from '../../engine/errors.ts';
import type { Raster } from '../png.ts';

/** Margins are a sixteenth of a picture's shorter side: seen, but no subject. */
const marginOf = ({ width, height }: Raster): number => Math.max(1, Math.round(Math.min(width, height) / 16));

/** Columns and rows as near a square as `count` allows, with the fewest empty places. */
export function gridFor(count: number): { columns: number; rows: number } {
  const columns = Math.ceil(Math.sqrt(count));
  return { columns, rows: Math.ceil(count / columns) };
}

/**
 * Pictures of one size in a grid, row by row, on a ground of one grey.
 * @param ground 0 (black) … 255 (white)
 * @throws InvalidArgumentError when there are none, or of different sizes
 */
export function layOut(pictures: readonly Raster[], columns: number, ground = 255): Raster {
  const first = pictures[0];
  if (!first || pictures.some((p) => p.width !== first.width || p.height !== first.height)) {
    const sizes = pictures.map((p) => `${p.width}×${p.height}`).join(', ') || 'none';
    throw new InvalidArgumentError(`sheet: expected pictures of one size, got ${sizes}; lay out each size apart`);
  }
  const margin = marginOf(first);
  const rows = Math.ceil(pictures.length / columns);
  const width = columns * (first.width + margin) + margin;
  const height = rows * (first.height + margin) + margin;
  const data = new Uint8ClampedArray(4 * width * height).fill(ground);
  for (let i = 3; i < data.length; i += 4) data[i] = 255;
  pictures.forEach((picture, index) => {
    const left = margin + (index % columns) * (first.width + margin);
    const top = margin + Math.floor(index / columns) * (first.height + margin);
    for (let y = 0; y < first.height; y++) {
      const row = picture.data.subarray(4 * y * first.width, 4 * (y + 1) * first.width);
      data.set(row, 4 * ((top + y) * width + left));
    }
  });
  return { width, height, data };
}

/** Weights of the four neighbours at fraction t (Keys 1981, a = −1/2, known as Catmull-Rom). */
function cubic(t: number): [number, number, number, number] {
  return [
    ((-0.5 * t + 1) * t - 0.5) * t,
    (1.5 * t - 2.5) * t * t + 1,
    ((-1.5 * t + 2) * t + 0.5) * t,
    (0.5 * t - 0.5) * t * t,
  ];
}

/** Four neighbours and their weights for each of `factor·n` places along an axis of n. */
function taps(n: number, factor: number): { at: number[]; weights: number[] }[] {
  return Array.from({ length: n * factor }, (_, i) => {
    const x = (i + 0.5) / factor - 0.5;
    const base = Math.floor(x);
    return {
      at: [-1, 0, 1, 2].map((d) => Math.min(n - 1, Math.max(0, base + d))),
      weights: cubic(x - base),
    };
  });
}

/** A picture at another size, every pixel the nearest of its own: what earlier stages made beside the last one's. */
export function resizeNearest(picture: Raster, width: number, height: number): Raster {
  if (picture.width === width && picture.height === height) return picture;
  const data = new Uint8ClampedArray(4 * width * height);
  for (let y = 0; y < height; y++) {
    const row = Math.floor((y * picture.height) / height) * picture.width;
    for (let x = 0; x < width; x++) {
      const from = 4 * (row + Math.floor((x * picture.width) / width));
      data.set(picture.data.subarray(from, from + 4), 4 * (y * width + x));
    }
  }
  return { width, height, data };
}

/** A picture enlarged by a whole factor, smoothly (bicubic); factor 1 returns it as it is. */
export function enlarge(picture: Raster, factor: number): Raster {
  if (factor === 1) return picture;
  const { width, height, data } = picture;
  const across = taps(width, factor);
  const down = taps(height, factor);
  const wide = new Float32Array(4 * width * factor * height);
  for (let y = 0; y < height; y++)
    across.forEach(({ at, weights }, x) => {
      for (let c = 0; c < 4; c++) {
        let sum = 0;
        for (let k = 0; k < 4; k++) sum += weights[k] * data[4 * (y * width + at[k]) + c];
        wide[4 * (y * width * factor + x) + c] = sum;
      }
    });
  const stride = 4 * width * factor;
  const out = new Uint8ClampedArray(stride * height * factor);
  down.forEach(({ at, weights }, y) => {
    for (let i = 0; i < stride; i++) {
      let sum = 0;
      for (let k = 0; k < 4; k++) sum += weights[k] * wide[at[k] * stride + i];
      out[y * stride + i] = sum;
    }
  });
  return { width: width * factor, height: height * factor, data: out };
}

/**
 * Which of `steps` steps to show when there is room for `places`: the first and the last always, the early ones closer
 * together, for that is when most of a picture is decided. Numbers of finished steps, rising, 0 (noise) … steps.
 */
export function moments(steps: number, places: number): number[] {
  const last = Math.min(places, steps + 1) - 1;
  const shown: number[] = [];
  for (let i = 0; i <= last; i++) {
    const wanted = Math.round(steps * (i / last) ** 1.8);
    // Each after the one before it, and none so late that those to come find no room.
    shown.push(Math.min(steps - (last - i), Math.max(wanted, (shown.at(-1) ?? -1) + 1)));
  }
  return shown;
}
