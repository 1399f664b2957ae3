/** Prompts to what Stable Diffusion attends to: a tokenizer and CLIP's text model, one behind the other. */
import { ConfigError, InvalidArgumentError } from '../../engine/index.ts';
import type { Tokenizer, TruncationWarning } from '../../loading/tokenizers/tokenizer.ts';
import type { RunOptions } from '../modelRuntime.ts';
import type { CLIPTextModel } from './clipTextModel.ts';

/** How prompts are encoded. */
export interface ClipPromptOptions extends RunOptions {
  /** Layers to leave out from the end; the state is normed all the same. 0 is the last state. */
  clipSkip?: number;
  /** Told of prompts that are cut. */
  onWarning?: (warning: TruncationWarning) => void;
}

/**
 * Whether a tokenizer can be that of a text model.
 * @throws ConfigError where it has ids that the model does not know, or allows more tokens than the model places.
 */
export function checkTokenizer(tokenizer: Tokenizer, { config }: CLIPTextModel): void {
  if (tokenizer.vocabSize > config.vocabSize) {
    throw new ConfigError(
      `tokenizer: expected at most the ${config.vocabSize} tokens of the text encoder, got ${tokenizer.vocabSize}; take ` +
        'the tokenizer that belongs to it',
      'vocab_size',
    );
  }
  if ((tokenizer.maxLength ?? 0) > config.maxLength) {
    throw new ConfigError(
      `tokenizer: expected prompts of at most the ${config.maxLength} tokens that the text encoder places, got ` +
        `${tokenizer.maxLength}; take the tokenizer that belongs to it`,
      'model_max_length',
    );
  }
}

/**
 * Prompts → states [B,T,D] on the host, T the length of the text model, padded and cut as in training; padding is
 * looked at, as Stable Diffusion does.
 * @throws InvalidArgumentError for a clipSkip that leaves no layer; ConfigError for a tokenizer of another model;
 * otherwise as {@link CLIPTextModel.forward}.
 */
export async function encodeClipPrompts(
  tokenizer: Tokenizer,
  model: CLIPTextModel,
  prompts: string | readonly string[],
  { clipSkip = 0, onWarning, ...options }: ClipPromptOptions = {},
): Promise<{ data: Float32Array; shape: [number, number, number] }> {
  checkTokenizer(tokenizer, model);
  const { layers, hiddenSize, maxLength } = model.config;
  if (!Number.isInteger(clipSkip) || clipSkip < 0 || clipSkip >= layers) {
    throw new InvalidArgumentError(`generate: expected clipSkip from 0 to ${layers - 1}, got ${clipSkip}`);
  }
  const length = tokenizer.maxLength ?? maxLength;
  const { inputIds } = tokenizer.encode(prompts, { maxLength: length, onWarning });
  const { normedHiddenStates } = await model.hidden({
    ...options,
    inputIds,
    normedHiddenStates: [-1 - clipSkip],
  });
  const [state] = normedHiddenStates;
  return { data: await state.read(), shape: [inputIds.shape[0], length, hiddenSize] };
}
