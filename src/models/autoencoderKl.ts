/**
 * The KL autoencoder of latent diffusion as diffusers' `AutoencoderKL` builds it.
 *
 * Rombach et al. 2022, "High-Resolution Image Synthesis with Latent Diffusion Models", https://arxiv.org/abs/2112.10752
 */
import { formatShape, ShapeError, type Tensor } from '../engine/index.ts';
import { fromNchw, toNchw } from '../kernels/index.ts';
import type { AutoencoderKLConfig } from './autoencoderKlConfig.ts';
import { attentionBlock } from './blocks/attentionBlock.ts';
import { midBlock } from './blocks/midBlock.ts';
import { downsampleConv, upsampleConv } from './blocks/resample.ts';
import { resnetBlock } from './blocks/resnetBlock.ts';
import { conv, norm } from './layers.ts';
import type { WeightScope } from './weightScope.ts';

/** Every norm of this family. */
const EPS = 1e-6;

/**
 * Where its authors say that halves overflow (`force_upcast`), halves keep the sum over the layers this many times
 * smaller: it grows to some 10⁵, and the largest half is 65,504. Norms divide the factor away again, and a power of two
 * costs no precision.
 */
const HALVED = 2 ** -4;

/** How many times what it stands for the sum over the layers is. */
const sizeOf = (config: AutoencoderTrunk, x: Tensor) => (config.forceUpcast && x.graph.dtype === 'f16' ? HALVED : 1);

/** What encoder and decoder are made of, whatever stands between them. */
export type AutoencoderTrunk = Pick<
  AutoencoderKLConfig,
  | 'act'
  | 'blockOutChannels'
  | 'downBlockTypes'
  | 'forceUpcast'
  | 'layersPerBlock'
  | 'midBlockAddAttention'
  | 'normNumGroups'
  | 'outChannels'
  | 'upBlockTypes'
>;

/** Dense image [B,C,H,W] → dense moments [B,2L,H/f,W/f]: mean, then log variance. @throws ShapeError */
export function autoencoderKlEncode(config: AutoencoderKLConfig, w: WeightScope, image: Tensor): Tensor {
  expectChannels('encode', 'image', image, config.inChannels);
  const moments = 2 * config.latentChannels;
  let x = encoderTrunk(config, w.at('encoder'), fromNchw(image), moments); // [B,H/f,W/f,2L]
  if (config.useQuantConv) x = conv(w.at('quant_conv'), x, moments, { kernel: 1 }); // [B,H/f,W/f,2L]
  return toNchw(x); // [B,2L,H/f,W/f]
}

/** x [B,H,W,C] → [B,H/f,W/f,out]. */
export function encoderTrunk(config: AutoencoderTrunk, e: WeightScope, x: Tensor, out: number): Tensor {
  const levels = config.blockOutChannels;
  const size = sizeOf(config, x);
  x = conv(e.at('conv_in'), x, levels[0], { scale: size }); // [B,H,W,C0]
  config.downBlockTypes.forEach((type, i) => {
    const at = e.at('down_blocks', i);
    x = level(config, at, x, levels[i], config.layersPerBlock, type.startsWith('Attn')); // [B,H/2ⁱ,W/2ⁱ,Cᵢ]
    if (i < levels.length - 1) x = downsampleConv(at.at('downsamplers', 0), x, 0, size); // [B,H/2ⁱ⁺¹,W/2ⁱ⁺¹,Cᵢ]
  });
  x = middle(config, e.at('mid_block'), x); // [B,H/f,W/f,Cₙ]
  const last = { groups: config.normNumGroups, eps: EPS * size ** 2, act: 'silu' } as const;
  x = norm(e.at('conv_norm_out'), x, last); // [B,H/f,W/f,Cₙ]
  return conv(e.at('conv_out'), x, out); // [B,H/f,W/f,out]
}

/** Dense latent [B,L,h,w] → dense image [B,C,h·f,w·f]. @throws ShapeError */
export function autoencoderKlDecode(config: AutoencoderKLConfig, w: WeightScope, latent: Tensor): Tensor {
  const { latentChannels } = config;
  expectChannels('decode', 'latent', latent, latentChannels);
  let x = fromNchw(latent); // [B,h,w,L]
  if (config.usePostQuantConv) x = conv(w.at('post_quant_conv'), x, latentChannels, { kernel: 1 }); // [B,h,w,L]
  return toNchw(decoderTrunk(config, w.at('decoder'), x)); // [B,C,h·f,w·f]
}

/** x [B,h,w,L] → [B,h·f,w·f,C]. */
export function decoderTrunk(config: AutoencoderTrunk, d: WeightScope, x: Tensor): Tensor {
  const { normNumGroups: groups } = config;
  const levels = [...config.blockOutChannels].reverse();
  const size = sizeOf(config, x);
  x = conv(d.at('conv_in'), x, levels[0], { scale: size }); // [B,h,w,Cₙ]
  x = middle(config, d.at('mid_block'), x); // [B,h,w,Cₙ]
  config.upBlockTypes.forEach((type, i) => {
    const at = d.at('up_blocks', i);
    x = level(config, at, x, levels[i], config.layersPerBlock + 1, type.startsWith('Attn')); // [B,h·2ⁱ,w·2ⁱ,Cᵢ]
    if (i < levels.length - 1) x = upsampleConv(at.at('upsamplers', 0), x, undefined, size); // [B,h·2ⁱ⁺¹,w·2ⁱ⁺¹,Cᵢ]
  });
  x = norm(d.at('conv_norm_out'), x, { groups, eps: EPS * size ** 2, act: 'silu' }); // [B,h·f,w·f,C0]
  return conv(d.at('conv_out'), x, config.outChannels); // [B,h·f,w·f,C]
}

/** The residual blocks of one level, each with one-headed attention behind it where wanted: [B,H,W,C] → [B,H,W,out]. */
function level(
  config: AutoencoderTrunk,
  w: WeightScope,
  x: Tensor,
  out: number,
  layers: number,
  attends: boolean,
): Tensor {
  const { normNumGroups: groups, act } = config;
  const size = sizeOf(config, x);
  for (let i = 0; i < layers; i++) {
    x = resnetBlock(w.at('resnets', i), x, undefined, { out, groups, eps: EPS, act, size }); // [B,H,W,out]
    if (attends) x = attentionBlock(w.at('attentions', i), x, { headDim: out, groups, eps: EPS, size }); // [B,H,W,out]
  }
  return x;
}

function middle(config: AutoencoderTrunk, w: WeightScope, x: Tensor): Tensor {
  const { normNumGroups: groups, act, midBlockAddAttention } = config;
  const C = x.shape[3];
  const size = sizeOf(config, x);
  const attention = midBlockAddAttention ? { headDim: C, groups, eps: EPS, size } : undefined;
  return midBlock(w, x, undefined, { out: C, groups, eps: EPS, act, size }, attention); // [B,H,W,C]
}

function expectChannels(what: string, name: string, t: Tensor, channels: number): void {
  if (t.shape.length === 4 && t.shape[1] === channels) return;
  throw new ShapeError(`autoencoderKl ${what}: expected ${name} [B,${channels},H,W], got ${formatShape(t.shape)}`);
}
