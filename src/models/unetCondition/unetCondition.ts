/**
 * The U-Net of latent diffusion and its descendants, which a text or another context conditions through attention, as
 * diffusers' `UNet2DConditionModel` builds it.
 *
 * Rombach et al. 2022, "High-Resolution Image Synthesis with Latent Diffusion Models", https://arxiv.org/abs/2112.10752
 * Podell et al. 2023, "SDXL", https://arxiv.org/abs/2307.01952
 * Ramesh et al. 2022, "Hierarchical Text-Conditional Image Generation with CLIP Latents" (unCLIP),
 * https://arxiv.org/abs/2204.06125
 */
import { formatShape, InvalidArgumentError, type Tensor } from '../../engine/index.ts';
import { add, concat, unary } from '../../kernels/index.ts';
import type { AttentionProbe } from '../blocks/transformer2d.ts';
import { conv, norm } from '../layers.ts';
import type { WeightScope } from '../weightScope.ts';
import { embedConditions, embedContext, embedHint, type Conditions } from './embeddings.ts';
import { embedObjects } from './objects.ts';
import { downLevelOf, midLevelOf, upLevelOf, type Conditioning, type Masks, type State } from './levels.ts';
import type { EncoderConfig, UNetConditionConfig } from './unetConditionConfig.ts';

/** What a U-Net reads beside {@link Conditions}; maps and vectors in storage layout. */
export interface UNetConditionInputs extends Conditions {
  /** [B,H,W,C], or without the channels that a hint fills. */
  sample: Tensor;
  masks: Masks;
  /** Added to the states of the way down and to the middle, one set per ControlNet. */
  controls: readonly { down: readonly Tensor[]; mid: Tensor }[];
  /** Added inside the way down, one per level, and perhaps one for the middle (T2I adapters). */
  adapters: readonly Tensor[];
  /** Told of every transformer's attention to the context. */
  probe?: AttentionProbe;
}

/** sample [B,H,W,C] → [B,H,W,outChannels]. @throws ShapeError, InvalidArgumentError before anything runs. */
export function unetCondition(config: UNetConditionConfig, w: WeightScope, inputs: UNetConditionInputs): Tensor {
  let sample = inputs.sample; // [B,H,W,C]
  if (config.addition === 'image_hint') {
    sample = concat(sample, embedHint(w.at('add_embedding'), inputs)); // [B,H,W,C+4]
  }
  const c = conditioning(config, w, inputs);
  const first = convolve(w.at('conv_in'), sample, config.blockOutChannels[0], config.convInKernel); // [B,H,W,C0]
  const encoded = encode(config, w, first, c, inputs.adapters);
  let { x } = encoded; // [B,H/2ⁿ,W/2ⁿ,Cₙ]
  let { states } = encoded;
  for (const { down, mid } of inputs.controls) {
    if (down.length !== states.length) {
      throw new InvalidArgumentError(
        `U-Net: expected ${states.length} residuals of a ControlNet, got ${down.length}; use one that fits this U-Net`,
      );
    }
    states = states.map((state, i) => (state && down[i] ? add(state, down[i]) : state));
    x = add(x, mid); // [B,H/2ⁿ,W/2ⁿ,Cₙ]
  }
  states = [...states];
  config.upBlockTypes.forEach((_, i) => {
    x = upLevelOf(config, w.at('up_blocks', i), x, states, c, i); // [B,H/2ⁱ,W/2ⁱ,Cᵢ]
  });
  if (config.normNumGroups !== null) {
    const { normNumGroups: groups, normEps: eps, act } = config;
    x = norm(w.at('conv_norm_out'), x, { groups, eps, act }); // [B,H,W,C0]
  }
  return convolve(w.at('conv_out'), x, config.outChannels, config.convOutKernel); // [B,H,W,out]
}

/** All conditions, embedded: what the levels read. */
export function conditioning(
  config: EncoderConfig,
  w: WeightScope,
  inputs: Conditions & { masks: Masks; probe?: AttentionProbe },
): Conditioning {
  const time = embedConditions(config, w, inputs); // [B,D]
  const [E] = config.crossAttentionDim;
  return {
    time,
    activated: unary(time, { act: config.act }), // [B,D]
    context: embedContext(config, w, inputs), // [B,S,E]
    objects: inputs.objects && embedObjects(w.at('position_net'), config.objectAttention, inputs.objects, E), // [B,N,E]
    masks: inputs.masks,
    probe: inputs.probe,
  };
}

/**
 * The way down and the middle; ControlNets call it too. x [B,H,W,C0], behind the first convolution.
 * @returns the middle's result and every state of the way down, x first.
 */
export function encode(
  config: EncoderConfig,
  w: WeightScope,
  x: Tensor,
  c: Conditioning,
  adapters: readonly Tensor[] = [],
): { x: Tensor; states: State[] } {
  const states: State[] = [x];
  const left = [...adapters];
  config.downBlockTypes.forEach((type, i) => {
    const at = w.at('down_blocks', i);
    if (type === 'CrossAttnDownBlock2D') {
      ({ x } = push(states, downLevelOf(config, at, x, c, i, left.shift()))); // [B,H/2ⁱ⁺¹,W/2ⁱ⁺¹,Cᵢ]
      return;
    }
    ({ x } = push(states, downLevelOf(config, at, x, c, i))); // [B,H/2ⁱ⁺¹,W/2ⁱ⁺¹,Cᵢ]
    const adapter = left.shift();
    if (!adapter) return;
    // The reference adds in place, and the level's last state is the same tensor.
    const isState = states.at(-1) === x;
    x = add(x, adapter); // [B,H/2ⁱ⁺¹,W/2ⁱ⁺¹,Cᵢ]
    if (isState) states[states.length - 1] = x;
  });
  x = midLevelOf(config, w.at('mid_block'), x, c); // [B,H/2ⁿ,W/2ⁿ,Cₙ]
  const [last] = left;
  if (last && formatShape(last.shape) === formatShape(x.shape)) x = add(x, last); // [B,H/2ⁿ,W/2ⁿ,Cₙ]
  return { x, states };
}

function push(states: State[], level: { x: Tensor; states: State[] }): { x: Tensor } {
  states.push(...level.states);
  return level;
}

/** A convolution that keeps the size where its kernel is odd: x [B,H,W,C] → [B,H,W,out]. */
function convolve(w: WeightScope, x: Tensor, out: number, kernel: number): Tensor {
  return conv(w, x, out, { kernel, padding: Math.floor((kernel - 1) / 2) });
}
