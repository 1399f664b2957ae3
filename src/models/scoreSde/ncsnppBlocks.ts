/** The blocks of NCSN++ under the names of score_sde's `layerspp.py` (Song et al. 2021, appendix H). */
import type { Tensor } from '../../engine/index.ts';
import { attention, avgPool2, reshape, upsampleNearest } from '../../kernels/index.ts';
import { firDownsample, firUpsample, upfirdn2d } from '../../kernels/firResample.ts';
import { networkInNetwork } from '../blocks/packedDense.ts';
import { conv, dense, norm } from '../layers.ts';
import { defaultGroups } from '../normGroups.ts';
import type { WeightScope } from '../weightScope.ts';
import type { NcsnppConfig } from './ncsnppConfig.ts';
import { activated, fusedActivation, type Nonlinearity } from './sections.ts';

const EPS = 1e-6;

/** Half or twice the size. */
export type Way = 'up' | 'down';

/** `nn.GroupNorm` of a quarter of the channels, at most 32 groups, and the activation behind. */
export function normed(w: WeightScope, x: Tensor, act?: Nonlinearity): Tensor {
  const C = x.shape.at(-1)!;
  const n = norm(w, x, { groups: defaultGroups(C), eps: EPS, act: act && fusedActivation(act) });
  return act ? activated(n, act) : n;
}

/** Without weights: by the filter, or nearest neighbours and means. x [B,H,W,C] → [B,H',W',C]. */
export function resized(w: WeightScope, x: Tensor, way: Way, { fir, firKernel: kernel }: NcsnppConfig): Tensor {
  const [, H, W] = x.shape;
  return x.graph.scope(w.path, () => {
    if (way === 'up') return fir ? firUpsample(x, { kernel }) : upsampleNearest(x, { height: 2 * H, width: 2 * W });
    return fir ? firDownsample(x, { kernel }) : avgPool2(x);
  });
}

/** `Upsample` and `Downsample` with their convolution: x [B,H,W,C] → [B,H',W',out]. */
export function convResized(w: WeightScope, x: Tensor, out: number, way: Way, config: NcsnppConfig): Tensor {
  const { fir, firKernel: kernel } = config;
  if (way === 'up') return conv(w.at('Conv_0'), resized(w, x, 'up', config), out);
  if (!fir) return conv(w.at('Conv_0'), x, out, { stride: 2, padding: { top: 0, left: 0, bottom: 1, right: 1 } });
  const border = kernel.length - 2 + (3 - 1); // of the filter and of the convolution together
  const padding = [Math.floor((border + 1) / 2), Math.floor(border / 2)] as const;
  const smooth = x.graph.scope(w.path, () => upfirdn2d(x, { kernel, padding })); // [B,H+1,W+1,C] with four taps
  return conv(w.at('Conv2d_0'), smooth, out, { stride: 2, padding: 0 }); // [B,H/2,W/2,out]
}

/**
 * `ResnetBlockDDPMpp` and `ResnetBlockBigGANpp`: x [B,H,W,C] → [B,H',W',out].
 * @param time [B,4·nf], activated; undefined for a network that is not told the noise level, whose weights are there
 * all the same
 */
export function resBlock(
  w: WeightScope,
  x: Tensor,
  time: Tensor | undefined,
  out: number,
  config: NcsnppConfig,
  way?: Way,
): Tensor {
  const { nonlinearity: act, nf, resblockType, skipRescale } = config;
  const resize = (t: Tensor): Tensor => (way ? resized(w, t, way, config) : t);
  const dense0 = w.at('Dense_0');
  const shift = time && dense(dense0, time, out); // [B,out]
  if (!time) unused(dense0, out, 4 * nf);
  let h = normed(w.at('GroupNorm_0'), x, act); // [B,H,W,C]
  h = conv(w.at('Conv_0'), resize(h), out, { shift }); // [B,H',W',out]
  h = normed(w.at('GroupNorm_1'), h, act); // [B,H',W',out]
  let residual = resize(x); // [B,H',W',C]
  if (resblockType === 'biggan' && (way || x.shape[3] !== out)) {
    residual = conv(w.at('Conv_2'), residual, out, { kernel: 1 }); // [B,H',W',out]
  } else if (x.shape[3] !== out) {
    residual = networkInNetwork(w.at('NIN_0'), residual, out); // [B,H',W',out]
  }
  return conv(w.at('Conv_1'), h, out, { residual, scale: skipRescale ? Math.SQRT1_2 : 1 }); // [B,H',W',out]
}

/** A linear layer that a checkpoint has and nobody asks. */
function unused(w: WeightScope, out: number, inner: number): void {
  w.param('weight', [out, inner]);
  w.param('bias', [out]);
}

/** `AttnBlockpp`, one head over all pixels: x [B,H,W,C] → [B,H,W,C]. */
export function attnBlock(w: WeightScope, x: Tensor, { skipRescale }: NcsnppConfig): Tensor {
  const [B, H, W, C] = x.shape;
  const tokens = reshape(x, [B, H * W, C]); // [B,T,C]
  const n = normed(w.at('GroupNorm_0'), tokens); // [B,T,C]
  const [q, k, v] = [0, 1, 2].map((i) => networkInNetwork(w.at(`NIN_${i}`), n, C)); // each [B,T,C]
  const a = x.graph.scope(w.path, () => attention(q, k, v, { heads: 1 })); // [B,T,C]
  const scale = skipRescale ? Math.SQRT1_2 : 1;
  return reshape(networkInNetwork(w.at('NIN_3'), a, C, { residual: tokens, scale }), [B, H, W, C]); // [B,H,W,C]
}
