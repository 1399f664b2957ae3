/**
 * Objects that a picture is to hold and where: boxes with features of a phrase, of a picture, or of both.
 * `GLIGENTextBoundingboxProjection` in diffusers. Li et al. 2023, section 3.1, https://arxiv.org/abs/2301.07093
 */
import { InvalidArgumentError, numel, type Tensor } from '../../engine/index.ts';
import { dense } from '../layers.ts';
import { joinTokens } from '../transformers/tokens.ts';
import type { WeightScope } from '../weightScope.ts';

/** Where a U-Net looks at objects: nowhere, at phrases, or at phrases and pictures. */
export const OBJECT_ATTENTIONS = ['default', 'gated', 'gated-text-image'] as const;
export type ObjectAttention = (typeof OBJECT_ATTENTIONS)[number];

/** Values on the host. */
interface HostInput {
  data: ArrayLike<number>;
  shape: readonly number[];
}

/** Objects of a call; those that a mask hides are as if there were none, but must be there. */
export interface ObjectInputs {
  /** Left, top, right, bottom in 0 … 1 of the picture, [B,N,4]. */
  boxes: HostInput;
  /** 1 for an object, 0 for none, [B,N]. */
  masks: HostInput;
  /** With `gated`: features of phrases [B,N,E]. */
  positiveEmbeddings?: HostInput;
  /** With `gated-text-image`: features of phrases and pictures [B,N,E], and which of them there are, [B,N]. */
  phrasesEmbeddings?: HostInput;
  imageEmbeddings?: HostInput;
  phrasesMasks?: HostInput;
  imageMasks?: HostInput;
}

/** Frequencies of a coordinate's features. */
const FREQUENCIES = 8;
/** Features of a box: sine and cosine of each frequency and coordinate. */
export const BOX_FEATURES = FREQUENCIES * 2 * 4;
const HIDDEN = 512;

/** Which features an object has, by the suffix of their layers' names. */
const KINDS = {
  default: [],
  gated: [{ suffix: '', missing: 'positive', features: 'positiveEmbeddings', masks: 'masks' }],
  'gated-text-image': [
    { suffix: '_text', missing: 'text', features: 'phrasesEmbeddings', masks: 'phrasesMasks' },
    { suffix: '_image', missing: 'image', features: 'imageEmbeddings', masks: 'imageMasks' },
  ],
} as const;

/** Keys of what stands for a box or features that there are not; the host puts them in. */
export const missingFeatures = (attention: ObjectAttention): string[] =>
  attention === 'default'
    ? []
    : ['position', ...KINDS[attention].map(({ missing }) => missing)].map(
        (name) => `position_net.null_${name}_feature`,
      );

/** Names of the inputs, [B,N,E + box features] each. */
export const objectInputs = (attention: ObjectAttention): string[] =>
  KINDS[attention].map(({ suffix }) => `objects${suffix}`);

/** Features of objects and boxes [B,N,E + box features], one tensor per kind → [B,N or 2N,E]. */
export function embedObjects(
  w: WeightScope,
  attention: ObjectAttention,
  inputs: readonly Tensor[],
  width: number,
): Tensor {
  w.param('null_position_feature', [BOX_FEATURES]);
  const all = KINDS[attention].map(({ suffix, missing }, i) => {
    const x = inputs[i];
    w.param(`null_${missing}_feature`, [x.shape[2] - BOX_FEATURES]);
    const at = w.at(`linears${suffix}`);
    const h = dense(at.at(0), x, HIDDEN, { act: 'silu' }); // [B,N,512]
    return dense(at.at(4), dense(at.at(2), h, HIDDEN, { act: 'silu' }), width); // [B,N,E]
  });
  return all.reduce(joinTokens); // [B,N or 2N,E]
}

/**
 * The inputs of {@link embedObjects} by their names, and how many objects there are.
 * @param stored what stands for features that there are not, by key
 * @throws InvalidArgumentError for what is missing or of another shape
 */
export function readObjects(
  where: string,
  attention: ObjectAttention,
  given: ObjectInputs,
  { batch, channels }: { batch: number; channels: number },
  stored: (key: string) => Float32Array,
): { count: number; inputs: Record<string, Float32Array> } {
  const take = (name: keyof ObjectInputs, form: readonly (number | string)[]): HostInput => {
    const value = given[name];
    const fits =
      value?.shape.length === form.length &&
      form.every((n, i) => typeof n === 'string' || n === value.shape[i]) &&
      value.data.length === numel(value.shape);
    if (value && fits) return value;
    throw new InvalidArgumentError(
      `${where}: expected gligen.${name} [${form.join(',')}] on the host, got ${value ? `[${value.shape.join(',')}]` : 'none'}`,
    );
  };
  const { data: boxes, shape } = take('boxes', [batch, 'N', 4]);
  const count = shape[1];
  if (count === 0) throw new InvalidArgumentError(`${where}: expected an object at least, got none; leave out gligen`);
  const masks = take('masks', [batch, count]).data;
  const [position, ...missing] = missingFeatures(attention).map(stored);
  const inputs: Record<string, Float32Array> = {};
  KINDS[attention].forEach(({ suffix, features, masks: own }, k) => {
    const values = take(features, [batch, count, channels]).data;
    const there = take(own, [batch, count]).data;
    const width = channels + BOX_FEATURES;
    const out = new Float32Array(batch * count * width);
    for (let i = 0; i < batch * count; i++) {
      for (let c = 0; c < channels; c++) {
        out[i * width + c] = values[i * channels + c] * there[i] + (1 - there[i]) * missing[k][c];
      }
      for (let j = 0; j < BOX_FEATURES; j++) {
        out[i * width + channels + j] = boxFeature(boxes, i, j) * masks[i] + (1 - masks[i]) * position[j];
      }
    }
    inputs[`objects${suffix}`] = out;
  });
  return { count, inputs };
}

/** Feature j of box i: frequency by frequency, sine before cosine, the four coordinates of each. */
function boxFeature(boxes: ArrayLike<number>, i: number, j: number): number {
  const [frequency, cosine, coordinate] = [Math.floor(j / 8), Math.floor(j / 4) % 2, j % 4];
  const angle = 100 ** (frequency / FREQUENCIES) * boxes[4 * i + coordinate];
  return cosine ? Math.cos(angle) : Math.sin(angle);
}
