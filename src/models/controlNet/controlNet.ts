/**
 * ControlNet: a copy of a U-Net's encoder sees a picture beside the noise, and what it says is added to the U-Net's
 * states. It is the U-Net's encoder that runs here, with weights of its own.
 *
 * Zhang, Rao, Agrawala 2023, "Adding Conditional Control to Text-to-Image Diffusion Models",
 * https://arxiv.org/abs/2302.05543
 */
import { formatShape, InvalidArgumentError, type Tensor } from '../../engine/index.ts';
import { add, concat, reshape, slice } from '../../kernels/index.ts';
import { conv } from '../layers.ts';
import { conditioning, encode } from '../unetCondition/unetCondition.ts';
import { meanToken, IMAGE_TEXT_TOKENS, type Conditions } from '../unetCondition/embeddings.ts';
import type { Masks } from '../unetCondition/levels.ts';
import type { WeightScope } from '../weightScope.ts';
import type { ControlNetConfig } from './controlNetConfig.ts';

/** What a ControlNet reads beside {@link Conditions}; maps in storage layout. */
export interface ControlNetInputs extends Conditions {
  /** [B,H,W,C]. */
  sample: Tensor;
  /** RGB [B,H·f,W·f,conditioningChannels]. */
  picture: Tensor;
  masks: Masks;
}

/** How strongly it acts. */
export interface ControlStrength {
  /** Factor on all residuals. */
  scale: number;
  /** Residuals grow from a tenth at the finest level to all of it in the middle (section 3.4 of the first version). */
  guess: boolean;
}

/** Pixels of the picture per cell of the sample, along each side. */
export const controlFactor = (config: ControlNetConfig) => 2 ** (config.conditioningOutChannels.length - 1);

/**
 * Residuals for each state of the U-Net's way down, and for its middle: [B,h,w,C], or [B,1,1,C] where they are pooled.
 * @throws InvalidArgumentError for a picture that does not fit the sample, or a level that leaves no state.
 */
export function controlNet(
  config: ControlNetConfig,
  w: WeightScope,
  inputs: ControlNetInputs,
  { scale, guess }: ControlStrength,
): { down: Tensor[]; mid: Tensor } {
  const c = conditioning(config, w, inputs);
  declareIdle(config, w.at('encoder_hid_proj'));
  const first = conv(w.at('conv_in'), inputs.sample, config.blockOutChannels[0]); // [B,H,W,C0]
  const seen = embedPicture(config, w.at('controlnet_cond_embedding'), inputs.picture); // [B,H,W,C0]
  if (formatShape(seen.shape) !== formatShape(first.shape)) {
    const f = controlFactor(config);
    throw new InvalidArgumentError(
      `ControlNet: expected a picture of ${f} times the sample's size, ${first.shape[1] * f}×${first.shape[2] * f}, got ` +
        `${inputs.picture.shape[1]}×${inputs.picture.shape[2]}; resize it`,
    );
  }
  const { x, states } = encode(config, w, add(first, seen), c);
  const n = states.length;
  const graded = guess && !config.globalPoolConditions;
  const strength = (i: number) => scale * (graded ? 10 ** (i / n - 1) : 1);
  const residual = (at: WeightScope, state: Tensor, i: number) => {
    const r = conv(at, state, state.shape[3], { kernel: 1, scale: strength(i) }); // [B,h,w,C]
    return config.globalPoolConditions ? pool(r) : r;
  };
  const down = states.map((state, i) => {
    if (state) return residual(w.at('controlnet_down_blocks', i), state, i); // [B,h,w,C]
    throw new InvalidArgumentError('ControlNet: expected levels that leave a state, got one that leaves none');
  });
  return { down, mid: residual(w.at('controlnet_mid_block'), x, n) };
}

/** The picture in the channels of the first level: [B,H·f,W·f,P] → [B,H,W,C0]. */
function embedPicture(config: ControlNetConfig, w: WeightScope, picture: Tensor): Tensor {
  const channels = config.conditioningOutChannels;
  const ordered = config.channelOrder === 'bgr' ? reversed(picture) : picture;
  let x = conv(w.at('conv_in'), ordered, channels[0], { act: 'silu' }); // [B,H·f,W·f,P0]
  for (let i = 0; i + 1 < channels.length; i++) {
    x = conv(w.at('blocks', 2 * i), x, channels[i], { act: 'silu' }); // [B,h,w,Pᵢ]
    x = conv(w.at('blocks', 2 * i + 1), x, channels[i + 1], { act: 'silu', stride: 2 }); // [B,h/2,w/2,Pᵢ₊₁]
  }
  return conv(w.at('conv_out'), x, config.blockOutChannels[0]); // [B,H,W,C0]
}

/** x [B,H,W,C] with its channels in the other order. */
function reversed(x: Tensor): Tensor {
  const channels = Array.from({ length: x.shape[3] }, (_, i) => slice(x, i, i + 1));
  return channels.reduce((behind, channel) => concat(channel, behind));
}

/** x [B,h,w,C] → [B,1,1,C], the mean of all pixels. */
function pool(x: Tensor): Tensor {
  const [B, h, width, C] = x.shape;
  return reshape(meanToken(reshape(x, [B, h * width, C])), [B, 1, 1, C]);
}

/** Weights that the class makes and its forward does not read. */
function declareIdle({ idleProjection, crossAttentionDim: [E] }: ControlNetConfig, w: WeightScope): void {
  const layer = (at: WeightScope, out: number, into: number) => {
    at.param('weight', [out, into]);
    at.param('bias', [out]);
  };
  if (idleProjection?.kind === 'text_proj') layer(w, E, idleProjection.dim);
  if (idleProjection?.kind === 'text_image_proj') {
    layer(w.at('image_embeds'), IMAGE_TEXT_TOKENS * E, E);
    layer(w.at('text_proj'), E, idleProjection.dim);
  }
}
