/**
 * Pictures of bytes to another size on the host, in the whole numbers of Pillow, so that encoders see what they were
 * fed.
 */

/** Its filters by its numbers: Keys's cubic with a = −½, and the triangle. */
const FILTERS = {
  2: { support: 1, weight: (x: number) => Math.max(0, 1 - x) },
  3: { support: 2, weight: cubic },
};

/** `PIL.Image.Resampling`: 2 is bilinear, 3 bicubic. */
export type Resampling = keyof typeof FILTERS;

function cubic(x: number): number {
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  return x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
}

/** Weights are multiples of 1 / ONE. */
const ONE = 2 ** 22;

interface Taps {
  first: number;
  weights: number[];
}

/** The weights of each place of the output; the filter widens with the reduction. */
function tapsOf(from: number, to: number, resample: Resampling): Taps[] {
  const filter = FILTERS[resample];
  const scale = from / to;
  const wide = Math.max(1, scale);
  const support = filter.support * wide;
  return Array.from({ length: to }, (_, i) => {
    const centre = (i + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - support + 0.5));
    const end = Math.min(from, Math.trunc(centre + support + 0.5));
    const exact = Array.from({ length: end - first }, (_, j) =>
      filter.weight(Math.abs(first + j - centre + 0.5) / wide),
    );
    const sum = exact.reduce((a, b) => a + b, 0);
    return { first, weights: exact.map((w) => Math.sign(w) * Math.trunc(0.5 + (Math.abs(w) / sum) * ONE)) };
  });
}

const byte = (sum: number) => Math.min(255, Math.max(0, Math.floor((sum + ONE / 2) / ONE)));

/** Bytes [H,W,3] → [height,width,3]: columns, rounded to bytes, then rows. */
export function resizeBytes(
  data: Uint8Array,
  [H, W]: readonly [number, number],
  [height, width]: readonly [number, number],
  resample: Resampling,
): Uint8Array {
  let across = data;
  if (W !== width) {
    const taps = tapsOf(W, width, resample);
    across = new Uint8Array(H * width * 3);
    for (let i = 0; i < across.length; i++) {
      const [c, x, y] = [i % 3, Math.floor(i / 3) % width, Math.floor(i / (3 * width))];
      const { first, weights } = taps[x];
      across[i] = byte(weights.reduce((sum, w, j) => sum + w * data[(y * W + first + j) * 3 + c], 0));
    }
  }
  if (H === height) return across;
  const taps = tapsOf(H, height, resample);
  const row = 3 * width;
  return Uint8Array.from({ length: height * row }, (_, i) => {
    const { first, weights } = taps[Math.floor(i / row)];
    return byte(weights.reduce((sum, w, j) => sum + w * across[(first + j) * row + (i % row)], 0));
  });
}
