/**
 * The one block of EDM's networks, with everything that DDPM++, NCSN++ and ADM have (Karras et al. 2022, appendix F).
 */
import type { Tensor } from '../../engine/index.ts';
import { attention, reshape, scaleShift, slice } from '../../kernels/index.ts';
import { firDownsample, firUpsample } from '../../kernels/firResample.ts';
import { interleavedQkv } from '../blocks/packedDense.ts';
import { conv, dense, norm } from '../layers.ts';
import type { WeightScope } from '../weightScope.ts';

export type Direction = 'up' | 'down' | undefined;

export interface UNetBlockOptions {
  /** Output channels. */
  out: number;
  resample?: Direction;
  /** Taps of the filter that resamples. */
  filter: readonly number[];
  /** Heads of the attention behind; 0 for none. */
  heads: number;
  eps: number;
  /** Factor on the sum of both branches. */
  skipScale: number;
  /** The embedding scales and shifts the second norm, rather than being added in front of it. */
  adaptiveScale: boolean;
  /** A resampled shortcut has a 1×1 convolution even where the channels agree. */
  resampleProj: boolean;
}

/** x [B,H,W,C], emb [B,E] with its activation applied → [B,H',W',out]. */
export function unetBlock(w: WeightScope, x: Tensor, emb: Tensor, o: UNetBlockOptions): Tensor {
  const { out, eps, skipScale, resample: way, filter } = o;
  const [, , , C] = x.shape;
  const first = groupNorm(w.at('norm0'), x, eps, 'silu'); // [B,H,W,C]
  const affine = dense(w.at('affine'), emb, o.adaptiveScale ? 2 * out : out); // [B,out] or [B,2·out]
  let h = resampled(w, first, way, filter); // [B,H',W',C]
  h = conv(w.at('conv0'), h, out, { shift: o.adaptiveScale ? undefined : affine }); // [B,H',W',out]
  if (o.adaptiveScale) {
    const n = groupNorm(w.at('norm1'), h, eps, 'none'); // [B,H',W',out]
    const [scale, shift] = [slice(affine, 0, out), slice(affine, out, 2 * out)];
    h = h.graph.scope(w.path, () => scaleShift(n, scale, shift, { act: 'silu' })); // [B,H',W',out]
  } else {
    h = groupNorm(w.at('norm1'), h, eps, 'silu'); // [B,H',W',out]
  }
  let residual = resampled(w, x, way, filter); // [B,H',W',C]
  const projects = C !== out || (way && o.resampleProj);
  if (projects) residual = conv(w.at('skip'), residual, out, { kernel: 1 }); // [B,H',W',out]
  h = conv(w.at('conv1'), h, out, { residual, scale: skipScale }); // [B,H',W',out]
  return o.heads > 0 ? selfAttention(w, h, o) : h; // [B,H',W',out]
}

/** Norm, attention over all pixels, projection and shortcut: x [B,H,W,C] → [B,H,W,C]. */
function selfAttention(w: WeightScope, x: Tensor, { heads, eps, skipScale }: UNetBlockOptions): Tensor {
  const [B, H, W, C] = x.shape;
  const tokens = reshape(x, [B, H * W, C]); // [B,T,C]
  const [q, k, v] = interleavedQkv(w.at('qkv'), groupNorm(w.at('norm2'), tokens, eps, 'none')); // each [B,T,C]
  const mixed = x.graph.scope(w.path, () => attention(q, k, v, { heads })); // [B,T,C]
  const a = reshape(mixed, [B, H, W, C]); // [B,H,W,C]
  return conv(w.at('proj'), a, C, { kernel: 1, residual: x, scale: skipScale }); // [B,H,W,C]
}

/** Groups of four channels or more, at most 32. */
export function groupNorm(w: WeightScope, x: Tensor, eps: number, act: 'silu' | 'none'): Tensor {
  return norm(w, x, { groups: Math.min(32, Math.floor(x.shape.at(-1)! / 4)), eps, act });
}

/** x [B,H,W,C] filtered to twice or half the size. */
export function resampled(w: WeightScope, x: Tensor, way: Direction, filter: readonly number[]): Tensor {
  if (!way) return x;
  // Upwards the original is a transposed convolution, downwards a correlation: only the latter turns the filter round.
  const down = [...filter].reverse();
  return x.graph.scope(w.path, () =>
    way === 'up' ? firUpsample(x, { kernel: filter }) : firDownsample(x, { kernel: down }),
  );
}
