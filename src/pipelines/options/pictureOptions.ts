/** What users of pipelines without texts give: unconditional ones, consistency models, super-resolution. */
import type { SchedulerClass } from '../../sampler/index.ts';
import type { GenerationOptions, GenerationResult } from './generation.ts';
import type { ImageInput } from '../picture/imageInput.ts';
import type { TextToImageOptions } from './textToImage.ts';

type WithoutGuidance = Omit<GenerationOptions, 'guidanceScale' | 'guidanceRescale'>;

/** What one call takes, beside steps, noise and size. */
export interface UnconditionalOptions extends WithoutGuidance {
  /** Pictures; default 1. */
  batchSize?: number;
  /**
   * For networks that know classes: one for all pictures, or one each; for those that take an embedding, its values. A
   * consistency model draws them where they are left out.
   */
  classLabels?: number | readonly number[] | Float32Array;
  /** DDIM: ε follows the clipped picture (Song et al. 2021, section 4.1 with clipping); default false. */
  useClippedModelOutput?: boolean;
  /**
   * Another scheduler: a class, which takes over the fields of the folder's config, or a whole config in its place. Not
   * for kinds that have one scheduler only (score-based, Karras).
   */
  scheduler?: SchedulerClass | Readonly<Record<string, unknown>>;
}

/** What one call gives. */
export interface UnconditionalResult extends GenerationResult {
  /** The classes of the pictures, where the network knows classes by number. */
  classLabels?: readonly number[];
}

/** What one call of super-resolution takes; the size follows from the picture. */
export interface SuperResolutionOptions
  extends Omit<WithoutGuidance, 'width' | 'height'>, Pick<UnconditionalOptions, 'scheduler'> {
  /** Low-resolution pictures, one for each result. */
  image: ImageInput;
}

/** What one call of text-guided super-resolution takes; by default 75 steps with a guidance scale of 9. */
export interface UpscaleOptions extends Pick<
  TextToImageOptions,
  | 'prompt'
  | 'negativePrompt'
  | 'promptEmbeds'
  | 'negativePromptEmbeds'
  | 'numImagesPerPrompt'
  | 'clipSkip'
  | 'guidanceInterval'
  | 'scheduler'
  | 'onWarning'
  | Exclude<keyof GenerationOptions, 'width' | 'height'>
> {
  /** Low-resolution pictures: one for each prompt, or one for all. The size follows from them. */
  image: ImageInput;
  /** How noisy the picture is made before the network sees it: 0 … the folder's `max_noise_level`; default 20. */
  noiseLevel?: number;
}
