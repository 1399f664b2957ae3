/** What users of class → picture give and get. */
import type { GenerationOptions, GenerationResult } from './generation.ts';
import type { ClassLabel } from './labels.ts';

/** What one call takes; `guidanceScale` is 4 by default. */
export interface ClassToImageOptions extends GenerationOptions {
  /** One class, or one per picture: an index or a name of {@link ClassLatentDiffusionPipeline.labels}. */
  classLabels: ClassLabel | readonly ClassLabel[];
  /**
   * Guide only where low < sigma/alpha ≤ high (Kynkäänniemi et al. 2024); elsewhere the conditional network alone is
   * evaluated, which is half the work. Default everywhere.
   */
  guidanceInterval?: readonly [low: number, high: number];
  /** Pictures per class; default 1. */
  numImagesPerClass?: number;
  /** `ddim` or `ddpm`; default what the scheduler's config says. */
  sampler?: 'ddim' | 'ddpm';
}

/** numImagesPerClass pictures of each class, in the order of classLabels. */
export type ClassToImageResult = GenerationResult;
