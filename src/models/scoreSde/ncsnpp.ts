/**
 * NCSN++ and DDPM++ as score_sde_pytorch builds them; modules are numbered in the order in which they are made.
 *
 * Song et al. 2021, "Score-Based Generative Modeling through SDEs", https://arxiv.org/abs/2011.13456, appendix H
 */
import type { Tensor } from '../../engine/index.ts';
import { add, concat, fromNchw, mul, toNchw } from '../../kernels/index.ts';
import { conv, dense } from '../layers.ts';
import type { WeightScope } from '../weightScope.ts';
import { attnBlock, convResized, normed, resBlock, resized } from './ncsnppBlocks.ts';
import type { NcsnppConfig } from './ncsnppConfig.ts';
import { activated, activate, fusedActivation } from './sections.ts';

/** What the network reads; all dense. */
export interface NcsnppInputs {
  /** [B,C,H,W]. */
  sample: Tensor;
  /** Features of the noise level [B,D]; undefined for a network that is not told it. */
  features?: Tensor;
  /** 1/sigma in every channel [B,C], for a network that divides by it. */
  inverseSigma?: Tensor;
}

/** Width of the features that the host computes. */
export const featureDim = ({ embeddingType, nf }: NcsnppConfig) => (embeddingType === 'fourier' ? 2 * nf : nf);

/** sample [B,C,H,W] → dense f32 [B,C,H,W]. */
export function ncsnpp(config: NcsnppConfig, w: WeightScope, inputs: NcsnppInputs): Tensor {
  const { nf, chMult, imageSize, numResBlocks, numChannels, nonlinearity: act } = config;
  const biggan = config.resblockType === 'biggan';
  const half = config.skipRescale ? Math.SQRT1_2 : 1;
  let index = 0;
  const next = (): WeightScope => w.at('all_modules', index++);
  const time = embed(config, next, inputs.features); // [B,4·nf]
  const levels = chMult.map((mult, i) => {
    const attend = config.attnResolutions.includes(Math.floor(imageSize / 2 ** i));
    return { channels: nf * mult, attend, last: i === chMult.length - 1 };
  });

  const sample = fromNchw(inputs.sample, config.centered ? {} : { scale: 2, offset: -1 }); // [B,H,W,C]
  let picture = sample;
  let x = conv(next(), sample, nf); // [B,H,W,C0]
  const skips = [x];
  for (const { channels, attend, last } of levels) {
    for (let k = 0; k < numResBlocks; k++) {
      x = resBlock(next(), x, time, channels, config); // [B,H/2ⁱ,W/2ⁱ,Cᵢ]
      if (attend) x = attnBlock(next(), x, config); // [B,H/2ⁱ,W/2ⁱ,Cᵢ]
      skips.push(x);
    }
    if (last) break;
    const at = next();
    x = biggan ? resBlock(at, x, time, channels, config, 'down') : halved(at, x, config); // [B,H/2ⁱ⁺¹,W/2ⁱ⁺¹,Cᵢ]
    if (config.progressiveInput === 'input_skip') {
      picture = resized(w.at('pyramid_downsample'), picture, 'down', config); // [B,H/2ⁱ⁺¹,W/2ⁱ⁺¹,C]
      x = combine(next(), picture, x, config); // [B,H/2ⁱ⁺¹,W/2ⁱ⁺¹,Cᵢ], or twice as many
    } else if (config.progressiveInput === 'residual') {
      const small = convResized(next(), picture, channels, 'down', config); // [B,H/2ⁱ⁺¹,W/2ⁱ⁺¹,Cᵢ]
      x = picture = add(small, x, { alpha: half, beta: half }); // [B,H/2ⁱ⁺¹,W/2ⁱ⁺¹,Cᵢ]
    }
    skips.push(x);
  }

  x = resBlock(next(), x, time, x.shape[3], config); // [B,H/2ⁿ,W/2ⁿ,Cₙ]
  x = attnBlock(next(), x, config); // [B,H/2ⁿ,W/2ⁿ,Cₙ]
  x = resBlock(next(), x, time, x.shape[3], config); // [B,H/2ⁿ,W/2ⁿ,Cₙ]

  let pyramid: Tensor | undefined;
  [...levels].reverse().forEach(({ channels, attend }, i) => {
    for (let k = 0; k <= numResBlocks; k++) {
      x = resBlock(next(), concat(x, skips.pop()!), time, channels, config); // [B,H/2ⁱ,W/2ⁱ,Cᵢ]
    }
    if (attend) x = attnBlock(next(), x, config); // [B,H/2ⁱ,W/2ⁱ,Cᵢ]
    if (config.progressive === 'output_skip') {
      if (pyramid) pyramid = resized(w.at('pyramid_upsample'), pyramid, 'up', config); // [B,H/2ⁱ,W/2ⁱ,C]
      const n = normed(next(), x, act); // [B,H/2ⁱ,W/2ⁱ,Cᵢ]
      pyramid = conv(next(), n, numChannels, { residual: pyramid }); // [B,H/2ⁱ,W/2ⁱ,C]
    } else if (config.progressive === 'residual' && !pyramid) {
      const n = normed(next(), x, act); // [B,H/2ⁿ,W/2ⁿ,Cₙ]
      pyramid = conv(next(), n, channels); // [B,H/2ⁿ,W/2ⁿ,Cₙ]
    } else if (config.progressive === 'residual') {
      const large = convResized(next(), pyramid!, channels, 'up', config); // [B,H/2ⁱ,W/2ⁱ,Cᵢ]
      x = pyramid = add(large, x, { alpha: half, beta: half }); // [B,H/2ⁱ,W/2ⁱ,Cᵢ]
    }
    if (i === levels.length - 1) return;
    const at = next();
    x = biggan ? resBlock(at, x, time, channels, config, 'up') : doubled(at, x, config); // [B,H/2ⁱ⁻¹,W/2ⁱ⁻¹,Cᵢ]
  });

  if (config.progressive === 'output_skip') {
    x = pyramid!; // [B,H,W,C]
  } else {
    const n = normed(next(), x, act); // [B,H,W,C0]
    x = conv(next(), n, numChannels); // [B,H,W,C]
  }
  if (inputs.inverseSigma) x = mul(x, fromNchw(inputs.inverseSigma)); // [B,H,W,C]
  return toNchw(x); // [B,C,H,W]
}

