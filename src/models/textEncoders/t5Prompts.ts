/** Prompts to T5's states: a tokenizer and the encoder, one behind the other. */
import { ConfigError } from '../../engine/index.ts';
import type { Tokenizer, TokenizedPrompts, TruncationWarning } from '../../loading/tokenizers/tokenizer.ts';
import type { RunOptions } from '../modelRuntime.ts';
import type { T5EncoderModel } from './t5EncoderModel.ts';

/** How prompts are encoded. */
export interface T5PromptOptions extends RunOptions {
  /** Tokens per prompt, the end included; default 256 as in SD3 (Flux dev 512, IF 77). */
  maxSequenceLength?: number;
  /**
   * Whether padding is hidden from the tokens, as IF and PixArt have it; SD3 and Flux let it be looked at. Default
   * false.
   */
  maskPadding?: boolean;
  /** Told of prompts that are cut. */
  onWarning?: (warning: TruncationWarning) => void;
}

/**
 * Prompts → states [B,T,D] on the host, and the mask that says which of them are text.
 * @throws ConfigError for a tokenizer of another model; InvalidArgumentError for no prompt or too short a length;
 * otherwise as {@link T5EncoderModel.forward}.
 */
export async function encodeT5Prompts(
  tokenizer: Tokenizer,
  model: T5EncoderModel,
  prompts: string | readonly string[],
  { maxSequenceLength = 256, maskPadding = false, onWarning, ...options }: T5PromptOptions = {},
): Promise<{ data: Float32Array; shape: [number, number, number]; attentionMask: TokenizedPrompts['attentionMask'] }> {
  const { vocabSize, dModel } = model.config;
  // The encoder's table is rounded up to a multiple of 128: the tokenizer has no more than that.
  if (tokenizer.vocabSize > vocabSize) {
    throw new ConfigError(
      `tokenizer: expected at most the ${vocabSize} tokens of the text encoder, got ${tokenizer.vocabSize}; take the ` +
        'tokenizer that belongs to it',
      'vocab_size',
    );
  }
  const { inputIds, attentionMask } = tokenizer.encode(prompts, { maxLength: maxSequenceLength, onWarning });
  const { lastHiddenState } = await model.forward({
    ...options,
    inputIds,
    attentionMask: maskPadding ? attentionMask : undefined,
  });
  return { data: await lastHiddenState.read(), shape: [...inputIds.shape, dModel], attentionMask };
}
