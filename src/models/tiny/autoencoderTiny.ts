/**
 * The tiny autoencoder that imitates a large one, for previews (TAESD; Ollin Boer Bohan 2023,
 * https://github.com/madebyollin/taesd), as diffusers' `AutoencoderTiny` builds it: convolutions and residual blocks
 * alone.
 */
import { formatShape, ShapeError, type Tensor } from '../../engine/index.ts';
import { fromNchw, toNchw, unary, upsampleNearest, type Activation } from '../../kernels/index.ts';
import { conv } from '../layers.ts';
import type { WeightScope } from '../weightScope.ts';
import type { AutoencoderTinyConfig } from './autoencoderTinyConfig.ts';

/** Dense image [B,C,H,W] in −1 … 1 → dense latents [B,L,H/f,W/f]. @throws ShapeError */
export function autoencoderTinyEncode(config: AutoencoderTinyConfig, w: WeightScope, image: Tensor): Tensor {
  expectChannels('encode', 'image', image, config.inChannels);
  const { encoderChannels: C, act, latentChannels } = config;
  const next = layers(w.at('encoder', 'layers'));
  let x = fromNchw(image, { scale: 0.5, offset: 0.5 }); // [B,H,W,C]
  config.numEncoderBlocks.forEach((blocks, i) => {
    x = i === 0 ? conv(next(), x, C) : conv(next(), x, C, { stride: 2, padding: 1, bias: false }); // [B,H/2ⁱ,W/2ⁱ,C]
    for (let j = 0; j < blocks; j++) x = tinyBlock(next(), x, act); // [B,H/2ⁱ,W/2ⁱ,C]
  });
  return toNchw(conv(next(), x, latentChannels)); // [B,L,H/f,W/f]
}

/** Dense latents [B,L,h,w] → dense image [B,C,h·f,w·f] in −1 … 1. @throws ShapeError */
export function autoencoderTinyDecode(config: AutoencoderTinyConfig, w: WeightScope, latent: Tensor): Tensor {
  expectChannels('decode', 'latent', latent, config.latentChannels);
  const { decoderChannels: C, act, outChannels, upsamplingScalingFactor: factor } = config;
  const next = layers(w.at('decoder', 'layers'));
  let x = fromNchw(latent); // [B,h,w,L]
  // Latents beyond ±3 are outliers: the teacher saturates there too.
  x = unary(unary(x, { act: 'tanh', alpha: 1 / 3 }), { alpha: 3 }); // [B,h,w,L]
  x = conv(next(), x, C, { act }); // [B,h,w,C]
  next(); // the activation
  const last = config.numDecoderBlocks.length - 1;
  config.numDecoderBlocks.forEach((blocks, i) => {
    for (let j = 0; j < blocks; j++) x = tinyBlock(next(), x, act); // [B,h·fⁱ,w·fⁱ,C]
    if (i === last) return;
    const [, H, W] = x.shape;
    const { path } = next();
    x = x.graph.scope(path, () => upsampleNearest(x, { height: factor * H, width: factor * W })); // [B,h·fⁱ⁺¹,w·fⁱ⁺¹,C]
    x = conv(next(), x, C, { bias: false }); // [B,h·fⁱ⁺¹,w·fⁱ⁺¹,C]
  });
  return toNchw(conv(next(), x, outChannels), { scale: 2, offset: -1 }); // [B,C,h·f,w·f]
}

/** Three convolutions and a way around them: x [B,H,W,C] → [B,H,W,C]. */
function tinyBlock(w: WeightScope, x: Tensor, act: Activation): Tensor {
  const C = x.shape[3];
  let h = conv(w.at('conv', 0), x, C, { act }); // [B,H,W,C]
  h = conv(w.at('conv', 2), h, C, { act }); // [B,H,W,C]
  h = conv(w.at('conv', 4), h, C, { residual: x }); // [B,H,W,C]
  return x.graph.scope(w.path, () => unary(h, { act: 'relu' })); // [B,H,W,C]
}

/** The layers of a sequence, one after the other, as it numbers them. */
function layers(w: WeightScope): () => WeightScope {
  let i = 0;
  return () => w.at(i++);
}

function expectChannels(what: string, name: string, t: Tensor, channels: number): void {
  if (t.shape.length === 4 && t.shape[1] === channels) return;
  throw new ShapeError(`AutoencoderTiny ${what}: expected ${name} [B,${channels},H,W], got ${formatShape(t.shape)}`);
}
