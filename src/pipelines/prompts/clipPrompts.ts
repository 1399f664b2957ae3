/** Prompts through CLIP: one text encoder with its tokenizer, or the two of SDXL. */
import { ConfigError, type Device } from '../../engine/index.ts';
import type { Directory } from '../../loading/index.ts';
import { Tokenizer } from '../../loading/tokenizers/tokenizer.ts';
import type { LoadOptions } from '../../models/index.ts';
import type { ModelSource } from '../../models/modelSource.ts';
import type { LoraUse } from '../../models/lora/mergeLoras.ts';
import { checkTokenizer, encodeClipPrompts } from '../../models/textEncoders/clipPrompts.ts';
import { CLIPTextModel, CLIPTextModelWithProjection } from '../../models/textEncoders/clipTextModel.ts';
import { encodeSdxlPrompts } from '../../models/textEncoders/sdxlPrompts.ts';
import type { PromptEncoder } from './promptEncoder.ts';

/** A text encoder that adapters can be merged into. */
export interface AdaptableText {
  part: 'text_encoder' | 'text_encoder_2';
  setLoras(uses: readonly LoraUse[], options?: { signal?: AbortSignal }): Promise<void>;
}

/** A text encoder that can be asked and given back. */
export interface PromptModel {
  encode: PromptEncoder;
  /** The encoders in it. */
  readonly texts: readonly AdaptableText[];
  /** Of CLIP, by which words are found among the states. */
  readonly tokenizer?: Tokenizer;
  dispose(): void;
  readonly weightBytes: number;
}

/** Where a text encoder and its tokenizer come from. */
export interface PromptSource {
  model: ModelSource;
  /** @throws as {@link Tokenizer.open} */
  tokenizer(): Promise<Tokenizer>;
}

/**
 * Opens `tokenizer/` and `text_encoder/`.
 * @throws NotFoundError, FormatError, ConfigError, WeightError, UnsupportedError where the tokenizer's library is not
 * installed, OutOfMemoryError, AbortedError; nothing is left behind.
 */
export function openClipPrompts(device: Device, directory: Directory, load: LoadOptions): Promise<PromptModel> {
  const tokenizer = () => Tokenizer.open(directory.folder('tokenizer'), load);
  return openClip(device, { model: directory.folder('text_encoder'), tokenizer }, load);
}

/** CLIP's text model of Stable Diffusion 1.x and 2.x. @throws as {@link openClipPrompts} */
export async function openClip(device: Device, source: PromptSource, load: LoadOptions): Promise<PromptModel> {
  const tokenizer = await source.tokenizer();
  const model = await CLIPTextModel.load(device, source.model, load);
  return {
    encode: async (prompts, { clipSkip, signal, onWarning }) => {
      const { data, shape } = await encodeClipPrompts(tokenizer, model, prompts, { clipSkip, signal, onWarning });
      return { data, shape: [shape[0], shape[1], shape[2]] };
    },
    texts: [adaptable('text_encoder', model)],
    tokenizer,
    dispose: () => model.dispose(),
    get weightBytes() {
      return model.weightBytes;
    },
  };
}

/**
 * SDXL's two text models; its refiner has the second alone.
 * @throws as {@link openClipPrompts}, and ConfigError for a tokenizer of another model
 */
export async function openSdxlPrompts(
  device: Device,
  sources: { first?: PromptSource; second: PromptSource },
  load: LoadOptions,
): Promise<PromptModel> {
  const tokenizers = [await sources.first?.tokenizer(), await sources.second.tokenizer()] as const;
  const first = sources.first && (await CLIPTextModel.load(device, sources.first.model, load));
  const give = () => first?.dispose();
  try {
    const second = await CLIPTextModelWithProjection.load(device, sources.second.model, load);
    try {
      const pairs = {
        first: first && { tokenizer: tokenizers[0]!, model: first },
        second: { tokenizer: tokenizers[1], model: second },
      };
      for (const pair of [pairs.first, pairs.second]) if (pair) checkTokenizer(pair.tokenizer, pair.model);
      const lengths = [pairs.first, pairs.second].flatMap(
        (p) => p && (p.tokenizer.maxLength ?? p.model.config.maxLength),
      );
      if (new Set(lengths.filter(Boolean)).size > 1) {
        throw new ConfigError(
          `tokenizer: expected both text encoders to read as many tokens, got ${lengths.join(' and ')}; take both from ` +
            'one pipeline',
          'model_max_length',
        );
      }
      return {
        encode: async (prompts, { clipSkip, signal, onWarning, prompts2 }) => {
          const run = { clipSkip, signal, onWarning, prompts2 };
          const { promptEmbeds, pooledPromptEmbeds } = await encodeSdxlPrompts(pairs.first, pairs.second, prompts, run);
          return { ...promptEmbeds, pooled: pooledPromptEmbeds };
        },
        tokenizer: tokenizers[1],
        texts: [...(first ? [adaptable('text_encoder', first)] : []), adaptable('text_encoder_2', second)],
        dispose() {
          give();
          second.dispose();
        },
        get weightBytes() {
          return (first?.weightBytes ?? 0) + second.weightBytes;
        },
      };
    } catch (error) {
      second.dispose();
      throw error;
    }
  } catch (error) {
    give();
    throw error;
  }
}

/** One of a pipeline's text encoders, for adapters. */
export const adaptable = (part: AdaptableText['part'], model: CLIPTextModel): AdaptableText => ({
  part,
  setLoras: (uses, options) => model.setLoras(uses, { part, ...options }),
});
