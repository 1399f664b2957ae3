/**
 * The levels of NCSN++ (Song et al. 2021, appendix H, after StyleGAN2): a picture is carried along beside the features,
 * resampled with a FIR filter; on the way down it is added to the features, on the way up the output adds up in it.
 */
import type { Tensor } from '../../engine/index.ts';
import { add, concat } from '../../kernels/index.ts';
import { conv, norm } from '../layers.ts';
import { defaultGroups } from '../normGroups.ts';
import type { WeightScope } from '../weightScope.ts';
import { attentionBlock } from './attentionBlock.ts';
import { resample } from './resample.ts';
import { resnetBlock, type ResnetOptions } from './resnetBlock.ts';
import type { LevelOptions } from './unetBlocks.ts';

/** These blocks choose their groups themselves; only the attention norm is fixed. */
export type SkipOptions = Omit<LevelOptions, 'groups' | 'attend'> & {
  /** Channels per head; undefined for a level without attention. */
  headDim: number | undefined;
};

const ATTENTION_GROUPS = 32;
/** Two branches of unit variance stay of unit variance. */
const DIVISOR = Math.SQRT2;
/** Channels of the picture. */
const RGB = 3;

/** `SkipDownBlock2D` and `AttnSkipDownBlock2D`; picture [B,H,W,3]. */
export function skipDownLevel(
  w: WeightScope,
  x: Tensor,
  picture: Tensor,
  time: Tensor,
  o: SkipOptions,
): { x: Tensor; states: Tensor[]; picture: Tensor } {
  const base: ResnetOptions = { ...o, groups: defaultGroups(o.out), groupsOut: defaultGroups(o.out), divisor: DIVISOR };
  const states: Tensor[] = [];
  for (let i = 0; i < o.layers; i++) {
    const groups = defaultGroups(x.shape[3]);
    x = resnetBlock(w.at('resnets', i), x, time, { ...base, groups }); // [B,H,W,out]
    if (o.headDim) x = skipAttention(w.at('attentions', i), x, o); // [B,H,W,out]
    states.push(x);
  }
  if (o.sampler === 'none') return { x, states, picture };
  const down: ResnetOptions = { ...base, resample: 'fir_down', forceShortcut: true };
  x = resnetBlock(w.at('resnet_down'), x, time, down); // [B,H/2,W/2,out]
  picture = resample(picture, 'fir_down'); // [B,H/2,W/2,3]
  x = conv(w.at('skip_conv'), picture, o.out, { kernel: 1, residual: x }); // [B,H/2,W/2,out]
  states.push(x);
  return { x, states, picture };
}

/** `SkipUpBlock2D` and `AttnSkipUpBlock2D`; picture [B,H,W,3], undefined before the first. */
export function skipUpLevel(
  w: WeightScope,
  x: Tensor,
  states: Tensor[],
  picture: Tensor | undefined,
  time: Tensor,
  o: SkipOptions,
): { x: Tensor; picture: Tensor | undefined } {
  const base: ResnetOptions = { ...o, groups: defaultGroups(o.out), groupsOut: defaultGroups(o.out), divisor: DIVISOR };
  for (let i = 0; i < o.layers; i++) {
    const state = states.pop()!;
    const [own, other] = [x.shape[3], state.shape[3]];
    // The attention variant divides the skip's channels only, before adding: a slip that checkpoints were trained with.
    const groups = o.headDim ? Math.min(own + Math.floor(other / 4), 32) : defaultGroups(own + other);
    x = resnetBlock(w.at('resnets', i), concat(x, state), time, { ...base, groups }); // [B,H,W,out]
  }
  if (o.headDim) x = skipAttention(w.at('attentions', 0), x, o); // [B,H,W,out]
  if (picture) picture = resample(picture, 'fir_up'); // [B,H,W,3]
  if (o.sampler === 'none') return { x, picture };
  const n = norm(w.at('skip_norm'), x, { groups: defaultGroups(o.out), eps: o.eps, act: 'silu' }); // [B,H,W,out]
  picture = conv(w.at('skip_conv'), n, RGB, { residual: picture }); // [B,H,W,3]
  const up: ResnetOptions = { ...base, resample: 'fir_up', forceShortcut: true };
  x = resnetBlock(w.at('resnet_up'), x, time, up); // [B,2H,2W,out]
  return { x, picture };
}

function skipAttention(w: WeightScope, x: Tensor, { headDim, eps }: SkipOptions): Tensor {
  return attentionBlock(w, x, { headDim: headDim!, groups: ATTENTION_GROUPS, eps, divisor: DIVISOR });
}

/** What the way up has added up, put to the output: both [B,H,W,C]. */
export function addPicture(x: Tensor, picture: Tensor | undefined): Tensor {
  return picture ? add(x, picture) : x;
}
