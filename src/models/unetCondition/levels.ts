/** The levels of a conditional U-Net, chosen by the names of diffusers. */
import { ConfigError, InvalidArgumentError, type Tensor } from '../../engine/index.ts';
import { add } from '../../kernels/index.ts';
import { addedKvAttention } from '../blocks/addedKvAttention.ts';
import { attentionBlock } from '../blocks/attentionBlock.ts';
import { kDownLevel, kUpLevel, type KLevelOptions } from '../blocks/kBlocks.ts';
import { resnetBlock, type ResnetOptions } from '../blocks/resnetBlock.ts';
import { dualTransformer2d, transformer2d, type AttentionProbe } from '../blocks/transformer2d.ts';
import { downLevel, upLevel, type LevelOptions } from '../blocks/unetBlocks.ts';
import { defaultGroups } from '../normGroups.ts';
import type { WeightScope } from '../weightScope.ts';
import type {
  ConditionDownBlock,
  ConditionUpBlock,
  EncoderConfig,
  UNetConditionConfig,
} from './unetConditionConfig.ts';

/** A state that the way up reads; some levels leave none. */
export type State = Tensor | undefined;

/** Masks by the number of keys; undefined where the caller gave none. */
export interface Masks {
  /** Of attentions to pixels, f32 [B,1,keys]; one that is `padded` may be given for the first keys only. */
  pixels(keys: number, padded?: 'padded'): Tensor | undefined;
  /** Of attentions to the context, f32 [B,1,keys]: pixels behind the context's tokens are not masked. */
  context(keys: number): Tensor | undefined;
}

/** What all levels read. */
export interface Conditioning {
  /** [B,D], without activation. */
  time: Tensor;
  /** The same with the activation that ResNet blocks apply. */
  activated: Tensor;
  /** [B,S,E]. */
  context: Tensor | undefined;
  /** Of what GLIGEN places, [B,N,E]. */
  objects: Tensor | undefined;
  masks: Masks;
  /** Of every transformer's attention to the context. */
  probe?: AttentionProbe;
}

/**
 * One level of the way down.
 * @param adapter added to the last layer's result, before the level halves the map.
 */
export function downLevelOf(
  config: EncoderConfig,
  w: WeightScope,
  x: Tensor,
  c: Conditioning,
  level: number,
  adapter?: Tensor,
): { x: Tensor; states: State[] } {
  const type = config.downBlockTypes[level];
  const layers = config.layersPerBlock[level];
  const last = level === config.blockOutChannels.length - 1;
  if (isK(type)) return kDownLevel(w, x, c.time, kOptions(config, type, level, level, c, x, last, layers, last));
  const o = levelOptions(config, type, level, level, c, layers, last, config.transformerDepths[level]);
  const { attend } = o;
  const adapted: LevelOptions['attend'] =
    attend && ((at, t, i) => (adapter && i === layers - 1 ? add(attend(at, t, i), adapter) : attend(at, t, i)));
  const time = takesRawTime(config, type) ? c.time : c.activated;
  return downLevel(w, x, time, { ...o, attend: adapted, padding: config.downsamplePadding });
}

/**
 * One level of the way up, `step` levels above the middle; takes its states from the end.
 * @throws InvalidArgumentError when it gets fewer or more states than it has layers.
 */
export function upLevelOf(
  config: UNetConditionConfig,
  w: WeightScope,
  x: Tensor,
  states: State[],
  c: Conditioning,
  step: number,
): Tensor {
  const n = config.blockOutChannels.length;
  const level = n - 1 - step;
  const type = config.upBlockTypes[step];
  const layers = config.layersPerBlock[level];
  const top = step === n - 1;
  if (isK(type)) {
    const [state] = states.splice(states.length - layers).slice(-1);
    const { blockOutChannels } = config;
    const next = blockOutChannels[Math.max(level - 1, 0)];
    const first = next === blockOutChannels[level] && next === c.time.shape[1];
    const o = kOptions(config, type, level, step, c, x, top, layers, first);
    return kUpLevel(w, x, state, c.time, { ...o, next });
  }
  const o = levelOptions(config, type, level, step, c, layers + 1, top, config.upTransformerDepths[step]);
  const own = states.splice(states.length - layers - 1).filter((state) => state !== undefined);
  if (own.length !== layers + 1) {
    throw new InvalidArgumentError(`${w.path}: expected ${layers + 1} states for ${type}, got ${own.length}`);
  }
  checkFit(x, own[layers]);
  const below = states.at(-1);
  const time = takesRawTime(config, type) ? c.time : c.activated;
  return upLevel(w, x, below ? [below, ...own] : own, time, o);
}

/** The middle: x [B,H,W,C] → [B,H,W,C]. */
export function midLevelOf(config: EncoderConfig, w: WeightScope, x: Tensor, c: Conditioning): Tensor {
  const { midBlockType, normEps: eps, act, timeNorm, midBlockScaleFactor: divisor } = config;
  if (midBlockType === null) return x;
  const out = x.shape[3];
  const level = config.blockOutChannels.length - 1;
  const groups = config.normNumGroups ?? defaultGroups(out);
  const resnet: ResnetOptions = { out, groups, eps, act, timeNorm, divisor };
  const simple = midBlockType === 'UNetMidBlock2DSimpleCrossAttn';
  const time = simple && config.resnetSkipTimeAct ? c.time : c.activated;
  x = resnetBlock(w.at('resnets', 0), x, time, resnet); // [B,H,W,C]
  if (midBlockType === 'UNetMidBlock2D') return x;
  const at = w.at('attentions', 0);
  x = simple
    ? simpleAttention(config, at, x, c, level, config.attentionHeadDim[level], config.midOnlyCrossAttention)
    : crossAttention(config, at, x, c, level, config.midTransformerDepth, false); // [B,H,W,C]
  return resnetBlock(w.at('resnets', 1), x, time, resnet); // [B,H,W,C]
}

