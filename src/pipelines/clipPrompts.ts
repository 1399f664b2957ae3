/** Prompts through CLIP: tokenizer and text encoder of a folder. */
import type { Device } from '../engine/index.ts';
import type { Directory } from '../loading/index.ts';
import { Tokenizer } from '../loading/tokenizers/tokenizer.ts';
import { encodeClipPrompts } from '../models/textEncoders/clipPrompts.ts';
import { CLIPTextModel } from '../models/textEncoders/clipTextModel.ts';
import type { LoadOptions } from '../models/index.ts';
import type { PromptEncoder } from './promptEncoder.ts';

/** A text encoder that can be asked and given back. */
export interface PromptModel {
  encode: PromptEncoder;
  dispose(): void;
  readonly weightBytes: number;
}

/**
 * Opens `tokenizer/` and `text_encoder/`.
 * @throws NotFoundError, FormatError, ConfigError, WeightError, UnsupportedError where the tokenizer's library is not
 * installed, OutOfMemoryError, AbortedError; nothing is left behind.
 */
export async function openClipPrompts(device: Device, directory: Directory, load: LoadOptions): Promise<PromptModel> {
  const tokenizer = await Tokenizer.open(directory.folder('tokenizer'), load);
  const model = await CLIPTextModel.load(device, directory.folder('text_encoder'), load);
  return {
    encode: async (prompts, options) => {
      const { data, shape } = await encodeClipPrompts(tokenizer, model, prompts, options);
      return { data, shape: [shape[0], shape[1], shape[2]] };
    },
    dispose: () => model.dispose(),
    get weightBytes() {
      return model.weightBytes;
    },
  };
}
