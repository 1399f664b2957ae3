/** The conditions of a call: what the caller passes, checked on the host, and the inputs that a recording declares. */
import { InvalidArgumentError, type Graph, type Tensor } from '../../engine/index.ts';
import { fromNchw, reshape } from '../../kernels/index.ts';
import type { ModelInputs } from '../loadedModel.ts';
import type { TensorData, TensorInput } from '../modelRuntime.ts';
import { fourierEmbedding, sinusoidalEmbedding } from '../timestep.ts';
import { labelsOf, perItem, shapeOf } from '../transformers/inputs.ts';
import { fromTokens } from '../transformers/tokens.ts';
import { timeFeatureDim, type Conditions } from './embeddings.ts';
import type { Masks } from './levels.ts';
import { BOX_FEATURES, objectInputs, readObjects, type ObjectInputs } from './objects.ts';
import type { EncoderConfig, UNetConditionConfig } from './unetConditionConfig.ts';

/** 1 keeps a key, 0 hides it; [B,keys]. */
export interface MaskInput {
  data: ArrayLike<number>;
  shape: readonly number[];
}

/** Conditions beside text and class, by the config's `addition_embed_type` and `encoder_hid_dim_type`. */
export interface AddedConditions {
  /** Pooled text [B,P]. */
  textEmbeds?: TensorInput;
  /** Sizes and crops [B,n]: original height and width, crop top and left, target height and width. */
  timeIds?: { data: ArrayLike<number>; shape: readonly number[] };
  /** [B,P]. */
  imageEmbeds?: TensorInput;
  /** [B,3,8H,8W]. */
  hint?: TensorInput;
}

/** What conditions a call of a U-Net or ControlNet. */
export interface ConditionArguments {
  /** One for the batch, or one per item. */
  timestep: number | readonly number[];
  /** Text states [B,S,E]. */
  encoderHiddenStates?: TensorInput;
  /** Per item: a class id, a class timestep, or a vector [B,E], as the config says. */
  classLabels?: readonly number[] | TensorInput;
  /** [B,timeCondProjDim]: features of the guidance scale. */
  timestepCond?: TensorInput;
  /** Of attentions to pixels, [B,keys]. */
  attentionMask?: MaskInput;
  /** Of attentions to the text, [B,S]. */
  encoderAttentionMask?: MaskInput;
  addedCondKwargs?: AddedConditions;
  /** Of networks that place objects: where, and what. Without it none are placed. */
  crossAttentionKwargs?: { gligen?: ObjectInputs };
}

/** What of it changes the recording. */
export interface ConditionForm {
  batch: number;
  /** Of the context; 0 where it is not read. */
  tokens: number;
  /** Time ids per item. */
  timeIds: number;
  timestepCond: boolean;
  /** Height and width of the hint. */
  hint: readonly [number, number] | null;
  /** Length of the mask of pixels; 0 for none. */
  attentionMask: number;
  encoderAttentionMask: boolean;
  /** Objects to be placed; 0 for none. */
  objects: number;
}

/** Whether a network reads the text. */
function readsContext(c: EncoderConfig): boolean {
  if (c.addition === 'text' || c.contextProjection.startsWith('text')) return true;
  if (c.contextProjection === 'image_proj') return false;
  const up = 'upBlockTypes' in c ? (c as UNetConditionConfig).upBlockTypes : []; // ControlNets have none
  return [...c.downBlockTypes, c.midBlockType ?? '', ...up].some((type) => type.includes('CrossAttn'));
}

/** Channels of the text. */
const contextDim = (c: EncoderConfig) => c.encoderHidDim ?? c.crossAttentionDim[0];

const readsImage = (c: EncoderConfig) => c.addition.includes('image') || c.contextProjection.includes('image');

const imageDim = (c: EncoderConfig) =>
  c.addition === 'text_image' || c.contextProjection === 'text_image_proj' ? c.crossAttentionDim[0] : c.encoderHidDim!;

const textDim = (c: EncoderConfig, timeIds: number) =>
  c.addition === 'text_time' ? c.projectionInputDim! - timeIds * c.additionTimeEmbedDim! : c.crossAttentionDim[0];

/** Channels of a class condition; undefined for ids. */
function classDim(c: EncoderConfig): number | undefined {
  if (c.classEmbedding === 'timestep') return timeFeatureDim(c);
  if (c.classEmbedding === 'identity') return c.timeEmbeddingDim;
  return c.classEmbedding.endsWith('projection') ? c.projectionInputDim! : undefined;
}

/** The call with which every weight is read. @param side height and width of the sample */
export function probeForm(c: EncoderConfig, side: number): ConditionForm {
  return {
    batch: 1,
    tokens: !readsContext(c) ? 0 : c.dualCrossAttention ? 77 + 1 : 1,
    timeIds: c.addition === 'text_time' ? 1 : 0,
    timestepCond: c.timeCondProjDim !== null,
    hint: c.addition === 'image_hint' ? [8 * side, 8 * side] : null,
    attentionMask: 0,
    encoderAttentionMask: false,
    objects: c.objectAttention === 'default' ? 0 : 1,
  };
}

