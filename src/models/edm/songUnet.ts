/**
 * DDPM++ and NCSN++ as NVlabs/edm restates them.
 *
 * Song et al. 2021, "Score-Based Generative Modeling through SDEs", https://arxiv.org/abs/2011.13456
 * Karras et al. 2022, "Elucidating the Design Space of Diffusion-Based Generative Models",
 * https://arxiv.org/abs/2206.00364
 */
import type { Tensor } from '../../engine/index.ts';
import { add, concat, toNchw } from '../../kernels/index.ts';
import { upfirdn2d } from '../../kernels/firResample.ts';
import { conv, dense } from '../layers.ts';
import type { WeightScope } from '../weightScope.ts';
import type { SongUNetConfig } from './edmConfig.ts';
import { groupNorm, resampled, unetBlock, type Direction } from './unetBlock.ts';

/** What a network reads, all in rows. */
export interface EdmInputs {
  /** [B,H,W,C], scaled by c_in. */
  x: Tensor;
  /** Features of the noise level [B,D]. */
  noise: Tensor;
  /** Labels [B,labelDim], already times √labelDim for a SongUNet. */
  labels?: Tensor;
  /** Augmentation labels [B,augmentDim]. */
  augment?: Tensor;
}

const EPS = 1e-6;

/** → dense f32 [B,outChannels,H,W]. */
export function songUNet(config: SongUNetConfig, w: WeightScope, inputs: EdmInputs): Tensor {
  const { imgResolution, modelChannels, channelMult, numBlocks, outChannels, resampleFilter: filter } = config;
  const emb = embed(config, w, inputs); // [B,E]
  const block = (at: WeightScope, x: Tensor, out: number, attend: boolean, resample?: Direction): Tensor =>
    unetBlock(at, x, emb, {
      out,
      resample,
      filter,
      heads: attend ? 1 : 0,
      eps: EPS,
      skipScale: Math.SQRT1_2,
      adaptiveScale: false,
      resampleProj: true,
    });
  const levels = channelMult.map((mult, i) => {
    const resolution = imgResolution >> i;
    const name = `${resolution}x${resolution}`;
    return { name, channels: modelChannels * mult, attend: config.attnResolutions.includes(resolution) };
  });

  const [enc, dec] = [w.at('enc'), w.at('dec')];
  let x = inputs.x;
  let picture = x; // [B,H,W,C]
  const skips: Tensor[] = [];
  levels.forEach(({ name, channels, attend }, i) => {
    const at = (part: string): WeightScope => enc.at(`${name}_${part}`);
    if (i === 0) {
      x = conv(at('conv'), x, modelChannels); // [B,H,W,C0]
    } else {
      x = block(at('down'), x, x.shape[3], false, 'down'); // [B,H/2ⁱ,W/2ⁱ,Cᵢ₋₁]
      if (config.encoderType === 'skip') {
        picture = resampled(at('aux_down'), picture, 'down', filter); // [B,H/2ⁱ,W/2ⁱ,C]
        x = conv(at('aux_skip'), picture, x.shape[3], { kernel: 1, residual: x }); // [B,H/2ⁱ,W/2ⁱ,Cᵢ₋₁]
      } else if (config.encoderType === 'residual') {
        const small = convDown(at('aux_residual'), picture, x.shape[3], filter); // [B,H/2ⁱ,W/2ⁱ,Cᵢ₋₁]
        x = picture = add(x, small, { alpha: Math.SQRT1_2, beta: Math.SQRT1_2 }); // [B,H/2ⁱ,W/2ⁱ,Cᵢ₋₁]
      }
    }
    skips.push(x);
    for (let k = 0; k < numBlocks; k++) {
      x = block(at(`block${k}`), x, channels, attend); // [B,H/2ⁱ,W/2ⁱ,Cᵢ]
      skips.push(x);
    }
  });

  let result: Tensor | undefined;
  [...levels].reverse().forEach(({ name, channels, attend }, i) => {
    const at = (part: string): WeightScope => dec.at(`${name}_${part}`);
    if (i === 0) {
      x = block(at('in0'), x, x.shape[3], true); // [B,H/2ⁿ,W/2ⁿ,Cₙ]
      x = block(at('in1'), x, x.shape[3], false); // [B,H/2ⁿ,W/2ⁿ,Cₙ]
    } else {
      x = block(at('up'), x, x.shape[3], false, 'up'); // [B,H/2ⁱ,W/2ⁱ,Cᵢ₊₁]
    }
    for (let k = 0; k <= numBlocks; k++) {
      x = block(at(`block${k}`), concat(x, skips.pop()!), channels, attend && k === numBlocks); // [B,H/2ⁱ,W/2ⁱ,Cᵢ]
    }
    if (config.decoderType === 'standard' && i < levels.length - 1) return;
    if (result) result = resampled(at('aux_up'), result, 'up', filter); // [B,H/2ⁱ,W/2ⁱ,out]
    const n = groupNorm(at('aux_norm'), x, EPS, 'silu'); // [B,H/2ⁱ,W/2ⁱ,Cᵢ]
    result = conv(at('aux_conv'), n, outChannels, { residual: result }); // [B,H/2ⁱ,W/2ⁱ,out]
  });
  return toNchw(result!); // [B,out,H,W]
}

/** The embedding of noise level, label and augmentation that every block projects: [B,E]. */
function embed(config: SongUNetConfig, w: WeightScope, { noise, labels, augment }: EdmInputs): Tensor {
  const [features, width] = [noise.shape[1], config.modelChannels * config.channelMultEmb];
  let e = noise; // [B,D]
  if (labels) e = dense(w.at('map_label'), labels, features, { residual: e }); // [B,D]
  if (augment) e = dense(w.at('map_augment'), augment, features, { residual: e, bias: false }); // [B,D]
  e = dense(w.at('map_layer0'), e, width, { act: 'silu' }); // [B,E]
  return dense(w.at('map_layer1'), e, width, { act: 'silu' }); // [B,E]
}

/** A 3×3 convolution and the filter behind it, padded once in front of both: x [B,H,W,C] → [B,H/2,W/2,out]. */
function convDown(w: WeightScope, x: Tensor, out: number, filter: readonly number[]): Tensor {
  const h = conv(w, x, out, { padding: 1 + Math.floor((filter.length - 1) / 2) });
  return x.graph.scope(w.path, () => upfirdn2d(h, { kernel: [...filter].reverse(), down: 2 }));
}
