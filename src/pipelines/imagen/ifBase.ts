/** What the stages of DeepFloyd IF share: texts, sizes, and the network of a run. */
import type { Device } from '../../engine/index.ts';
import type { Sampler } from '../../sampler/index.ts';
import { samplerFrom } from '../../sampler/diffusers/samplerFrom.ts';
import type { Vec } from '../../sampler/vec.ts';
import { BasePipeline, chosenScheduler, workOf, type RunShape } from '../run/basePipeline.ts';
import type { GenerationResult } from '../options/generation.ts';
import type { GpuSpace } from '../gpu/gpuSpace.ts';
import { runLatents, type LatentRun } from '../run/latentRun.ts';
import { latentSize, type LatentShape } from '../run/latents.ts';
import type { LoadPipelineOptions } from '../options/loadOptions.ts';
import { pixelDecoder } from '../run/pixelDecoder.ts';
import { conditionsOf, type Conditions } from '../prompts/promptEncoder.ts';
import { RunConditions, type MoreConditions } from '../stableDiffusion/conditions.ts';
import { sdDenoiser } from '../stableDiffusion/denoiser.ts';
import { IF_TOKENS, type IfParts } from './ifParts.ts';
import type { IfOptions, IfTexts } from './options.ts';

/** Beside texts and options. */
interface StageRun extends Pick<LatentRun, 'prepare'> {
  sampler: Sampler;
  shape: LatentShape;
  conditions: Conditions;
  more?: MoreConditions;
  /** What the network sees behind the state, once {@link LatentRun.prepare} is done. */
  beside?: () => Vec;
}

/** A U-Net in pixels that reads T5. */
export abstract class IfBase extends BasePipeline {
  protected constructor(
    device: Device,
    protected readonly parts: IfParts,
    onProgress: LoadPipelineOptions['onProgress'],
  ) {
    super(device, parts.all, pixelDecoder(device), onProgress);
  }

  /** The scheduler's config, as its folder has it. */
  get schedulerConfig(): Readonly<Record<string, unknown>> {
    return this.parts.scheduler;
  }

  /** Pixels themselves. */
  get downsampling(): number {
    return 1;
  }

  /** Width and height in pixels must be multiples of this. */
  get sizeMultiple(): number {
    return 2 ** (this.parts.unet.config.blockOutChannels.length - 1);
  }

  /** The size of results that the network was trained at, pixels; 0 where its config does not say. */
  get sampleSize(): { width: number; height: number } {
    const [height, width] = this.parts.unet.config.sampleSize ?? [0, 0];
    return { width, height };
  }

  /**
   * Texts, or states in their place, for each picture of a call.
   * @param guided whether the negative ones are wanted
   * @throws InvalidArgumentError where neither or both are given, or shapes do not fit
   */
  conditions(texts: IfTexts, guided = true): Promise<Conditions> {
    const { prompt, negativePrompt, promptEmbeds, negativePromptEmbeds, numImagesPerPrompt, onWarning, signal } = texts;
    const given = { promptEmbeds, negativePromptEmbeds, numImagesPerPrompt, onWarning, signal };
    return conditionsOf({ prompt, negativePrompt, ...given }, this.parts.encode, guided);
  }

  protected work(shape: RunShape) {
    const { unet } = this.parts;
    const both = { ...shape, batch: 2 * shape.batch, tokens: IF_TOKENS };
    return { network: workOf(unet, both) };
  }

  /** The steps of a call, and the size of its pictures. */
  protected start(options: IfOptions, batch: number): { sampler: Sampler; shape: LatentShape } {
    const sampler = samplerFrom(chosenScheduler(this.parts.scheduler, options.scheduler));
    return { sampler, shape: [batch, 3, ...latentSize(this, options)] };
  }

  protected async run(
    { sampler, shape, conditions: texts, more = {}, beside, prepare }: StageRun,
    options: IfOptions,
  ): Promise<GenerationResult> {
    const { device, onProgress, toPictures: decode } = this;
    const { unet } = this.parts;
    const conditions = new RunConditions(device, texts, more);
    const denoiser = (space: GpuSpace) => {
      const common = { unet, sampler, shape, conditions, control: undefined, steps: [], onProgress };
      return sdDenoiser(space, { ...common, beside: beside ? [beside()] : [] }, options);
    };
    try {
      return await runLatents({ device, sampler, shape, denoiser, decode, prepare }, options);
    } finally {
      conditions.dispose();
    }
  }
}
