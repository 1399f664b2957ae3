/**
 * ADM as NVlabs/edm restates it.
 *
 * Dhariwal, Nichol 2021, "Diffusion Models Beat GANs on Image Synthesis", https://arxiv.org/abs/2105.05233 Karras et
 * al. 2022, "Elucidating the Design Space of Diffusion-Based Generative Models", https://arxiv.org/abs/2206.00364
 */
import type { Tensor } from '../../engine/index.ts';
import { concat, toNchw, unary } from '../../kernels/index.ts';
import { conv, dense } from '../layers.ts';
import type { WeightScope } from '../weightScope.ts';
import type { DhariwalUNetConfig } from './edmConfig.ts';
import type { EdmInputs } from './songUnet.ts';
import { groupNorm, unetBlock, type Direction } from './unetBlock.ts';

const EPS = 1e-5;

/** → dense f32 [B,outChannels,H,W]. */
export function dhariwalUNet(config: DhariwalUNetConfig, w: WeightScope, inputs: EdmInputs): Tensor {
  const { imgResolution, modelChannels, channelMult, numBlocks, channelsPerHead } = config;
  const emb = embed(config, w, inputs); // [B,E]
  const block = (at: WeightScope, x: Tensor, out: number, attend: boolean, resample?: Direction): Tensor =>
    unetBlock(at, x, emb, {
      out,
      resample,
      filter: [1, 1],
      heads: attend ? Math.floor(out / channelsPerHead) : 0,
      eps: EPS,
      skipScale: 1,
      adaptiveScale: true,
      resampleProj: false,
    });
  const levels = channelMult.map((mult, i) => {
    const resolution = imgResolution >> i;
    const name = `${resolution}x${resolution}`;
    return { name, channels: modelChannels * mult, attend: config.attnResolutions.includes(resolution) };
  });

  const [enc, dec] = [w.at('enc'), w.at('dec')];
  let x = inputs.x; // [B,H,W,C]
  const skips: Tensor[] = [];
  levels.forEach(({ name, channels, attend }, i) => {
    const at = (part: string): WeightScope => enc.at(`${name}_${part}`);
    if (i === 0)
      x = conv(at('conv'), x, channels); // [B,H,W,C0]
    else x = block(at('down'), x, x.shape[3], false, 'down'); // [B,H/2ⁱ,W/2ⁱ,Cᵢ₋₁]
    skips.push(x);
    for (let k = 0; k < numBlocks; k++) {
      x = block(at(`block${k}`), x, channels, attend); // [B,H/2ⁱ,W/2ⁱ,Cᵢ]
      skips.push(x);
    }
  });

  [...levels].reverse().forEach(({ name, channels, attend }, i) => {
    const at = (part: string): WeightScope => dec.at(`${name}_${part}`);
    if (i === 0) {
      x = block(at('in0'), x, x.shape[3], true); // [B,H/2ⁿ,W/2ⁿ,Cₙ]
      x = block(at('in1'), x, x.shape[3], false); // [B,H/2ⁿ,W/2ⁿ,Cₙ]
    } else {
      x = block(at('up'), x, x.shape[3], false, 'up'); // [B,H/2ⁱ,W/2ⁱ,Cᵢ₊₁]
    }
    for (let k = 0; k <= numBlocks; k++) {
      x = block(at(`block${k}`), concat(x, skips.pop()!), channels, attend); // [B,H/2ⁱ,W/2ⁱ,Cᵢ]
    }
  });
  x = groupNorm(w.at('out_norm'), x, EPS, 'silu'); // [B,H,W,C0]
  return toNchw(conv(w.at('out_conv'), x, config.outChannels)); // [B,out,H,W]
}

/** The embedding of noise level, augmentation and label that every block projects: [B,E]. */
function embed(config: DhariwalUNetConfig, w: WeightScope, { noise, labels, augment }: EdmInputs): Tensor {
  const [features, width] = [noise.shape[1], config.modelChannels * config.channelMultEmb];
  let e = noise; // [B,D]
  if (augment) e = dense(w.at('map_augment'), augment, features, { residual: e, bias: false }); // [B,D]
  e = dense(w.at('map_layer0'), e, width, { act: 'silu' }); // [B,E]
  e = dense(w.at('map_layer1'), e, width); // [B,E]
  if (labels) e = dense(w.at('map_label'), labels, width, { residual: e, bias: false }); // [B,E]
  return unary(e, { act: 'silu' }); // [B,E]
}
