/** The kinds of Stable Diffusion by the names of their pipelines, and what each does without being told. */

/** What the reference library does without being told. */
export interface SdKind {
  /** Whether the network also reads a vector per text, and sizes. */
  readonly xl: boolean;
  readonly numInferenceSteps: number;
  readonly guidanceScale: number;
  /** Of image to image, and of filling a mask. */
  readonly strength: number;
  readonly maskStrength: number;
  /** Whether pictures are edited as a text says, seen by the network beside the state; Brooks et al. 2023. */
  readonly edits?: boolean;
}

const sd: SdKind = { xl: false, numInferenceSteps: 50, guidanceScale: 7.5, strength: 0.8, maskStrength: 1 };
const xl: SdKind = { xl: true, numInferenceSteps: 50, guidanceScale: 5, strength: 0.3, maskStrength: 0.9999 };
const lcm: SdKind = { ...sd, numInferenceSteps: 4, guidanceScale: 8.5 };

const edits: SdKind = { ...sd, numInferenceSteps: 100, edits: true };

/** By `_class_name`. */
export const SD_KINDS: Readonly<Record<string, SdKind>> = {
  StableDiffusionPipeline: sd,
  StableDiffusionImg2ImgPipeline: sd,
  StableDiffusionInpaintPipeline: sd,
  StableDiffusionControlNetPipeline: sd,
  StableDiffusionInstructPix2PixPipeline: edits,
  LatentConsistencyModelPipeline: lcm,
  LatentConsistencyModelImg2ImgPipeline: lcm,
  StableDiffusionXLPipeline: xl,
  StableDiffusionXLImg2ImgPipeline: xl,
  StableDiffusionXLInpaintPipeline: { ...xl, guidanceScale: 7.5 },
  StableDiffusionXLControlNetPipeline: xl,
  StableDiffusionXLInstructPix2PixPipeline: { ...xl, numInferenceSteps: 100, edits: true },
};
