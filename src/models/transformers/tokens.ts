/** Sequences of tokens: joining two, taking one apart, and the patches that a picture becomes. */
import { numel, type Tensor } from '../../engine/index.ts';
import { concat, fromNchw, reshape, slice, toNchw } from '../../kernels/index.ts';
import { conv } from '../layers.ts';
import type { WeightScope } from '../weightScope.ts';

/** Tokens from the public edge: dense f32 x [B,T,D] → [B,T,D] in rows. */
export function fromTokens(x: Tensor): Tensor {
  const [B, T, D] = x.shape;
  return reshape(fromNchw(reshape(x, [B * T, D])), [B, T, D]); // [B,T,D]
}

/** Rows to the public edge: x [...,D] → dense f32 [...,D]. */
export function toDense(x: Tensor): Tensor {
  const D = x.shape.at(-1)!;
  const rows = numel(x.shape) / D;
  return reshape(toNchw(reshape(x, [rows, 1, 1, D])), x.shape); // [...,D]
}

/** a [B,S,D], b [B,T,D] → [B,S+T,D]. */
export function joinTokens(a: Tensor, b: Tensor): Tensor {
  const [B, S, D] = a.shape;
  const T = b.shape[1];
  return reshape(concat(reshape(a, [B, S * D]), reshape(b, [B, T * D])), [B, S + T, D]); // [B,S+T,D]
}

/** x [B,T,D] → tokens from ≤ t < to, [B,to−from,D]. */
export function takeTokens(x: Tensor, from: number, to: number): Tensor {
  const [B, T, D] = x.shape;
  return reshape(slice(reshape(x, [B, T * D]), from * D, to * D), [B, to - from, D]); // [B,to−from,D]
}

/** a [A,T,D], b [B,T,D] → [A+B,T,D]. */
export function joinItems(a: Tensor, b: Tensor): Tensor {
  const [A, T, D] = a.shape;
  const B = b.shape[0];
  return reshape(concat(reshape(a, [1, A * T * D]), reshape(b, [1, B * T * D])), [A + B, T, D]); // [A+B,T,D]
}

/** x [B,T,D] → items from ≤ b < to, [to−from,T,D]. */
export function takeItems(x: Tensor, from: number, to: number): Tensor {
  const [B, T, D] = x.shape;
  return reshape(slice(reshape(x, [1, B * T * D]), from * T * D, to * T * D), [to - from, T, D]); // [to−from,T,D]
}

/** x [B,H,W,C] → [B,⌊H/side⌋·⌊W/side⌋,D], one token per patch; what is left over at the right and bottom is dropped. */
export function patchTokens(w: WeightScope, x: Tensor, D: number, side: number): Tensor {
  const t = conv(w, x, D, { kernel: side, stride: side, padding: 0 }); // [B,h,w,D]
  const [B, h, width] = t.shape;
  return reshape(t, [B, h * width, D]); // [B,T,D]
}
