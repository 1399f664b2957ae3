/** What users of guided-diffusion's models give and get. */
import type { GenerationOptions, GenerationResult, StepProgress } from '../options/generation.ts';
import type { ImageInput } from '../picture/imageInput.ts';
import type { ClassLabel } from '../options/labels.ts';

/** A step of one of the two stages. */
export interface AdmStep extends StepProgress {
  /** Small pictures first, then what enlarges them. */
  stage: 'base' | 'upsampler';
}

type Unused = 'guidanceScale' | 'guidanceRescale' | 'brownian' | 'sigmas' | 'onStep';

/** What one call takes. */
export interface AdmOptions extends Omit<GenerationOptions, Unused> {
  /**
   * One class for all pictures, or one per picture: an index or a name of the pipeline's labels. Drawn at random where
   * they are needed (by the network, or by the classifier) and left out, as the authors' scripts do.
   */
  classLabels?: ClassLabel | readonly ClassLabel[];
  /** Pictures; default one per class label. */
  batchSize?: number;
  /** Factor of the classifier's gradient; 0 leaves the classifier out. Default what the folder says, else 1. */
  classifierScale?: number;
  /**
   * Which of the trained timesteps are kept: "250", "ddim25", "10,10,40" (so many of each of equal sections). Default
   * `numInferenceSteps`, else what the folder says, else all.
   */
  timestepRespacing?: string | readonly number[];
  /** The same for the stage that enlarges; default what its config says. */
  upsamplerRespacing?: string | readonly number[];
  /** `ddpm` (default, unless the folder says otherwise) or `ddim`. */
  sampler?: 'ddpm' | 'ddim';
  /** Keeps what the picture is believed to be within −1 … 1; default true, unless the folder says otherwise. */
  clipDenoised?: boolean;
  /** Small pictures to enlarge, one for each result: the first stage is left out. */
  image?: ImageInput;
  /** Called after each step of either stage and awaited. */
  onStep?: (event: AdmStep) => void | Promise<void>;
}

/** What one call gives; latents are pixels in −1 … 1. */
export interface AdmResult extends GenerationResult {
  /** The classes of the pictures, where some were used. */
  classLabels?: readonly number[];
  /** What the first of two stages made, [B,3,h,w] in −1 … 1, in steps of a byte as the second one saw it. */
  small?: { data: Float32Array; shape: readonly number[] };
}
