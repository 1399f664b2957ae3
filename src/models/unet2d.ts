/**
 * The U-Net of DDPM and its descendants as diffusers' `UNet2DModel` builds it.
 *
 * Ho, Jain, Abbeel 2020, "Denoising Diffusion Probabilistic Models", https://arxiv.org/abs/2006.11239
 * Dhariwal, Nichol 2021, "Diffusion Models Beat GANs on Image Synthesis", https://arxiv.org/abs/2105.05233
 * Song et al. 2021, "Score-Based Generative Modeling through SDEs" (NCSN++), https://arxiv.org/abs/2011.13456
 */
import { formatShape, InvalidArgumentError, ShapeError, type Tensor } from '../engine/index.ts';
import { add, embedding, fromNchw, mul, toNchw, unary } from '../kernels/index.ts';
import { attentionBlock } from './blocks/attentionBlock.ts';
import { midBlock } from './blocks/midBlock.ts';
import { addPicture, skipDownLevel, skipUpLevel, type SkipOptions } from './blocks/skipBlocks.ts';
import { downLevel, upLevel, type LevelOptions } from './blocks/unetBlocks.ts';
import { conv, embeddingMlp, norm } from './layers.ts';
import { defaultGroups } from './normGroups.ts';
import { isSkip, type DownBlockType, type UNet2DConfig, type UpBlockType } from './unet2dConfig.ts';
import type { WeightScope } from './weightScope.ts';

/** What a U-Net reads; all dense, as the public edge has them. */
export interface UNet2DInputs {
  /** [B,C,H,W]. */
  sample: Tensor;
  /** Sinusoidal or Fourier features [B,D]; for a learned embedding the timesteps themselves, u32 [B]. */
  timestep: Tensor;
  /** Class ids u32 [B], features of a class timestep [B,D], or the embedding [B,timeEmbeddingDim]. */
  classLabels?: Tensor;
  /** 1/timestep in every output channel [B,outChannels]; only networks with Fourier features divide by sigma. */
  inverseTimestep?: Tensor;
}

/** Width of the timestep features that the host computes. */
export function timeFeatureDim(config: UNet2DConfig): number {
  return config.timeEmbeddingType === 'fourier' ? 2 * config.blockOutChannels[0] : config.blockOutChannels[0];
}

/** sample [B,C,H,W] → dense f32 [B,outChannels,H,W]. @throws ShapeError, InvalidArgumentError before anything runs. */
export function unet2d(config: UNet2DConfig, w: WeightScope, inputs: UNet2DInputs): Tensor {
  checkSample(config, inputs.sample);
  const centred = config.centerInputSample ? { scale: 2, offset: -1 } : {};
  const time = embed(config, w, inputs); // [B,D], activated
  let picture: Tensor | undefined = fromNchw(inputs.sample, centred); // [B,H,W,C]
  let x = conv(w.at('conv_in'), picture, config.blockOutChannels[0]); // [B,H,W,C0]

  const states = [x];
  config.downBlockTypes.forEach((type, i) => {
    const level = levelOptions(config, type, i, config.layersPerBlock);
    const at = w.at('down_blocks', i);
    const next = isSkip(type)
      ? skipDownLevel(at, x, picture!, time, level)
      : { picture, ...downLevel(at, x, time, { ...level, padding: config.downsamplePadding }) };
    ({ x, picture } = next); // [B,H/2ⁱ,W/2ⁱ,Cᵢ]
    states.push(...next.states);
  });

  if (config.hasMidBlock) x = middle(config, w.at('mid_block'), x, time); // [B,H/2ⁿ,W/2ⁿ,Cₙ]

  picture = undefined;
  config.upBlockTypes.forEach((type, i) => {
    const level = levelOptions(config, type, config.upBlockTypes.length - 1 - i, config.layersPerBlock + 1);
    const at = w.at('up_blocks', i);
    if (isSkip(type))
      ({ x, picture } = skipUpLevel(at, x, states, picture, time, level)); // [B,H/2ⁱ,W/2ⁱ,Cᵢ]
    else x = upLevel(at, x, states, time, level); // [B,H/2ⁱ,W/2ⁱ,Cᵢ]
  });

  const groups = config.normNumGroups ?? defaultGroups(config.blockOutChannels[0]);
  x = norm(w.at('conv_norm_out'), x, { groups, eps: config.normEps, act: 'silu' }); // [B,H,W,C0]
  x = addPicture(conv(w.at('conv_out'), x, config.outChannels), picture); // [B,H,W,out]
  if (config.timeEmbeddingType === 'fourier') x = mul(x, fromNchw(expected(inputs, 'inverseTimestep'))); // [B,H,W,out]
  return toNchw(x); // [B,out,H,W]
}

