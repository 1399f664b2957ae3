/**
 * The decoder whose norms look at the latents: what a norm takes away of their detail, a scale and shift per pixel
 * gives back (`norm_type: "spatial"` in diffusers).
 *
 * Zheng et al. 2022, "MoVQ: Modulating Quantized Vectors for High-Fidelity Image Generation",
 * https://arxiv.org/abs/2209.09002
 */
import type { Tensor } from '../../engine/index.ts';
import { add, mul, upsampleNearest, type Activation } from '../../kernels/index.ts';
import type { AutoencoderTrunk } from '../autoencoderKl.ts';
import { attentionBlock } from '../blocks/attentionBlock.ts';
import { upsampleConv } from '../blocks/resample.ts';
import { conv, norm } from '../layers.ts';
import type { WeightScope } from '../weightScope.ts';

/** The reference fixes these and the epsilon, whatever the config says of other norms. */
export const SPATIAL_GROUPS = 32;
const NORM = { groups: SPATIAL_GROUPS, eps: 1e-6 };
const ATTENTION_EPS = 1e-6;

/** x [B,h,w,L], latents zq [B,h,w,L] → [B,h·f,w·f,C]. */
export function spatialDecoder(config: AutoencoderTrunk, d: WeightScope, x: Tensor, zq: Tensor): Tensor {
  const { act } = config;
  const levels = [...config.blockOutChannels].reverse();
  x = conv(d.at('conv_in'), x, levels[0]); // [B,h,w,Cₙ]
  const mid = d.at('mid_block');
  x = spatialResnet(mid.at('resnets', 0), x, zq, levels[0], act); // [B,h,w,Cₙ]
  if (config.midBlockAddAttention) x = spatialAttention(mid.at('attentions', 0), x, zq); // [B,h,w,Cₙ]
  x = spatialResnet(mid.at('resnets', 1), x, zq, levels[0], act); // [B,h,w,Cₙ]
  config.upBlockTypes.forEach((type, i) => {
    const at = d.at('up_blocks', i);
    for (let j = 0; j <= config.layersPerBlock; j++) {
      x = spatialResnet(at.at('resnets', j), x, zq, levels[i], act); // [B,h·2ⁱ,w·2ⁱ,Cᵢ]
      if (type.startsWith('Attn')) x = spatialAttention(at.at('attentions', j), x, zq); // [B,h·2ⁱ,w·2ⁱ,Cᵢ]
    }
    if (i < levels.length - 1) x = upsampleConv(at.at('upsamplers', 0), x); // [B,h·2ⁱ⁺¹,w·2ⁱ⁺¹,Cᵢ]
  });
  x = spatialNorm(d.at('conv_norm_out'), x, zq, 'silu'); // [B,h·f,w·f,C0]
  return conv(d.at('conv_out'), x, config.outChannels); // [B,h·f,w·f,C]
}

/** act(norm(x) · a(zq) + b(zq)), a and b linear and nearest to each pixel; x [B,H,W,C] → [B,H,W,C]. */
function spatialNorm(w: WeightScope, x: Tensor, zq: Tensor, act: Activation): Tensor {
  const [, height, width, C] = x.shape;
  const n = norm(w.at('norm_layer'), x, NORM); // [B,H,W,C]
  // A 1×1 convolution of repeated pixels is the repeated convolution: it runs on the small map.
  const at = (name: string) => {
    const y = conv(w.at(name), zq, C, { kernel: 1 }); // [B,h,w,C]
    return x.graph.scope(w.path, () => upsampleNearest(y, { height, width })); // [B,H,W,C]
  };
  const [scale, shift] = [at('conv_y'), at('conv_b')];
  return x.graph.scope(w.path, () => add(mul(n, scale), shift, { act })); // [B,H,W,C]
}

/** x [B,H,W,C] → [B,H,W,out]. */
function spatialResnet(w: WeightScope, x: Tensor, zq: Tensor, out: number, act: Activation): Tensor {
  let h = conv(w.at('conv1'), spatialNorm(w.at('norm1'), x, zq, act), out); // [B,H,W,out]
  h = spatialNorm(w.at('norm2'), h, zq, act); // [B,H,W,out]
  const residual = x.shape[3] === out ? x : conv(w.at('conv_shortcut'), x, out, { kernel: 1 }); // [B,H,W,out]
  return conv(w.at('conv2'), h, out, { residual }); // [B,H,W,out]
}

/** One-headed attention over the pixels: x [B,H,W,C] → [B,H,W,C]. */
function spatialAttention(w: WeightScope, x: Tensor, zq: Tensor): Tensor {
  const n = spatialNorm(w.at('spatial_norm'), x, zq, 'none'); // [B,H,W,C]
  return attentionBlock(w, n, { headDim: x.shape[3], groups: undefined, eps: ATTENTION_EPS, residual: x }); // [B,H,W,C]
}
