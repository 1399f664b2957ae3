/** What users of text → picture give. */
import type { TruncationWarning } from '../loading/tokenizers/tokenizer.ts';
import type { TensorInput } from '../models/index.ts';
import type { GenerationOptions } from './generation.ts';
import type { ImageInput } from './imageInput.ts';

/** What one call takes; by default 50 steps with a guidance scale of 7.5. */
export interface TextToImageOptions extends GenerationOptions {
  /** What to see: one text, or several. */
  prompt?: string | readonly string[];
  /** What not to see: one text, or as many as prompts; default nothing. */
  negativePrompt?: string | readonly string[];
  /** In place of prompts: text states on the host, [N,S,E]. */
  promptEmbeds?: TensorInput;
  /** In place of negative prompts: [N,S,E] or [1,S,E]. */
  negativePromptEmbeds?: TensorInput;
  /** Pictures per prompt; default 1. */
  numImagesPerPrompt?: number;
  /** Layers of the text encoder to leave out at the end; default 0. */
  clipSkip?: number;
  /** Told of a prompt that is longer than the text encoder takes; what is beyond is left out. */
  onWarning?: (warning: TruncationWarning) => void;
  /** Image to image: where to start, a picture for each result or one for all. The size follows from it. */
  image?: ImageInput;
  /** How much of the way is gone from `image`, in (0, 1]; default 0.8, with a mask 1. */
  strength?: number;
  /** Inpainting: 1 (white) where something new is wanted, 0 where `image` stays; one channel, of the picture's size. */
  maskImage?: ImageInput;
  /** For each ControlNet its picture, in 0 … 1, of the result's size. */
  controlImage?: ImageInput | readonly ImageInput[];
  /** Factor on what each ControlNet says; default 1. */
  controlnetConditioningScale?: number | readonly number[];
  /** The ControlNets act on the conditional half alone, and let the finer levels speak less; default false. */
  guessMode?: boolean;
  /** Part of the steps in which ControlNets act, from … to in 0 … 1; default all. */
  controlGuidanceStart?: number;
  controlGuidanceEnd?: number;
}