/**
 * A call as pipelines make it: 77 tokens unless told otherwise, and SDXL's six time ids where the pooled text leaves
 * room.
 */
export function planForm(c: EncoderConfig, side: number, tokens = c.dualCrossAttention ? 77 + 257 : 77): ConditionForm {
  const probe = probeForm(c, side);
  const room = c.addition === 'text_time' ? Math.floor((c.projectionInputDim! - 1) / c.additionTimeEmbedDim!) : 0;
  return { ...probe, tokens: probe.tokens && tokens, timeIds: Math.min(6, room), objects: 0 };
}

/** Declares the inputs of such a call. @throws InvalidArgumentError for a mask that fits no attention */
export function declareConditions(g: Graph, c: EncoderConfig, form: ConditionForm): Conditions & { masks: Masks } {
  const { batch: B, tokens, timeIds, hint } = form;
  const vector = (name: string, D: number) => fromNchw(g.input(name, [B, D])); // [B,D]
  const context = () =>
    reshape(fromNchw(g.input('encoderHiddenStates', [B * tokens, contextDim(c)])), [B, tokens, contextDim(c)]);
  const labels = () => {
    const D = classDim(c);
    return D === undefined ? g.input('classLabels', [B], { dtype: 'u32' }) : vector('classLabels', D);
  };
  const objects = () => {
    if (form.objects === 0) return undefined;
    const D = c.crossAttentionDim[0] + BOX_FEATURES;
    return objectInputs(c.objectAttention).map((name) => fromTokens(g.input(name, [B, form.objects, D]))); // [B,N,D]
  };
  const texts = c.addition === 'text_time' || c.addition === 'text_image';
  const declared = new Map<string, Tensor>();
  const mask = (name: string, keys: number) => {
    const label = `${name}.${keys}`;
    const tensor = declared.get(label) ?? g.input(label, [B, 1, keys]);
    declared.set(label, tensor);
    return tensor; // [B,1,keys]
  };
  return {
    timestep: vector('timestep', timeFeatureDim(c)),
    timestepCond: form.timestepCond ? vector('timestepCond', c.timeCondProjDim!) : undefined,
    classLabels: c.classEmbedding === 'none' ? undefined : labels(),
    context: tokens > 0 ? context() : undefined,
    textEmbeds: texts ? vector('textEmbeds', textDim(c, timeIds)) : undefined,
    timeIds: c.addition === 'text_time' ? vector('timeIds', timeIds * c.additionTimeEmbedDim!) : undefined,
    imageEmbeds: readsImage(c) ? vector('imageEmbeds', imageDim(c)) : undefined,
    hint: hint ? fromNchw(g.input('hint', [B, 3, ...hint])) : undefined,
    objects: objects(),
    masks: {
      pixels(keys, padded) {
        if (form.attentionMask === 0) return undefined;
        if (form.attentionMask === keys || (padded && form.attentionMask < keys)) return mask('attentionMask', keys);
        throw new InvalidArgumentError(
          `U-Net: expected an attentionMask of ${keys} keys, got ${form.attentionMask}; ` +
            'to mask the text pass encoderAttentionMask',
        );
      },
      context: (keys) => (form.encoderAttentionMask ? mask('encoderAttentionMask', keys) : undefined),
    },
  };
}

/** A call's form, its inputs, and those that {@link declareConditions} names `MASK.KEYS`. */
export interface ConditionValues {
  form: ConditionForm;
  inputs: ModelInputs;
  /** @param names of all declared inputs, with their shapes */
  masks(names: Iterable<readonly [string, readonly number[]]>): ModelInputs;
}

/**
 * Checks what the caller passed, and computes features.
 * @param stored weights that the host computes with, by key
 * @throws InvalidArgumentError for what is missing, of another shape, or not read by this network
 */
