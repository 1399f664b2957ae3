/** Texts as unCLIP reads them: CLIP's embedding, its states, and which of them are padding. */
import { InvalidArgumentError, type Device } from '../../engine/index.ts';
import type { Directory } from '../../loading/index.ts';
import { Tokenizer } from '../../loading/tokenizers/tokenizer.ts';
import type { LoadOptions } from '../../models/index.ts';
import { checkTokenizer } from '../../models/textEncoders/clipPrompts.ts';
import { CLIPTextModelWithProjection } from '../../models/textEncoders/clipTextModel.ts';
import type { Owner } from '../run/basePipeline.ts';
import {
  conditionsOf,
  repeatedRows,
  type Conditions,
  type PromptEncoder,
  type TextStates,
} from '../prompts/promptEncoder.ts';
import type { UnclipOptions } from './options.ts';

/** A text with its vector and mask. */
export type UnclipText = Required<TextStates>;

/** A text encoder with its tokenizer. */
export interface UnclipTextEncoder {
  encode: PromptEncoder;
  /** Channels of states, and of embeddings. */
  readonly hiddenSize: number;
  readonly projectionDim: number;
  /** Tokens of a prompt. */
  readonly tokens: number;
}

/**
 * Opens `tokenizer/` and `text_encoder/`.
 * @throws NotFoundError, FormatError, ConfigError for a tokenizer of another model, WeightError, UnsupportedError where
 * the tokenizer's library is not installed, OutOfMemoryError, AbortedError
 */
export async function openUnclipTexts(
  device: Device,
  directory: Directory,
  load: LoadOptions,
  own: Owner,
): Promise<UnclipTextEncoder> {
  const tokenizer = await Tokenizer.open(directory.folder('tokenizer'), load);
  const model = await own(CLIPTextModelWithProjection.load(device, directory.folder('text_encoder'), load));
  checkTokenizer(tokenizer, model);
  const { hiddenSize, projectionDim, maxLength } = model.config;
  const tokens = tokenizer.maxLength ?? maxLength;
  return {
    hiddenSize,
    projectionDim,
    tokens,
    encode: async (prompts, { signal, onWarning }) => {
      const N = prompts.length;
      const { inputIds, attentionMask } = tokenizer.encode(prompts, { maxLength: tokens, onWarning });
      // The mask is for the networks behind; the text encoder itself looks at padding.
      const out = await model.forward({ inputIds, signal });
      // Asked for at once: another call of the model would write over what is not asked for yet.
      const [vectors, data] = await Promise.all([out.textEmbeds.read(), out.lastHiddenState.read()]);
      const pooled = { data: vectors, shape: [N, projectionDim] as const };
      return { data, shape: [N, tokens, hiddenSize], pooled, mask: Float32Array.from(attentionMask.data) };
    },
  };
}

/**
 * The texts of all pictures of a call, and those of guidance.
 * @throws InvalidArgumentError where neither or both of prompt and textModelOutput are given, or shapes do not fit
 */
export async function unclipTexts(
  encoder: UnclipTextEncoder,
  options: UnclipOptions,
  guided: boolean,
): Promise<{ text: UnclipText; negative: UnclipText | undefined }> {
  const { textModelOutput: given, textAttentionMask: mask, prompt, negativePrompt, numImagesPerPrompt } = options;
  const { signal, onWarning } = options;
  const states = { promptEmbeds: given?.lastHiddenState, pooledPromptEmbeds: given?.textEmbeds };
  const { text, negative }: Conditions = await conditionsOf(
    { prompt, negativePrompt, numImagesPerPrompt, signal, onWarning, ...states },
    encoder.encode,
    guided,
    { pooled: true },
  );
  const complete = given ? { ...text, mask: givenMask(options, text) } : text;
  if (!given && mask)
    throw new InvalidArgumentError('generate: expected textModelOutput with textAttentionMask, got none');
  return { text: complete as UnclipText, negative: negative as UnclipText | undefined };
}

function givenMask({ textAttentionMask: mask, numImagesPerPrompt: times = 1 }: UnclipOptions, text: TextStates) {
  const [N, S] = [text.shape[0] / times, text.shape[1]];
  const [rows, columns] = mask?.shape ?? [];
  if (mask?.shape.length === 2 && rows === N && columns === S && mask.data.length === N * S) {
    return repeatedRows(Float32Array.from(mask.data), N, times);
  }
  throw new InvalidArgumentError(
    `generate: expected textAttentionMask [${N},${S}] with textModelOutput, got ${mask ? `[${mask.shape.join()}]` : 'none'}; ` +
      'pass what the tokenizer gave',
  );
}

/**
 * Both halves of guidance behind each other, the negative one first, or the text alone.
 * @throws InvalidArgumentError when their states differ in shape.
 */
export function joined(text: UnclipText, negative: UnclipText | undefined): UnclipText {
  if (!negative) return text;
  if (negative.shape.join() !== text.shape.join()) {
    throw new InvalidArgumentError(
      `generate: expected textModelOutput with states of the shape [${negative.shape.join()}] that the text encoder gives for ` +
        `guidance, got [${text.shape.join()}]`,
    );
  }
  const both = (a: Float32Array, b: Float32Array) => {
    const all = new Float32Array(a.length + b.length);
    all.set(a);
    all.set(b, a.length);
    return all;
  };
  return {
    data: both(negative.data, text.data),
    shape: [2 * text.shape[0], text.shape[1], text.shape[2]],
    pooled: {
      data: both(negative.pooled.data, text.pooled.data),
      shape: [2 * text.shape[0], text.pooled.shape[1]],
    },
    mask: both(negative.mask, text.mask),
  };
}
