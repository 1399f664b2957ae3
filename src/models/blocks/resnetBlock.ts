/** The residual block of DDPM and everything after it (Ho et al. 2020, appendix B; `ResnetBlock2D` in diffusers). */
import type { Tensor } from '../../engine/index.ts';
import { scaleShift, slice, type Activation } from '../../kernels/index.ts';
import { conv, dense, norm } from '../layers.ts';
import type { WeightScope } from '../weightScope.ts';
import { resample, type Resample } from './resample.ts';

/** How the timestep enters: added before the second norm, or as its scale and shift (FiLM; Dhariwal & Nichol 2021). */
export type TimeNorm = 'default' | 'scale_shift';

export interface ResnetOptions {
  /** Output channels. */
  out: number;
  groups: number;
  /** Groups of the second norm; by default those of the first. */
  groupsOut?: number;
  eps: number;
  act: Activation;
  timeNorm?: TimeNorm;
  /** The sum of both branches is divided by this. */
  divisor?: number;
  /** Both branches are resampled behind the first norm. */
  resample?: Resample;
  /** A 1×1 convolution on the shortcut even where the channels agree. */
  forceShortcut?: boolean;
  /** x and the result are this many times what they stand for; default 1. Not for blocks with a timestep. */
  size?: number;
}

/**
 * x [B,H,W,C] → [B,H',W',out].
 * @param time [B,D], the embedding with its activation applied; undefined for a block without one.
 */
export function resnetBlock(w: WeightScope, x: Tensor, time: Tensor | undefined, o: ResnetOptions): Tensor {
  const { out, groups, groupsOut = groups, eps, act, timeNorm = 'default', divisor = 1, size = 1 } = o;
  const resized = (t: Tensor) => (o.resample ? x.graph.scope(w.path, () => resample(t, o.resample!)) : t);
  const filmed = time !== undefined && timeNorm === 'scale_shift';
  const t = time && dense(w.at('time_emb_proj'), time, filmed ? 2 * out : out); // [B,out] or [B,2·out]
  const normed = norm(w.at('norm1'), x, { groups, eps: eps * size ** 2, act }); // [B,H,W,C]
  let h = conv(w.at('conv1'), resized(normed), out, { shift: filmed ? undefined : t, scale: size }); // [B,H',W',out]
  const affine = { groups: groupsOut, eps: eps * size ** 2, act: filmed ? 'none' : act, scale: size } as const;
  h = norm(w.at('norm2'), h, affine); // [B,H',W',out]
  if (filmed) h = film(w, h, t!, act); // [B,H',W',out]
  let residual = resized(x); // [B,H',W',C]
  if (o.forceShortcut || x.shape[3] !== out) {
    residual = conv(w.at('conv_shortcut'), residual, out, { kernel: 1, size }); // [B,H',W',out]
  }
  return conv(w.at('conv2'), h, out, { residual, scale: 1 / divisor, size }); // [B,H',W',out]
}

/** act(h·(1 + scale) + shift) with [scale, shift] = t [B,2C]; h [B,H,W,C] → [B,H,W,C]. */
function film(w: WeightScope, h: Tensor, t: Tensor, act: Activation): Tensor {
  const C = h.shape[3];
  return h.graph.scope(w.path, () => scaleShift(h, slice(t, 0, C), slice(t, C, 2 * C), { act }));
}
