/** What users of unCLIP give and get. */
import type { TensorInput } from '../../models/index.ts';
import type { GenerationOptions, GenerationResult, StepProgress } from '../options/generation.ts';
import type { ImageInput } from '../picture/imageInput.ts';
import type { TextToImageOptions } from '../options/textToImage.ts';

/** A step of one of the stages; what the prior makes is no picture, so its previews are empty. */
export interface UnclipStep extends StepProgress {
  stage: 'prior' | 'decoder' | 'superRes';
}

/** What both kinds take. */
export interface UnclipDecoderOptions extends Pick<GenerationOptions, 'generator' | 'checkFinite' | 'signal'> {
  /** Default 25. */
  decoderNumInferenceSteps?: number;
  /** Default 7. */
  superResNumInferenceSteps?: number;
  /** w of u + w·(c − u) in the decoder; default 8, and 1 or less is no guidance. */
  decoderGuidanceScale?: number;
  /** Unit noise of the decoder [B,3,h,w], in place of the generator's. */
  decoderLatents?: Float32Array;
  /** Unit noise of what enlarges [B,3,H,W], in place of the generator's. */
  superResLatents?: Float32Array;
  /** Pictures per prompt, or per picture to vary; default 1. */
  numImagesPerPrompt?: number;
  /** Called after each step of every stage and awaited. */
  onStep?: (event: UnclipStep) => void | Promise<void>;
}

/** What one call takes: a prompt, or what the text encoder makes of one. */
export interface UnclipOptions
  extends UnclipDecoderOptions, Pick<TextToImageOptions, 'prompt' | 'negativePrompt' | 'onWarning'> {
  /** Steps of the prior; default 25. */
  priorNumInferenceSteps?: number;
  /** w of u + w·(c − u) in the prior; default 4, and 1 or less is no guidance. */
  priorGuidanceScale?: number;
  /** Unit noise of the prior [B,E], in place of the generator's. */
  priorLatents?: Float32Array;
  /** In place of prompts: embeddings [N,E] and states [N,S,E] of the text encoder, on the host. */
  textModelOutput?: { textEmbeds: TensorInput; lastHiddenState: TensorInput };
  /** With it: 1 for states that are text and 0 for padding, [N,S]. */
  textAttentionMask?: { data: ArrayLike<number>; shape: readonly number[] };
}

/** What one call takes: pictures, or what the picture encoder makes of them. */
export interface UnclipVariationOptions extends UnclipDecoderOptions {
  /** Pictures to vary, of any size. */
  image?: ImageInput | readonly ImageInput[];
  /** In its place: what the picture processor makes of them, [N,3,side,side]. */
  pixelValues?: TensorInput;
  /** In its place: embeddings [N,E] of the picture encoder, on the host. */
  imageEmbeddings?: TensorInput;
}

/** What one call gives; `latents` are the pictures in −1 … 1. */
export interface UnclipResult extends GenerationResult {
  /** What the decoder was told to paint, [B,E]. */
  imageEmbeddings: { data: Float32Array; shape: readonly [number, number] };
  /** What the decoder painted, before it was enlarged, [B,3,h,w] in −1 … 1. */
  small: { data: Float32Array; shape: readonly [number, number, number, number] };
}
