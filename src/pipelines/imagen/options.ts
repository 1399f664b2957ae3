/** What users of DeepFloyd IF give and get: Imagen's cascade of networks in pixels. */
import type { GenerationOptions, GenerationResult, StepProgress } from '../options/generation.ts';
import type { ImageInput } from '../picture/imageInput.ts';
import type { TextToImageOptions } from '../options/textToImage.ts';

/** Texts, or what T5 makes of them. */
export type IfTexts = Pick<
  TextToImageOptions,
  'prompt' | 'negativePrompt' | 'promptEmbeds' | 'negativePromptEmbeds' | 'numImagesPerPrompt' | 'onWarning' | 'signal'
>;

/** What one call of the first stage takes; by default 100 steps with a guidance scale of 7. Texts are lower-cased. */
export interface IfOptions
  extends GenerationOptions, IfTexts, Pick<TextToImageOptions, 'guidanceInterval' | 'scheduler'> {}

/** What one call of a stage that enlarges takes; by default 50 steps with a guidance scale of 4. */
export interface IfSuperResolutionOptions extends IfOptions {
  /** Small pictures: one for each prompt, or one for all. */
  image: ImageInput;
  /** How noisy the enlarged picture is made before the network sees it: a training timestep; default 250. */
  noiseLevel?: number;
}

/** A step of one of the stages. */
export interface CascadeStep extends StepProgress {
  stage: 'base' | 'superResolution' | 'upscaler';
}

/** What a stage of a cascade may be told of its own. */
export type StageOptions = Pick<
  IfOptions,
  'numInferenceSteps' | 'timesteps' | 'guidanceScale' | 'guidanceRescale' | 'guidanceInterval' | 'scheduler' | 'latents'
>;

/** What one call of a cascade takes. */
export interface CascadeOptions
  extends IfTexts, Pick<GenerationOptions, 'generator' | 'checkFinite' | 'width' | 'height'> {
  base?: StageOptions;
  superResolution?: StageOptions & { noiseLevel?: number };
  /** By default a noise level of 100. */
  upscaler?: StageOptions & { noiseLevel?: number };
  /** Called after each step of every stage and awaited. */
  onStep?: (event: CascadeStep) => void | Promise<void>;
}

/** What one call of a cascade gives. */
export interface CascadeResult extends GenerationResult {
  /** What the stages before the last made, the smallest first, in −1 … 1. */
  smaller: { data: Float32Array; shape: readonly [number, number, number, number] }[];
}
