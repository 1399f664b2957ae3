/** Pictures that users bring: planes of numbers, or bytes as a canvas has them. */
import { formatShape, InvalidArgumentError, numel } from '../../engine/index.ts';

/**
 * Planes [B,C,H,W] on the host, or one picture of RGBA bytes (`ImageData`, or what `toRgba` gives with its size).
 * Planes are in −1 … 1 where a picture is meant, in 0 … 1 for masks and pictures that control.
 */
export type ImageInput =
  | { data: Float32Array; shape: readonly number[] }
  | { data: Uint8ClampedArray | Uint8Array; width: number; height: number };

/** Planes with their shape. */
export interface Planes {
  data: Float32Array<ArrayBufferLike>;
  shape: readonly [number, number, number, number];
}

/**
 * A picture as planes [B,channels,H,W]; bytes are scaled to `range`, and to one channel by their mean.
 * @throws InvalidArgumentError for another shape, another number of values, or values that are not finite
 */
export function planesOf(name: string, image: ImageInput, channels: number, range: readonly [number, number]): Planes {
  const planes = 'shape' in image ? image : fromBytes(image, channels, range);
  const [B, C, H, W] = planes.shape;
  if (planes.shape.length !== 4 || C !== channels || planes.data.length !== numel(planes.shape)) {
    throw new InvalidArgumentError(
      `generate: expected ${name} [B,${channels},H,W], got ${formatShape(planes.shape)} and ${planes.data.length} values`,
    );
  }
  const bad = planes.data.findIndex((v) => !Number.isFinite(v));
  if (bad >= 0)
    throw new InvalidArgumentError(`generate: expected ${name} to be finite, got ${planes.data[bad]} at ${bad}`);
  return { data: planes.data, shape: [B, C, H, W] };
}

function fromBytes(
  { data, width, height }: { data: Uint8ClampedArray | Uint8Array; width: number; height: number },
  channels: number,
  [low, high]: readonly [number, number],
): { data: Float32Array; shape: readonly number[] } {
  const plane = width * height;
  const out = new Float32Array(channels * plane);
  const value = (byte: number) => low + ((high - low) * byte) / 255;
  for (let i = 0; i < plane && data.length === 4 * plane; i++) {
    const [r, g, b] = [data[4 * i], data[4 * i + 1], data[4 * i + 2]];
    if (channels === 1) out[i] = value((r + g + b) / 3);
    else [r, g, b].forEach((v, c) => (out[c * plane + i] = value(v)));
  }
  return {
    data: out,
    shape: data.length === 4 * plane ? [1, channels, height, width] : [data.length, 4, height, width],
  };
}

/** `batch` pictures from as many or one. @throws InvalidArgumentError for another number */
export function repeatedTo(name: string, { data, shape }: Planes, batch: number): Planes {
  const [B, ...item] = shape;
  if (B === batch) return { data, shape };
  if (B !== 1) throw new InvalidArgumentError(`generate: expected 1 or ${batch} of ${name}, got ${B}`);
  const out = new Float32Array(batch * data.length);
  for (let b = 0; b < batch; b++) out.set(data, b * data.length);
  return { data: out, shape: [batch, ...item] };
}
