/** The middle of a U-Net or autoencoder: residual block, attention, residual block (`UNetMidBlock2D` in diffusers). */
import type { Tensor } from '../../engine/index.ts';
import type { WeightScope } from '../weightScope.ts';
import { attentionBlock, type AttentionOptions } from './attentionBlock.ts';
import { resnetBlock, type ResnetOptions } from './resnetBlock.ts';

/** x [B,H,W,C] → [B,H,W,C]; without `attention` the two residual blocks follow each other. */
export function midBlock(
  w: WeightScope,
  x: Tensor,
  time: Tensor | undefined,
  resnet: ResnetOptions,
  attention: AttentionOptions | undefined,
): Tensor {
  let h = resnetBlock(w.at('resnets', 0), x, time, resnet); // [B,H,W,C]
  if (attention) h = attentionBlock(w.at('attentions', 0), h, attention); // [B,H,W,C]
  return resnetBlock(w.at('resnets', 1), h, time, resnet); // [B,H,W,C]
}
