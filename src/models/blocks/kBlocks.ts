/**
 * The levels of k-diffusion's networks (`KDownBlock2D` and its kin in diffusers), as the latent upscaler of Stable
 * Diffusion uses them: norms whose scale and shift come from the time embedding, GELU, resampling with a filter.
 * Crowson 2022, https://github.com/crowsonkb/k-diffusion
 */
import type { Tensor } from '../../engine/index.ts';
import { upfirdn2d } from '../../kernels/firResample.ts';
import { concat, groupNorm, reshape, scaleShift, slice, type Activation } from '../../kernels/index.ts';
import { padReflect } from '../../kernels/padReflect.ts';
import { conv, dense } from '../layers.ts';
import { groupsOf32 } from '../normGroups.ts';
import type { WeightScope } from '../weightScope.ts';
import { affineLayerNorm } from './layerNorm.ts';
import { multiHeadAttention } from './multiHeadAttention.ts';

/** What the blocks of one level have in common. */
export interface KLevelOptions {
  /** Channels of the level. */
  out: number;
  layers: number;
  eps: number;
  act: Activation;
  /** Halves or doubles at the end. */
  resamples: boolean;
  /** Undefined for a level without attention. */
  attention?: KAttentionOptions;
}

interface KAttentionOptions {
  /** Channels of one head. */
  headDim: number;
  /** [B,S,E]. */
  context: Tensor;
  /** Pixels look at each other first. */
  self: boolean;
  /** Of the attention to pixels, f32 [B,1,T]. */
  mask?: Tensor;
  /** Of the attention to the context, f32 [B,1,S]. */
  contextMask?: Tensor;
}

const ATTENTION_EPS = 1e-5;
const FILTER = [1, 3, 3, 1];

/**
 * x [B,H,W,C] → [B,H/2,W/2,out], and a state per layer; the last level, which does not resample, leaves none where it
 * attends.
 * @param time [B,D], without activation.
 */
export function kDownLevel(
  w: WeightScope,
  x: Tensor,
  time: Tensor,
  o: KLevelOptions,
): { x: Tensor; states: (Tensor | undefined)[] } {
  const states: (Tensor | undefined)[] = [];
  for (let i = 0; i < o.layers; i++) {
    x = kResnet(w.at('resnets', i), x, time, { ...o, last: o.out }); // [B,H,W,out]
    if (o.attention) x = kAttention(w.at('attentions', i), x, time, o.attention); // [B,H,W,out]
    states.push(o.attention && !o.resamples ? undefined : x);
  }
  if (o.resamples) x = upfirdn2d(padReflect(x, 1), { kernel: FILTER, down: 2 }); // [B,H/2,W/2,out]
  return { x, states };
}

/**
 * x [B,H,W,out] and the level's last state → [B,2H,2W,next].
 * @param next channels of the level above
 */
export function kUpLevel(
  w: WeightScope,
  x: Tensor,
  state: Tensor | undefined,
  time: Tensor,
  { next, ...o }: KLevelOptions & { next: number },
): Tensor {
  if (state) x = concat(x, state); // [B,H,W,2·out]
  for (let i = 0; i < o.layers; i++) {
    const last = i === o.layers - 1 ? next : o.out;
    // Without attention the inner channels narrow too, while the groups stay those of the level.
    const out = o.attention ? o.out : last;
    x = kResnet(w.at('resnets', i), x, time, { ...o, out, last, groupsOut: groupsOf32(o.out) }); // [B,H,W,last]
    if (o.attention) x = kAttention(w.at('attentions', i), x, time, o.attention); // [B,H,W,last]
  }
  if (!o.resamples) return x;
  // Every second pixel of the stretched map is zero along each side: four times as much for the same mean.
  return upfirdn2d(padReflect(x, 1), { kernel: FILTER, up: 2, padding: [0, -1], gain: 4 }); // [B,2H,2W,last]
}

interface KResnetOptions {
  /** Channels between the convolutions. */
  out: number;
  /** Channels of the result. */
  last: number;
  groupsOut?: number;
  eps: number;
  act: Activation;
}

function kResnet(w: WeightScope, x: Tensor, time: Tensor, o: KResnetOptions): Tensor {
  const { out, last, eps, act, groupsOut = groupsOf32(out) } = o;
  const C = x.shape[3];
  const n = adaptiveNorm(w.at('norm1'), x, time, { groups: groupsOf32(C), eps, act }); // [B,H,W,C]
  let h = conv(w.at('conv1'), n, out); // [B,H,W,out]
  h = adaptiveNorm(w.at('norm2'), h, time, { groups: groupsOut, eps, act }); // [B,H,W,out]
  const residual = C === last ? x : conv(w.at('conv_shortcut'), x, last, { kernel: 1, bias: false }); // [B,H,W,last]
  return conv(w.at('conv2'), h, last, { residual }); // [B,H,W,last]
}

function kAttention(w: WeightScope, x: Tensor, time: Tensor, o: KAttentionOptions): Tensor {
  const [B, H, W, C] = x.shape;
  const groups = Math.max(1, groupsOf32(C));
  const heads = Math.floor(C / o.headDim);
  const normed = (name: string, t: Tensor) =>
    reshape(adaptiveNorm(w.at(name), reshape(t, [B, H, W, C]), time, { groups, eps: ATTENTION_EPS, act: 'none' }), [
      B,
      H * W,
      C,
    ]);
  const shared = { heads, headDim: o.headDim, bias: true };
  let t = reshape(x, [B, H * W, C]); // [B,T,C]
  if (o.self) {
    const n = normed('norm1', t); // [B,T,C]
    t = multiHeadAttention(w.at('attn1'), n, undefined, { ...shared, mask: o.mask, residual: t }); // [B,T,C]
  }
  const at = w.at('attn2');
  const context = affineLayerNorm(at.at('norm_cross'), o.context); // [B,S,E]
  t = multiHeadAttention(at, normed('norm2', t), context, { ...shared, mask: o.contextMask, residual: t }); // [B,T,C]
  return reshape(t, [B, H, W, C]); // [B,H,W,C]
}

/** `AdaGroupNorm`: scale and shift from the time embedding. x [B,H,W,C] → the same shape. */
function adaptiveNorm(
  w: WeightScope,
  x: Tensor,
  time: Tensor,
  { groups, eps, act }: { groups: number; eps: number; act: Activation },
): Tensor {
  const C = x.shape[3];
  const t = dense(w.at('linear'), time, 2 * C); // [B,2C]
  return x.graph.scope(w.path, () => {
    const n = groupNorm(x, undefined, undefined, { groups, eps }); // [B,H,W,C]
    return scaleShift(n, slice(t, 0, C), slice(t, C, 2 * C), { act }); // [B,H,W,C]
  });
}
