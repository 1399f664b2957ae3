/**
 * Stages of Imagen's kind one behind the other, as DeepFloyd IF is used: text → 64² → 256², and where there is a third
 * stage → 1024² by Stable Diffusion's ×4 upscaler. T5 is asked once. Saharia et al. 2022,
 * https://arxiv.org/abs/2205.11487
 */
import { InvalidArgumentError, type Device } from '../../engine/index.ts';
import type { Directory } from '../../loading/index.ts';
import { loadParts } from '../run/basePipeline.ts';
import type { GenerationOptions, GenerationResult } from '../options/generation.ts';
import { generatorOf, type Generators } from '../run/latents.ts';
import type { SourceOptions } from '../source/source.ts';
import { StableDiffusionUpscalePipeline } from '../stableDiffusion/stableDiffusionUpscale.ts';
import { IFPipeline } from './ifPipeline.ts';
import type { IfLoadOptions } from './ifParts.ts';
import { IFSuperResolutionPipeline } from './ifSuperResolution.ts';
import type { CascadeOptions, CascadeResult, CascadeStep } from './options.ts';

/** The folders of the stages. */
export interface CascadeFolders {
  /** `IFPipeline`. */
  base: Directory;
  /** `IFSuperResolutionPipeline`; its text encoder is left out, since the first stage has the same. */
  superResolution: Directory;
  /** `StableDiffusionUpscalePipeline`. */
  upscaler?: Directory;
}

/** What each stage is. */
interface Stages {
  base: IFPipeline;
  superResolution: IFSuperResolutionPipeline;
  upscaler: StableDiffusionUpscalePipeline | undefined;
}

/** How noisy DeepFloyd make pictures for the third stage. */
const UPSCALER_NOISE = 100;

/** Texts → pictures in two or three stages. */
export class IFCascade {
  private constructor(
    /** The stages, to be used alone. */
    readonly stages: Stages,
  ) {}

  /** Loads the stages one after the other. @throws as their `load`; nothing is left behind */
  static load(
    device: Device,
    folders: CascadeFolders,
    options: IfLoadOptions & SourceOptions = {},
  ): Promise<IFCascade> {
    // A pipeline is given back like a part.
    const part = async <P extends { dispose(): Promise<void> }>(loading: Promise<P>) => {
      const pipeline = await loading;
      return { pipeline, weightBytes: 0, dispose: () => void pipeline.dispose() };
    };
    return loadParts(async (own) => {
      const { pipeline: base } = await own(part(IFPipeline.load(device, folders.base, options)));
      const second = IFSuperResolutionPipeline.load(device, folders.superResolution, {
        ...options,
        textEncoder: false,
      });
      const { pipeline: superResolution } = await own(part(second));
      const third = folders.upscaler && StableDiffusionUpscalePipeline.load(device, folders.upscaler, options);
      const upscaler = third && (await own(part(third))).pipeline;
      return new IFCascade({ base, superResolution, upscaler });
    });
  }

  /**
   * Texts → pictures through all stages, which draw from one generator one after the other.
   * @param options `width` and `height` are those of the second stage's pictures
   * @throws InvalidArgumentError for an option out of range, or for the third stage without prompts; otherwise as the
   * stages
   */
  async generate(options: CascadeOptions): Promise<CascadeResult> {
    const started = performance.now();
    const { base, superResolution, upscaler } = this.stages;
    const { numImagesPerPrompt: times = 1, signal, checkFinite, width, height } = options;
    if (upscaler && options.prompt === undefined) {
      throw new InvalidArgumentError(
        'generate: expected prompt, got none, and the third stage reads texts with an encoder of its own',
      );
    }
    const generator = generatorOf(options.generator);
    const { text, negative } = await base.conditions(options);
    const texts = { promptEmbeds: text, negativePromptEmbeds: negative };
    const common = (stage: CascadeStep['stage']): GenerationOptions & { generator: Generators } => ({
      generator,
      signal,
      checkFinite,
      onStep: options.onStep && ((event) => options.onStep!({ ...event, stage })),
    });
    const runs = [await base.generate({ ...options.base, ...common('base'), ...texts })];
    const smaller: CascadeResult['smaller'] = [];
    const B = text.shape[0];
    const next = (size: { width: number; height: number }) => {
      const { images, latents } = runs.at(-1)!;
      images.forEach((image) => image.dispose());
      smaller.push({ data: latents, shape: [B, 3, size.height, size.width] });
      return smaller.at(-1)!;
    };
    const second = { ...superResolution.sampleSize, ...(width && { width }), ...(height && { height }) };
    const image = next(base.sampleSize);
    runs.push(
      await superResolution.generate({
        ...options.superResolution,
        ...common('superResolution'),
        ...texts,
        ...second,
        image,
      }),
    );
    if (upscaler) {
      const each = (given: string | readonly string[] = '') =>
        [given].flat().flatMap((t) => Array<string>(times).fill(t));
      const negatives = each(options.negativePrompt);
      runs.push(
        await upscaler.generate({
          noiseLevel: UPSCALER_NOISE,
          ...options.upscaler,
          ...common('upscaler'),
          prompt: each(options.prompt),
          negativePrompt: negatives.length === B ? negatives : negatives[0],
          onWarning: options.onWarning,
          image: next(second),
        }),
      );
    }
    return { ...resultOf(runs, started), smaller };
  }

  /** Releases all stages; the device stays. */
  async dispose(): Promise<void> {
    const { base, superResolution, upscaler } = this.stages;
    for (const stage of [base, superResolution, upscaler]) await stage?.dispose();
  }
}

/** Pictures of the last stage, steps of all. */
function resultOf(runs: readonly GenerationResult[], started: number): GenerationResult {
  const last = runs.at(-1)!;
  const stepMs = runs.flatMap(({ timing }) => timing.stepMs);
  return { ...last, timing: { ...last.timing, totalMs: performance.now() - started, stepMs } };
}