/** The embedding of the noise level with the activation that each block would apply: [B,4·nf]. */
function embed(config: NcsnppConfig, next: () => WeightScope, features: Tensor | undefined): Tensor | undefined {
  const { nf, nonlinearity: act } = config;
  if (config.embeddingType === 'fourier') next().param('W', [nf]); // the host computes with them
  if (!features) return undefined;
  const first = dense(next(), fromNchw(features), 4 * nf, { act: fusedActivation(act) }); // [B,4·nf]
  return activate(dense(next(), activated(first, act), 4 * nf), act); // [B,4·nf]
}

/** `Downsample` behind blocks of type ddpm. */
function halved(w: WeightScope, x: Tensor, config: NcsnppConfig): Tensor {
  return config.resampWithConv ? convResized(w, x, x.shape[3], 'down', config) : resized(w, x, 'down', config);
}

/** `Upsample` behind blocks of type ddpm. */
function doubled(w: WeightScope, x: Tensor, config: NcsnppConfig): Tensor {
  return config.resampWithConv ? convResized(w, x, x.shape[3], 'up', config) : resized(w, x, 'up', config);
}

/** `Combine`: a 1×1 convolution of the picture, added to x or put in front of its channels. */
function combine(w: WeightScope, picture: Tensor, x: Tensor, { progressiveCombine }: NcsnppConfig): Tensor {
  const C = x.shape[3];
  if (progressiveCombine === 'sum') return conv(w.at('Conv_0'), picture, C, { kernel: 1, residual: x });
  return concat(conv(w.at('Conv_0'), picture, C, { kernel: 1 }), x);
}
