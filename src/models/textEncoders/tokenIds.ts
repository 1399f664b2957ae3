/** Tokens as text encoders take them: host data, checked before anything runs. */
import { formatShape, InvalidArgumentError, numel } from '../../engine/index.ts';
import { expectIds } from '../../kernels/index.ts';

/** Ids or mask of a batch of prompts, row-major: `shape` [B,T]. */
export interface TokenBatch {
  data: ArrayLike<number>;
  shape: readonly number[];
}

/** What a tokenizer gives a text encoder. */
export interface TextInput {
  inputIds: TokenBatch;
  /** 1 for a token, 0 for padding that nothing may look at; by default everything is looked at. */
  attentionMask?: TokenBatch;
}

/**
 * Batch and length of a text input.
 * @param maxLength most tokens that the model can place; undefined for any number
 * @throws InvalidArgumentError for another shape, ids beyond the vocabulary, or too many tokens.
 */
export function checkTokens(
  where: string,
  { inputIds, attentionMask }: TextInput,
  vocabSize: number,
  maxLength?: number,
): { batch: number; length: number } {
  for (const [name, t] of Object.entries({ inputIds, attentionMask })) {
    if (!t || (t.shape.length === 2 && t.shape.every((n) => n > 0) && numel(t.shape) === t.data.length)) continue;
    throw new InvalidArgumentError(
      `${where}: expected ${name} of shape [B,T] with as many elements, got ${formatShape(t.shape)} and ` +
        `${t.data.length} elements; pad the prompts to one length`,
    );
  }
  const [batch, length] = inputIds.shape;
  if (maxLength !== undefined && length > maxLength) {
    throw new InvalidArgumentError(
      `${where}: expected at most ${maxLength} tokens, got ${length}; truncate the prompt, as its tokenizer does`,
    );
  }
  if (attentionMask && attentionMask.shape.join() !== inputIds.shape.join()) {
    throw new InvalidArgumentError(
      `${where}: expected attentionMask of shape ${formatShape(inputIds.shape)} as inputIds has, got ` +
        formatShape(attentionMask.shape),
    );
  }
  expectIds(`${where} inputIds`, inputIds.data, vocabSize);
  return { batch, length };
}

/** What a key that nothing may look at adds to a score. */
export const HIDDEN = -Infinity;