/** The embedding that every block projects, with the activation that each would apply: [B,timeEmbeddingDim]. */
function embed(config: UNet2DConfig, w: WeightScope, inputs: UNet2DInputs): Tensor {
  const { timeEmbeddingDim: D, classEmbedding } = config;
  let e = embeddingMlp(w.at('time_embedding'), features(config, w, inputs.timestep), D); // [B,D]
  if (classEmbedding !== 'none') {
    const at = w.at('class_embedding');
    const labels = expected(inputs, 'classLabels');
    if (classEmbedding === 'table') {
      e = add(e, embedding(labels, at.param('weight', [config.numClassEmbeds!, D]))); // [B,D]
    } else if (classEmbedding === 'timestep') {
      e = add(e, embeddingMlp(at, features(config, w, labels), D)); // [B,D]
    } else {
      e = add(e, fromNchw(labels)); // [B,D]
    }
  }
  return unary(e, { act: config.act }); // [B,D]
}

/** Features of a timestep [B,D0]; the frequencies of a Fourier embedding are a weight, read on the host. */
function features(config: UNet2DConfig, w: WeightScope, timestep: Tensor): Tensor {
  const width = config.blockOutChannels[0];
  const at = w.at('time_proj');
  if (config.timeEmbeddingType === 'learned') {
    return embedding(timestep, at.param('weight', [config.numTrainTimesteps!, width])); // [B,D0]
  }
  if (config.timeEmbeddingType === 'fourier') at.param('weight', [width]);
  return fromNchw(timestep); // [B,D0]
}

function middle(config: UNet2DConfig, w: WeightScope, x: Tensor, time: Tensor): Tensor {
  const C = x.shape[3];
  const { normEps: eps, act, timeNorm, midBlockScaleFactor: divisor } = config;
  const groups = config.normNumGroups ?? defaultGroups(C);
  const attnGroups = config.attnNormNumGroups ?? (timeNorm === 'default' ? groups : undefined);
  const attention = { headDim: config.attentionHeadDim ?? C, groups: attnGroups, eps, divisor };
  return midBlock(
    w,
    x,
    time,
    { out: C, groups, eps, act, timeNorm, divisor },
    config.addAttention ? attention : undefined,
  ); // [B,H,W,C]
}

function levelOptions(
  config: UNet2DConfig,
  type: DownBlockType | UpBlockType,
  level: number,
  layers: number,
): LevelOptions & SkipOptions {
  const out = config.blockOutChannels[level];
  const down = type.includes('Down');
  const last = down ? level === config.blockOutChannels.length - 1 : level === 0;
  // Only the attention blocks heed downsample_type and upsample_type; the others are what their names say.
  const chosen = down ? config.downsampleType : config.upsampleType;
  const fixed = type.startsWith('Resnet') ? 'resnet' : 'conv';
  const headDim = type.startsWith('Attn') ? (config.attentionHeadDim ?? out) : undefined;
  const groups = config.normNumGroups ?? defaultGroups(out);
  const eps = config.normEps;
  return {
    out,
    layers,
    groups,
    eps,
    act: config.act,
    timeNorm: config.timeNorm,
    headDim,
    attend: headDim ? (w, x) => attentionBlock(w, x, { headDim, groups, eps }) : undefined,
    sampler: last ? 'none' : type.startsWith('Attn') ? chosen : fixed,
  };
}

function expected(inputs: UNet2DInputs, name: 'classLabels' | 'inverseTimestep'): Tensor {
  const tensor = inputs[name];
  if (tensor) return tensor;
  throw new InvalidArgumentError(`unet2d: expected ${name} for this config, got none; pass it with the sample`);
}

function checkSample(config: UNet2DConfig, sample: Tensor): void {
  const [, C, H, W] = sample.shape;
  if (sample.shape.length !== 4 || C !== config.inChannels) {
    throw new ShapeError(`unet2d: expected sample [B,${config.inChannels},H,W], got ${formatShape(sample.shape)}`);
  }
  const multiple = sizeMultiple(config);
  if (H % multiple !== 0 || W % multiple !== 0) {
    throw new InvalidArgumentError(
      `unet2d: expected height and width divisible by ${multiple}, got ${H}×${W}; ` +
        `choose ${Math.ceil(H / multiple) * multiple}×${Math.ceil(W / multiple) * multiple}`,
    );
  }
}

/** Height and width must be multiples of this: a map halved on the way down must fit when doubled on the way up. */
export function sizeMultiple(config: UNet2DConfig): number {
  return 2 ** (config.blockOutChannels.length - 1);
}