type BlockType = ConditionDownBlock | ConditionUpBlock;

/**
 * @param headsAt place in attentionHeadDim where it counts channels: on the way up the library reads that list from its
 * start, though every other list from its end. Where it counts heads it reads the level's entry.
 */
function levelOptions(
  config: EncoderConfig,
  type: BlockType,
  level: number,
  headsAt: number,
  c: Conditioning,
  layers: number,
  last: boolean,
  depths: readonly number[],
): LevelOptions {
  const { normEps: eps, act, timeNorm } = config;
  const out = config.blockOutChannels[level];
  const groups = config.normNumGroups!;
  const resampling = isResampling(type);
  const only = config.onlyCrossAttention[level];
  const headDim = config.attentionHeadDim[headsAt];
  let attend: LevelOptions['attend'];
  if (type.startsWith('CrossAttn')) attend = (w, x, i) => crossAttention(config, w, x, c, level, depths[i], only);
  else if (type.startsWith('SimpleCrossAttn'))
    attend = (w, x) => simpleAttention(config, w, x, c, level, headDim, only);
  else if (type.startsWith('Attn')) attend = (w, x) => attentionBlock(w, x, { headDim, groups, eps });
  return {
    ...{ out, layers, groups, eps, act, timeNorm, attend },
    divisor: resampling ? config.resnetOutScaleFactor : 1,
    sampler: last ? 'none' : resampling ? 'resnet' : 'conv',
  };
}

/** Whether a level halves and doubles inside a ResNet block. */
const isResampling = (type: BlockType) => type.startsWith('Resnet') || type.startsWith('Simple');

const isK = (type: BlockType) => type.startsWith('K');

const takesRawTime = (config: EncoderConfig, type: BlockType) => config.resnetSkipTimeAct && isResampling(type);

function crossAttention(
  config: EncoderConfig,
  w: WeightScope,
  x: Tensor,
  c: Conditioning,
  level: number,
  depth: number,
  onlyCross: boolean,
): Tensor {
  const context = contextOf(config, c, level);
  const [, H, W, C] = x.shape;
  const options = {
    heads: config.attentionHeadDim[level],
    depth,
    groups: config.normNumGroups ?? defaultGroups(C),
    linear: config.useLinearProjection,
    onlyCross,
  };
  if (config.dualCrossAttention) return dualTransformer2d(w, x, context, { ...options, onlyCross: false }); // [B,H,W,C]
  const S = context.shape[1];
  const mask = c.masks.pixels(onlyCross ? S : H * W);
  return transformer2d(w, x, context, {
    ...options,
    mask,
    contextMask: c.masks.context(S),
    probe: c.probe,
    objects: c.objects,
  }); // [B,H,W,C]
}

function simpleAttention(
  config: EncoderConfig,
  w: WeightScope,
  x: Tensor,
  c: Conditioning,
  level: number,
  headDim: number,
  onlyCross: boolean,
): Tensor {
  const context = contextOf(config, c, level);
  const [, H, W, C] = x.shape;
  const keys = context.shape[1] + (onlyCross ? 0 : H * W);
  return addedKvAttention(w, x, context, {
    headDim,
    groups: config.normNumGroups ?? defaultGroups(C),
    onlyCross,
    contextNorm: config.crossAttentionNorm,
    mask: c.masks.pixels(keys, 'padded') ?? c.masks.context(keys),
  }); // [B,H,W,C]
}

function kOptions(
  config: EncoderConfig,
  type: BlockType,
  level: number,
  headsAt: number,
  c: Conditioning,
  x: Tensor,
  last: boolean,
  layers: number,
  self: boolean,
): KLevelOptions {
  const attends = type.startsWith('KCross');
  const context = attends ? contextOf(config, c, level) : undefined;
  const [, H, W] = x.shape;
  return {
    out: config.blockOutChannels[level],
    layers,
    eps: config.normEps,
    act: config.act,
    resamples: !last,
    attention: context && {
      headDim: config.attentionHeadDim[headsAt],
      context,
      self,
      mask: self ? c.masks.pixels(H * W) : undefined,
      contextMask: c.masks.context(context.shape[1]),
    },
  };
}

function contextOf(config: EncoderConfig, { context }: Conditioning, level: number): Tensor {
  const E = config.crossAttentionDim[level];
  if (context && context.shape[2] === E) return context;
  if (!context) throw new InvalidArgumentError(`U-Net: expected encoderHiddenStates of ${E} channels, got none`);
  const field = 'cross_attention_dim';
  throw new ConfigError(
    `U-Net config: expected ${field} to be as wide as the context, ${context.shape[2]}, at level ${level}, got ${E}; ` +
      `correct the config`,
    field,
  );
}

/** Levels that double inside a ResNet block, or by a filter, cannot give back a row that was lost on the way down. */
function checkFit(x: Tensor, state: Tensor): void {
  if (x.shape[1] === state.shape[1] && x.shape[2] === state.shape[2]) return;
  throw new InvalidArgumentError(
    `U-Net: expected a size that this network can halve and double, got ${state.shape[1]}×${state.shape[2]} ` +
      `where it comes back as ${x.shape[1]}×${x.shape[2]}; choose a multiple of a power of two`,
  );
}
