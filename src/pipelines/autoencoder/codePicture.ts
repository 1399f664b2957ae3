/** Indices of a codebook as a picture: a colour for each, so that equal codes look equal. */
import type { Codes } from './autoencoderPipeline.ts';

/** The golden angle, as a part of a turn: neighbours among the codes get hues far apart. */
const GOLDEN = 0.38196601125;

/** Red, green and blue, 0 … 255, of a code; codes a step apart differ in hue, distant ones in lightness as well. */
export function codeColour(code: number): [number, number, number] {
  const hue = (code * GOLDEN) % 1;
  const light = 0.42 + 0.3 * ((code * 7 * GOLDEN) % 1);
  const chroma = 0.7 * Math.min(light, 1 - light);
  const channel = (shift: number): number => {
    const k = (hue * 12 + shift) % 12;
    return Math.round(255 * (light - chroma * Math.max(-1, Math.min(k - 3, 9 - k, 1))));
  };
  return [channel(0), channel(8), channel(4)];
}

/** One picture of a map of codes, `cell` pixels to a code: rows of RGBA. */
export function codePicture(
  { data, shape: [, h, w] }: Pick<Codes, 'data' | 'shape'>,
  cell = 1,
  item = 0,
): { width: number; height: number; data: Uint8ClampedArray<ArrayBuffer> } {
  const [width, height] = [w * cell, h * cell];
  const rgba = new Uint8ClampedArray(4 * width * height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const code = data[item * h * w + Math.floor(y / cell) * w + Math.floor(x / cell)];
      rgba.set([...codeColour(code), 255], 4 * (y * width + x));
    }
  }
  return { width, height, data: rgba };
}
