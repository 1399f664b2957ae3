/** Prompts to what SDXL attends to: the states of two text models side by side, and the vector of the second. */
import { InvalidArgumentError } from '../../engine/index.ts';
import type { Tokenizer } from '../../loading/tokenizers/tokenizer.ts';
import { checkTokenizer, type ClipPromptOptions } from './clipPrompts.ts';
import type { CLIPTextModel, CLIPTextModelWithProjection } from './clipTextModel.ts';

/** A text model with its tokenizer. */
export interface TextEncoderPair<M = CLIPTextModel> {
  tokenizer: Tokenizer;
  model: M;
}

/** States and vector of a batch, on the host. */
export interface SdxlPrompts {
  /** [B,T,D1 + D2], not normed. */
  promptEmbeds: { data: Float32Array; shape: [number, number, number] };
  /** [B,projectionDim] */
  pooledPromptEmbeds: { data: Float32Array; shape: [number, number] };
}

/**
 * Prompts → the states before the last layer of each text model, and the projected end state of the second. Podell et
 * al. 2023, section 2.1.
 * @param first undefined for the refiner, which has the second alone
 * @param options.clipSkip more layers to leave out; default 0
 * @param options.prompts2 what the second model reads; default the same
 * @throws InvalidArgumentError where prompts or lengths differ in number; otherwise as `encodeClipPrompts`.
 */
export async function encodeSdxlPrompts(
  first: TextEncoderPair | undefined,
  second: TextEncoderPair<CLIPTextModelWithProjection>,
  prompts: string | readonly string[],
  options: ClipPromptOptions & { prompts2?: string | readonly string[] } = {},
): Promise<SdxlPrompts> {
  const { clipSkip = 0, onWarning, prompts2 = prompts, ...run } = options;
  const tokens = ({ tokenizer, model }: TextEncoderPair, texts: string | readonly string[]) => {
    checkTokenizer(tokenizer, model);
    const maxLength = tokenizer.maxLength ?? model.config.maxLength;
    return tokenizer.encode(texts, { maxLength, onWarning }).inputIds;
  };
  const state = -2 - clipSkip;
  const ids = tokens(second, prompts2);
  const own = first && tokens(first, prompts);
  const [B, T] = ids.shape;
  if (own && own.shape.join() !== ids.shape.join()) {
    throw new InvalidArgumentError(
      `generate: expected as many prompts and tokens for both text encoders, got [${own.shape}] and [${ids.shape}]; ` +
        'give prompts2 one text per prompt',
    );
  }
  const parts: { data: Float32Array; width: number }[] = [];
  if (first && own) {
    const { hiddenStates } = await first.model.hidden({ ...run, inputIds: own, hiddenStates: [state] });
    parts.push({ data: await hiddenStates[0].read(), width: first.model.config.hiddenSize });
  }
  const out = await second.model.forward({ ...run, inputIds: ids, hiddenStates: [state] });
  // Both are asked for at once: another call of the model writes where these lie.
  const [states, vectors] = await Promise.all([out.hiddenStates[0].read(), out.textEmbeds.read()]);
  parts.push({ data: states, width: second.model.config.hiddenSize });
  const width = parts.reduce((sum, part) => sum + part.width, 0);
  const data = new Float32Array(B * T * width);
  let at = 0;
  for (const part of parts) {
    for (let row = 0; row < B * T; row++) {
      data.set(part.data.subarray(row * part.width, (row + 1) * part.width), row * width + at);
    }
    at += part.width;
  }
  const pooled = {
    data: vectors,
    shape: [B, second.model.config.projectionDim] as [number, number],
  };
  return { promptEmbeds: { data, shape: [B, T, width] }, pooledPromptEmbeds: pooled };
}
