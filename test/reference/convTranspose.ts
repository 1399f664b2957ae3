/** Naive f64 truth of transposed convolution, NHWC: every input pixel is spread over the output. */
import { activation, type ActivationName } from './activation.ts';

export interface ConvTransposeCase {
  B: number;
  H: number;
  W: number;
  I: number;
  O: number;
  R: number;
  S: number;
  stride: number;
  dilation: number;
  top: number;
  left: number;
  bottom: number;
  right: number;
  /** Rows and columns more at the bottom and on the right. */
  more: { bottom: number; right: number };
}

export const transposedHeight = (c: ConvTransposeCase) =>
  (c.H - 1) * c.stride - c.top - c.bottom + c.dilation * (c.R - 1) + c.more.bottom + 1;
export const transposedWidth = (c: ConvTransposeCase) =>
  (c.W - 1) * c.stride - c.left - c.right + c.dilation * (c.S - 1) + c.more.right + 1;

/** x [B,H,W,I], w [I,O,R,S] → [B,H',W',O]. */
export function convTransposeReference(
  x: ArrayLike<number>,
  w: ArrayLike<number>,
  c: ConvTransposeCase,
  { bias, act = 'none', scale = 1 }: { bias?: ArrayLike<number>; act?: ActivationName; scale?: number } = {},
): Float64Array {
  const [OH, OW] = [transposedHeight(c), transposedWidth(c)];
  const out = new Float64Array(c.B * OH * OW * c.O);
  for (let b = 0; b < c.B; b++)
    for (let y = 0; y < c.H; y++)
      for (let u = 0; u < c.W; u++)
        for (let r = 0; r < c.R; r++)
          for (let s = 0; s < c.S; s++) {
            const oy = y * c.stride + r * c.dilation - c.top;
            const ox = u * c.stride + s * c.dilation - c.left;
            if (oy < 0 || oy >= OH || ox < 0 || ox >= OW) continue;
            for (let i = 0; i < c.I; i++)
              for (let o = 0; o < c.O; o++)
                out[((b * OH + oy) * OW + ox) * c.O + o] +=
                  x[((b * c.H + y) * c.W + u) * c.I + i] * w[((i * c.O + o) * c.R + r) * c.S + s];
          }
  return out.map((v, i) => activation(v + (bias?.[i % c.O] ?? 0), act) * scale);
}