export function readConditions(
  where: string,
  c: EncoderConfig,
  batch: number,
  args: ConditionArguments,
  stored: (key: string) => Float32Array = () => new Float32Array(),
): ConditionValues {
  const inputs: Record<string, TensorData | Uint32Array> = {};
  const features = (values: readonly number[]) =>
    c.timeEmbeddingType === 'fourier'
      ? fourierEmbedding(values, stored('time_proj.weight'), { log: false, flipSinToCos: c.flipSinToCos })
      : sinusoidalEmbedding(values, c.blockOutChannels[0], { flipSinToCos: c.flipSinToCos, freqShift: c.freqShift });
  const take = (name: string, input: TensorInput | undefined, form: readonly (string | number)[]) => {
    if (!input)
      throw new InvalidArgumentError(`${where}: expected ${name} [${form.join(',')}] for this config, got none`);
    inputs[name] = input.data;
    return shapeOf(where, name, input, form);
  };
  const { textEmbeds, timeIds, imageEmbeds, hint } = args.addedCondKwargs ?? {};
  const form: ConditionForm = { ...probeForm(c, 1), batch, objects: 0 };

  inputs.timestep = features(perItem(where, 'timestep', args.timestep, batch));
  form.timestepCond = args.timestepCond !== undefined;
  if (form.timestepCond) {
    if (c.timeCondProjDim === null) throw unread(where, 'timestepCond');
    take('timestepCond', args.timestepCond, [batch, c.timeCondProjDim]);
  }
  if (c.classEmbedding === 'none') {
    if (args.classLabels !== undefined) throw unread(where, 'classLabels');
  } else inputs.classLabels = classLabels(where, c, batch, args.classLabels, features);
  if (form.tokens > 0) {
    form.tokens = take('encoderHiddenStates', args.encoderHiddenStates, [batch, 'S', contextDim(c)])[1];
  }
  if (c.addition === 'text_time') {
    if (timeIds?.shape.length !== 2 || timeIds.shape[0] !== batch || timeIds.data.length !== batch * timeIds.shape[1]) {
      throw new InvalidArgumentError(
        `${where}: expected timeIds [${batch},n], got ${timeIds?.shape.join('×') ?? 'none'}`,
      );
    }
    form.timeIds = timeIds.shape[1];
    const { flipSinToCos, freqShift } = c;
    inputs.timeIds = sinusoidalEmbedding(Array.from(timeIds.data), c.additionTimeEmbedDim!, {
      flipSinToCos,
      freqShift,
    });
    take('textEmbeds', textEmbeds, [batch, textDim(c, form.timeIds)]);
  }
  if (c.addition === 'text_image') take('textEmbeds', textEmbeds, [batch, textDim(c, 0)]);
  if (readsImage(c)) take('imageEmbeds', imageEmbeds, [batch, imageDim(c)]);
  if (form.hint) {
    const [, , height, width] = take('hint', hint, [batch, 3, 'H', 'W']);
    form.hint = [height, width];
  }
  const { gligen } = args.crossAttentionKwargs ?? {};
  if (gligen) {
    if (c.objectAttention === 'default') throw unread(where, 'crossAttentionKwargs.gligen');
    const sizes = { batch, channels: c.crossAttentionDim[0] };
    const objects = readObjects(where, c.objectAttention, gligen, sizes, stored);
    Object.assign(inputs, objects.inputs);
    form.objects = objects.count;
  }
  const masks: Record<string, Bias> = {};
  for (const name of ['attentionMask', 'encoderAttentionMask'] as const) {
    const mask = args[name];
    if (mask) masks[name] = bias(where, name, mask, batch, name === 'attentionMask' ? undefined : form.tokens);
  }
  form.attentionMask = masks.attentionMask?.keys ?? 0;
  form.encoderAttentionMask = masks.encoderAttentionMask !== undefined;
  return { form, inputs, masks: (names) => widened(names, masks, batch) };
}

function classLabels(
  where: string,
  c: EncoderConfig,
  batch: number,
  labels: ConditionArguments['classLabels'],
  features: (values: readonly number[]) => Float32Array,
): TensorData | Uint32Array {
  if (c.classEmbedding === 'table' || c.classEmbedding === 'timestep') {
    const values = labels && 'shape' in labels ? [...(labels.data as Float32Array)] : (labels ?? []);
    if (c.classEmbedding === 'table') return labelsOf(where, values, batch, c.numClassEmbeds!);
    return features(perItem(where, 'class timestep', values, batch));
  }
  const D = classDim(c)!;
  const given = labels && ('shape' in labels ? labels : { data: Float32Array.from(labels), shape: [batch, D] });
  if (!given)
    throw new InvalidArgumentError(`${where}: expected classLabels [${batch},${D}] for this config, got none`);
  shapeOf(where, 'classLabels', given, [batch, D]);
  return given.data;
}

interface Bias {
  /** [B,keys]. */
  values: Float32Array;
  keys: number;
}

/** What the reference adds to the scores of hidden keys. */
const HIDDEN = -10000;

function bias(where: string, name: string, mask: MaskInput, batch: number, keys: number | undefined): Bias {
  const [B, K] = mask.shape;
  if (mask.shape.length === 2 && B === batch && mask.data.length === B * K && K > 0 && (keys ?? K) === K) {
    return { values: Float32Array.from(mask.data, (keep) => (1 - keep) * HIDDEN), keys: K };
  }
  throw new InvalidArgumentError(
    `${where}: expected ${name} [${batch},${keys ?? 'keys'}] with as many values, got [${mask.shape.join(',')}] and ` +
      `${mask.data.length} values`,
  );
}

/** The masks at the lengths that a recording asks for, nothing hidden behind their end. */
function widened(
  names: Iterable<readonly [string, readonly number[]]>,
  masks: Readonly<Record<string, Bias>>,
  batch: number,
): ModelInputs {
  const inputs: Record<string, Float32Array> = {};
  for (const [name, shape] of names) {
    const mask = masks[name.split('.')[0]];
    if (!mask || !name.includes('.')) continue;
    const length = shape[2];
    const wide = new Float32Array(batch * length);
    for (let b = 0; b < batch; b++) wide.set(mask.values.subarray(b * mask.keys, (b + 1) * mask.keys), b * length);
    inputs[name] = wide;
  }
  return inputs;
}

function unread(where: string, name: string): InvalidArgumentError {
  return new InvalidArgumentError(`${where}: expected no ${name}, this config does not read it; omit it`);
}
