/** The levels of `UNet2DModel`: residual blocks, perhaps attention, then half or twice the size. */
import type { Tensor } from '../../engine/index.ts';
import { concat, type Activation } from '../../kernels/index.ts';
import type { WeightScope } from '../weightScope.ts';
import { attentionBlock } from './attentionBlock.ts';
import { downsampleConv, upsampleConv } from './resample.ts';
import { resnetBlock, type ResnetOptions, type TimeNorm } from './resnetBlock.ts';

/** What the blocks of one level have in common. */
export interface LevelOptions {
  /** Channels of the level. */
  out: number;
  layers: number;
  groups: number;
  eps: number;
  act: Activation;
  timeNorm: TimeNorm;
  /** Channels per head; undefined for a level without attention. */
  headDim: number | undefined;
  /** How the level ends; `none` is the last one. */
  sampler: 'conv' | 'resnet' | 'none';
}

/** `DownBlock2D`, `AttnDownBlock2D`, `ResnetDownsampleBlock2D`: the result, and every state that the way up reads. */
export function downLevel(
  w: WeightScope,
  x: Tensor,
  time: Tensor,
  o: LevelOptions & { padding: number },
): { x: Tensor; states: Tensor[] } {
  const resnet: ResnetOptions = { ...o };
  const states: Tensor[] = [];
  for (let i = 0; i < o.layers; i++) {
    x = resnetBlock(w.at('resnets', i), x, time, resnet); // [B,H,W,out]
    if (o.headDim) x = attentionBlock(w.at('attentions', i), x, { ...o, headDim: o.headDim }); // [B,H,W,out]
    states.push(x);
  }
  const down = w.at('downsamplers', 0);
  if (o.sampler === 'conv') x = downsampleConv(down, x, o.padding); // [B,H/2,W/2,out]
  if (o.sampler === 'resnet') x = resnetBlock(down, x, time, { ...resnet, resample: 'down' }); // [B,H/2,W/2,out]
  if (o.sampler !== 'none') states.push(x);
  return { x, states };
}

/** `UpBlock2D`, `AttnUpBlock2D`, `ResnetUpsampleBlock2D`; takes `layers` states from the end of `states`. */
export function upLevel(w: WeightScope, x: Tensor, states: Tensor[], time: Tensor, o: LevelOptions): Tensor {
  const resnet: ResnetOptions = { ...o };
  for (let i = 0; i < o.layers; i++) {
    const joined = concat(x, states.pop()!); // [B,H,W,C+S]
    x = resnetBlock(w.at('resnets', i), joined, time, resnet); // [B,H,W,out]
    if (o.headDim) x = attentionBlock(w.at('attentions', i), x, { ...o, headDim: o.headDim }); // [B,H,W,out]
  }
  const up = w.at('upsamplers', 0);
  if (o.sampler === 'conv') return upsampleConv(up, x); // [B,2H,2W,out]
  if (o.sampler === 'resnet') return resnetBlock(up, x, time, { ...resnet, resample: 'up' }); // [B,2H,2W,out]
  return x;
}
