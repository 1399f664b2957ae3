/** The levels of U-Nets: residual blocks, perhaps attention, then half or twice the size. */
import type { Tensor } from '../../engine/index.ts';
import { concat, type Activation } from '../../kernels/index.ts';
import type { WeightScope } from '../weightScope.ts';
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
  /** The sums of the residual blocks are divided by it. */
  divisor?: number;
  /** What stands behind each residual block, at `attentions.i`; undefined for a level without attention. */
  attend?: (w: WeightScope, x: Tensor, layer: number) => Tensor;
  /** How the level ends; `none` is the last one. */
  sampler: 'conv' | 'resnet' | 'none';
}

/** `DownBlock2D` and its kin: the result, and every state that the way up reads. */
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
    if (o.attend) x = o.attend(w.at('attentions', i), x, i); // [B,H,W,out]
    states.push(x);
  }
  const down = w.at('downsamplers', 0);
  if (o.sampler === 'conv') x = downsampleConv(down, x, o.padding); // [B,H/2,W/2,out]
  if (o.sampler === 'resnet') x = resnetBlock(down, x, time, { ...resnet, resample: 'down' }); // [B,H/2,W/2,out]
  if (o.sampler !== 'none') states.push(x);
  return { x, states };
}

/**
 * `UpBlock2D` and its kin; takes `layers` states from the end of `states`, and grows to the size of the next one where
 * a map of odd size has been halved.
 */
export function upLevel(w: WeightScope, x: Tensor, states: Tensor[], time: Tensor, o: LevelOptions): Tensor {
  const resnet: ResnetOptions = { ...o };
  for (let i = 0; i < o.layers; i++) {
    const joined = concat(x, states.pop()!); // [B,H,W,C+S]
    x = resnetBlock(w.at('resnets', i), joined, time, resnet); // [B,H,W,out]
    if (o.attend) x = o.attend(w.at('attentions', i), x, i); // [B,H,W,out]
  }
  const up = w.at('upsamplers', 0);
  if (o.sampler === 'conv') return upsampleConv(up, x, states.at(-1)); // [B,2H,2W,out]
  if (o.sampler === 'resnet') return resnetBlock(up, x, time, { ...resnet, resample: 'up' }); // [B,2H,2W,out]
  return x;
}
