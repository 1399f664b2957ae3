/** Naive f64 truth of convolution, NHWC. */
import { activation, type ActivationName } from './activation.ts';

export interface ConvCase {
  B: number;
  H: number;
  W: number;
  I: number;
  O: number;
  R: number;
  S: number;
  stride: number;
  /** Default 1. */
  dilation?: number;
  top: number;
  left: number;
  bottom: number;
  right: number;
}

export interface ConvExtras {
  bias?: ArrayLike<number>;
  /** [B,O] */
  shift?: ArrayLike<number>;
  /** [B,OH,OW,O] */
  residual?: ArrayLike<number>;
  act?: ActivationName;
  scale?: number;
}

const spread = (taps: number, { dilation = 1 }: ConvCase) => dilation * (taps - 1) + 1;
export const convHeight = (c: ConvCase) => Math.floor((c.H + c.top + c.bottom - spread(c.R, c)) / c.stride) + 1;
export const convWidth = (c: ConvCase) => Math.floor((c.W + c.left + c.right - spread(c.S, c)) / c.stride) + 1;

/** One output; x [B,H,W,I], w [O,I,R,S]. */
export function convAt(
  x: ArrayLike<number>,
  w: ArrayLike<number>,
  c: ConvCase,
  e: ConvExtras,
  [b, oy, ox, o]: readonly [number, number, number, number],
): number {
  const { dilation = 1 } = c;
  let sum = (e.bias?.[o] ?? 0) + (e.shift?.[b * c.O + o] ?? 0);
  for (let r = 0; r < c.R; r++) {
    const iy = oy * c.stride + r * dilation - c.top;
    if (iy < 0 || iy >= c.H) continue;
    for (let s = 0; s < c.S; s++) {
      const ix = ox * c.stride + s * dilation - c.left;
      if (ix < 0 || ix >= c.W) continue;
      const from = ((b * c.H + iy) * c.W + ix) * c.I;
      for (let i = 0; i < c.I; i++) sum += x[from + i] * w[((o * c.I + i) * c.R + r) * c.S + s];
    }
  }
  const at = ((b * convHeight(c) + oy) * convWidth(c) + ox) * c.O + o;
  return (activation(sum, e.act ?? 'none') + (e.residual?.[at] ?? 0)) * (e.scale ?? 1);
}

/** All outputs, [B,OH,OW,O]. */
export function convReference(
  x: ArrayLike<number>,
  w: ArrayLike<number>,
  c: ConvCase,
  e: ConvExtras = {},
): Float64Array {
  const [OH, OW] = [convHeight(c), convWidth(c)];
  const out = new Float64Array(c.B * OH * OW * c.O);
  let at = 0;
  for (let b = 0; b < c.B; b++)
    for (let y = 0; y < OH; y++)
      for (let px = 0; px < OW; px++) for (let o = 0; o < c.O; o++) out[at++] = convAt(x, w, c, e, [b, y, px, o]);
  return out;
}
