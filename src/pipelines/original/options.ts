/** What users of networks in their authors' folders give and get. */
import type { GeneralSamplerOptions } from '../../sampler/edm/generalSampler.ts';
import type { PredictorCorrectorOptions } from '../../sampler/sde/predictorCorrector.ts';
import type { GenerationOptions, GenerationResult } from '../options/generation.ts';
import type { ImageInput } from '../picture/imageInput.ts';
import type { LikelihoodCall } from '../pixelDiffusion/pictureLikelihood.ts';
import type { ClassChoice } from './pixelPipeline.ts';

type Foreign = 'guidanceScale' | 'guidanceRescale' | 'brownian' | 'sigmas' | 'timesteps' | 'eta';

/** What all of them take. */
interface CommonOptions extends Omit<GenerationOptions, Foreign> {
  /** Pictures; default one per class label or seed. */
  batchSize?: number;
  /** A seed per picture, in place of `generator`: a picture then does not depend on the others of its batch. */
  seeds?: readonly (number | bigint)[];
}

/** What one call gives; latents are the pixels as the network has them. */
export interface ClassedResult extends GenerationResult {
  /** The classes of the pictures, where the network knows some by number. */
  classLabels?: readonly number[];
}

type EdmChoices = Pick<
  GeneralSamplerOptions,
  | ('discretization' | 'schedule' | 'scaling' | 'solver' | 'alpha' | 'rho' | 'epsilonS' | 'c1' | 'c2' | 'm')
  | ('sChurn' | 'sMin' | 'sMax' | 'sNoise')
>;

/** One call of {@link EDMPipeline}; the choices of its sampler are those of {@link generalSampler}. */
export interface EdmOptions extends CommonOptions, EdmChoices {
  /**
   * For networks of classes: one for all pictures or one each, or rows of `numClasses` values. Drawn at random where
   * they are left out, as the authors' script does; null says that no class is meant.
   */
  classLabels?: ClassChoice | Float32Array | null;
  /** Smallest and largest level, within those that the network knows; default 0.002 and 80. */
  sigmaMin?: number;
  sigmaMax?: number;
}

/** One call of {@link ScoreSDEPipeline}. What is left out is as the config's `sampling` section says. */
export interface ScoreSdeOptions
  extends CommonOptions, Omit<PredictorCorrectorOptions, 'onMove'>, Pick<LikelihoodCall, 'rtol' | 'atol'> {
  /** Predictor and corrector, or the probability flow by RK45, which chooses its steps itself. */
  method?: 'pc' | 'ode';
  /** The time at which the run ends, in (0, 1); default 1e-5 (variance exploding) or 1e-3. */
  end?: number;
}

/** One call of {@link NCSNv2Pipeline}; what is left out is as the config's `sampling` section says. */
export interface Ncsnv2Options extends Omit<CommonOptions, 'numInferenceSteps'> {
  /** Steps at each noise level, ≥ 1. */
  stepsEach?: number;
  /** Step size at the last level, > 0. */
  stepSize?: number;
  /** End with one step along the score without noise; default true. */
  denoise?: boolean;
  /** Where to start, in the range of the network's pictures, in place of uniform noise. */
  latents?: Float32Array;
}

/** Samplers of consistency_models by its own names. */
export const CONSISTENCY_SAMPLERS = ['onestep', 'multistep', 'heun', 'dpm', 'ancestral', 'euler', 'progdist'] as const;
/** One of {@link CONSISTENCY_SAMPLERS}. */
export type ConsistencySampler = (typeof CONSISTENCY_SAMPLERS)[number];

/** Ways to edit a picture. */
export const CONSISTENCY_EDITS = ['inpainting', 'colorization', 'superResolution'] as const;

/** One call of {@link ConsistencyPipeline}. */
export interface ConsistencyOptions extends CommonOptions {
  /** For networks of classes: one for all pictures or one each; drawn at random where they are left out. */
  classLabels?: ClassChoice;
  /** Default `onestep` for a consistency model, `progdist` or `heun` for others; `multistep` where `ts` are given. */
  sampler?: ConsistencySampler;
  /**
   * Places on the grid of `numInferenceSteps` levels (default 40) that are visited, rising, from 0, the noisiest:
   * `[0, 22, 39]` asks the network twice. For `multistep`, and for editing, where the default is every place.
   */
  ts?: readonly number[];
  /** Ends of the grid and its exponent; default what the config says, else 0.002, 80 and 7. */
  sigmaMin?: number;
  sigmaMax?: number;
  rho?: number;
  /** Noise put back before a step of `heun` and `dpm`. */
  sChurn?: number;
  sTmin?: number;
  sTmax?: number;
  sNoise?: number;
  /** Keeps what the picture is believed to be within −1 … 1; default true. Editing always does. */
  clipDenoised?: boolean;
  /** Changes a picture in place of making one from noise alone. */
  edit?: (typeof CONSISTENCY_EDITS)[number];
  /** What is edited: [B,3,H,W] in −1 … 1, or bytes. For `superResolution` it may be small. */
  image?: ImageInput;
  /** For `inpainting`: what to make anew, 0.5 … 1, and what to keep, [B,1,H,W] or bytes. */
  maskImage?: ImageInput;
  /**
   * For `superResolution`: side of the squares whose mean is known, pixels; default what enlarges a small image, else
   * 8.
   */
  patchSize?: number;
}

/** One call of any of them. */
export type OriginalOptions = EdmOptions | ScoreSdeOptions | Ncsnv2Options | ConsistencyOptions;
