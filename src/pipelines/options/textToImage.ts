/** What users of text → picture give. */
import type { TruncationWarning } from '../../loading/tokenizers/tokenizer.ts';
import type { TensorInput } from '../../models/index.ts';
import type { SchedulerClass } from '../../sampler/index.ts';
import type { AttentionMapOptions } from './attentionMaps.ts';
import type { GenerationOptions } from './generation.ts';
import type { ImageInput } from '../picture/imageInput.ts';

/** Height and width, or top and left, in pixels. */
type Pair = readonly [number, number];

/** What SDXL is told of the pictures it was trained on. Podell et al. 2023, section 2.2. */
export interface SizeConditions {
  /** Height and width before the picture was scaled; default the result's. */
  originalSize?: Pair;
  /** Top and left of what was cut out; default 0, 0. */
  cropsCoordsTopLeft?: Pair;
  /** Height and width that were aimed at; default the result's. */
  targetSize?: Pair;
  /** The same for the unconditional half; default those above. */
  negativeOriginalSize?: Pair;
  negativeCropsCoordsTopLeft?: Pair;
  negativeTargetSize?: Pair;
  /** The refiner's, in place of the target size; defaults 6 and 2.5. */
  aestheticScore?: number;
  negativeAestheticScore?: number;
}

/**
 * What one call takes; by default 50 steps with a guidance scale of 7.5 (SDXL 5, LCM 4 steps with 8.5). Few-step models
 * (Turbo) want a guidance scale of 0: one evaluation per step.
 */
export interface TextToImageOptions extends GenerationOptions, SizeConditions {
  /** What to see: one text, or several. */
  prompt?: string | readonly string[];
  /** What not to see: one text, or as many as prompts; default nothing. */
  negativePrompt?: string | readonly string[];
  /** What the second text encoder reads (SDXL, SD3, Flux), and the third (SD3); default the same. */
  prompt2?: string | readonly string[];
  prompt3?: string | readonly string[];
  negativePrompt2?: string | readonly string[];
  negativePrompt3?: string | readonly string[];
  /**
   * Tokens of T5 per prompt (SD3 256, Flux 512), at most 512. Without T5 (SD3) as many zeros, by default as CLIP has.
   */
  maxSequenceLength?: number;
  /** In place of prompts: text states on the host, [N,S,E]. */
  promptEmbeds?: TensorInput;
  /** In place of negative prompts: [N,S,E] or [1,S,E]. */
  negativePromptEmbeds?: TensorInput;
  /** With promptEmbeds, for models that read one vector per text as well: [N,P]. */
  pooledPromptEmbeds?: TensorInput;
  /** [N,P] or [1,P]. */
  negativePooledPromptEmbeds?: TensorInput;
  /**
   * Flux: guidance between the prompt and the negative prompt, which doubles the work; above 1, and where a negative
   * prompt is given. `guidanceScale` is what the network was distilled with. Default 1.
   */
  trueCfgScale?: number;
  /**
   * Flux: `latents` are tokens [B,T,4C] on their way in and out, as the reference library has them; default [B,C,h,w].
   */
  packedLatents?: boolean;
  /** Pictures per prompt; default 1. */
  numImagesPerPrompt?: number;
  /**
   * Guide only where low < sigma/alpha ≤ high (Kynkäänniemi et al. 2024); elsewhere the conditional network alone is
   * evaluated, which is half the work. Default everywhere.
   */
  guidanceInterval?: readonly [low: number, high: number];
  /**
   * Another scheduler: a class, which takes over the fields of the folder's config, or a whole config in its place
   * (`{ ...pipe.schedulerConfig, use_karras_sigmas: true }`).
   */
  scheduler?: SchedulerClass | Readonly<Record<string, unknown>>;
  /** LCM: steps of the teacher's solver, in place of the config's. */
  originalInferenceSteps?: number;
  /** Layers of the text encoder to leave out at the end, for the prompt but not the negative one; default 0. */
  clipSkip?: number;
  /**
   * Stable Diffusion: where the network looks for words of the prompt, `attentionMaps` of the result. Evaluations that
   * are looked at read a little back; a run without this option does nothing for it.
   */
  attentionMaps?: AttentionMapOptions;
  /** Told of a prompt that is longer than the text encoder takes; what is beyond is left out. */
  onWarning?: (warning: TruncationWarning) => void;
  /**
   * Image to image: where to start, a picture for each result or one for all: pixels, or latents as another pipeline
   * left them. The size follows from it.
   */
  image?: ImageInput;
  /** How far to go from `image`, in (0, 1]; default 0.8, with a mask 1 (SDXL 0.3 and 0.9999, SD3 and Flux 0.6). */
  strength?: number;
  /**
   * Part of the schedule, 0 … 1, after which to stop with what is noisy still: `latents` are for another pipeline's
   * `image`, which goes on from the same `denoisingStart` (and with a mask keeps what is known; `strength` then says
   * nothing). SDXL's base and refiner. Podell et al. 2023, section 2.5.
   */
  denoisingEnd?: number;
  denoisingStart?: number;
  /** InstructPix2Pix: how closely `image` is followed, ≥ 1; default 1.5. Brooks et al. 2023, section 3.2.1. */
  imageGuidanceScale?: number;
  /**
   * Inpainting: 1 (white) where something new is wanted, 0 where `image` stays; one channel, of the picture's size. A
   * network of nine channels is shown both, and may change what lies around.
   */
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
