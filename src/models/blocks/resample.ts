/** Halving and doubling a map: the forms that U-Nets and autoencoders share. */
import type { Tensor } from '../../engine/index.ts';
import { avgPool2, firDownsample, firUpsample, upsampleNearest } from '../../kernels/index.ts';
import { conv } from '../layers.ts';
import type { WeightScope } from '../weightScope.ts';

/** Resampling without weights; `fir` is StyleGAN2's [1,3,3,1] filter, as NCSN++ has it. */
export type Resample = 'up' | 'down' | 'fir_up' | 'fir_down';

/** x [B,H,W,C] → twice or half the height and width. */
export function resample(x: Tensor, kind: Resample): Tensor {
  const [, H, W] = x.shape;
  switch (kind) {
    case 'up':
      return upsampleNearest(x, { height: 2 * H, width: 2 * W });
    case 'down':
      return avgPool2(x);
    case 'fir_up':
      return firUpsample(x);
    case 'fir_down':
      return firDownsample(x);
  }
}

/**
 * A 3×3 convolution of stride 2; padding 0 pads one pixel at the right and bottom. x [B,H,W,C] → [B,H/2,W/2,C].
 * @param size As for {@link conv}.
 */
export function downsampleConv(w: WeightScope, x: Tensor, padding: number, size?: number): Tensor {
  const sides = padding === 0 ? { top: 0, left: 0, bottom: 1, right: 1 } : padding;
  return conv(w.at('conv'), x, x.shape[3], { stride: 2, padding: sides, size });
}

/**
 * Nearest neighbour twice the size, or that of `like`, then a 3×3 convolution. x [B,H,W,C] → [B,2H,2W,C].
 * @param size As for {@link conv}.
 */
export function upsampleConv(w: WeightScope, x: Tensor, like?: Tensor, size?: number): Tensor {
  const [height, width] = like ? like.shape.slice(1, 3) : [2 * x.shape[1], 2 * x.shape[2]];
  const up = x.graph.scope(w.path, () => upsampleNearest(x, { height, width })); // [B,2H,2W,C]
  return conv(w.at('conv'), up, x.shape[3], { size });
}
