/**
 * Text → picture by a transformer that follows a straight flow: diffusers' folders of Stable Diffusion 3 and 3.5. The
 * same object makes image → image and fills masks. Esser et al. 2024, https://arxiv.org/abs/2403.03206
 */
import type { Device } from '../../engine/index.ts';
import type { Directory } from '../../loading/index.ts';
import { SD3Transformer } from '../../models/transformers/sd3Model.ts';
import type { Denoiser, Sampler } from '../../sampler/index.ts';
import { samplerFrom } from '../../sampler/diffusers/samplerFrom.ts';
import type { Vec } from '../../sampler/vec.ts';
import { channelJoin } from '../gpu/channelJoin.ts';
import { chosenScheduler, workOf, type RunShape } from '../run/basePipeline.ts';
import { guidedDenoiser, outputParts, repeatedState, type ToldNetwork } from '../run/guidedDenoiser.ts';
import { loraHolder, LoraPipeline } from '../run/loraPipeline.ts';
import { openSd3Prompts } from '../prompts/flowPrompts.ts';
import { dynamicMu, flowStrength, loadFlow, refuseForeignOptions, type FlowParts } from './straightFlow.ts';
import type { GenerationResult } from '../options/generation.ts';
import type { GpuSpace } from '../gpu/gpuSpace.ts';
import { runLatents, stepChoice, type LatentRun } from '../run/latentRun.ts';
import { latentSize, type LatentShape } from '../run/latents.ts';
import type { LoadPipelineOptions } from '../options/loadOptions.ts';
import { conditionsOf } from '../prompts/promptEncoder.ts';
import { RunConditions, type StepConditions } from '../stableDiffusion/conditions.ts';
import { givenPicture, shownPicture, startingPoint } from '../stableDiffusion/pictures.ts';
import type { SourceOptions } from '../source/source.ts';
import type { TextToImageOptions } from '../options/textToImage.ts';

/** What the reference library does without being told. */
const DEFAULTS = { numInferenceSteps: 28, guidanceScale: 7, strength: 0.6 } as const;
/** From pictures. */
const PICTURE_STEPS = 50;

/** Text → picture: three text encoders, transformer and autoencoder of one folder on one device. */
export class StableDiffusion3Pipeline extends LoraPipeline<FlowParts<SD3Transformer>> {
  /** The `_class_name`s of such folders. */
  static readonly classNames = [
    'StableDiffusion3Pipeline',
    'StableDiffusion3Img2ImgPipeline',
    'StableDiffusion3InpaintPipeline',
  ];

  private constructor(device: Device, parts: FlowParts<SD3Transformer>, options: LoadPipelineOptions & SourceOptions) {
    super(device, parts, loraHolder('transformer', parts.transformer), options);
  }

  /**
   * Loads a pipeline folder; T5 (`text_encoder_3`) may be missing.
   * @throws NotFoundError, NetworkError, FormatError, ConfigError for parts of different models, UnsupportedError for a
   * scheduler that is not built, WeightError, OutOfMemoryError, AbortedError; nothing is left behind.
   */
  static load(
    device: Device,
    directory: Directory,
    options: LoadPipelineOptions & SourceOptions = {},
  ): Promise<StableDiffusion3Pipeline> {
    return loadFlow(device, directory, options, {
      classNames: StableDiffusion3Pipeline.classNames,
      transformer: SD3Transformer,
      texts: openSd3Prompts,
      // A network that fills masks also sees the mask and what is known.
      channels({ config: { inChannels } }, { config: { latentChannels } }) {
        return inChannels === 2 * latentChannels + 1 ? latentChannels : inChannels;
      },
      make: (parts) => new StableDiffusion3Pipeline(device, parts, options),
    });
  }

  /** Width and height in pixels must be multiples of this: one patch. */
  get sizeMultiple(): number {
    return this.downsampling * this.parts.transformer.config.patchSize;
  }

  /** The size the transformer was trained at, pixels. */
  get sampleSize(): { width: number; height: number } {
    const side = this.downsampling * this.parts.transformer.config.sampleSize;
    return { width: side, height: side };
  }

  /**
   * From noise, or from a picture, to pictures; by default 28 steps (50 of which from a picture 0.6, its strength) with
   * a guidance scale of 7. A scale of 1 or less is the conditional network alone.
   * @throws InvalidArgumentError for an option out of range; UnsupportedError for one of other kinds; LimitError where
   * the size does not fit the device; AbortedError when the signal fires, between two submits; NonFiniteError,
   * DeviceLostError, OutOfMemoryError. After any of them but a lost device the pipeline stays usable.
   */
  async generate(options: TextToImageOptions): Promise<GenerationResult> {
    refuseForeignOptions(options);
    const { transformer, vae, text, scheduler } = this.parts;
    const image = options.image && givenPicture(vae, options.image);
    const given = { ...DEFAULTS, ...(image && { numInferenceSteps: PICTURE_STEPS }), ...options };
    const sampler = samplerFrom(chosenScheduler(scheduler, options.scheduler));
    const [h, w] = latentSize(this, image ?? given);
    const texts = await conditionsOf(given, text?.encode, given.guidanceScale > 1, { pooled: true });
    const shape: LatentShape = [texts.text.shape[0], vae.config.latentChannels, h, w];
    const { patchSize } = transformer.config;
    const mu = dynamicMu(sampler, Math.floor(h / patchSize) * Math.floor(w / patchSize));
    const strength = image ? flowStrength(sampler, { ...stepChoice(given), mu }, given.strength) : 1;
    const run = { signal: given.signal, onProgress: this.onProgress };
    const shown = transformer.config.inChannels > shape[1];
    const { maskImage } = given;
    const point = startingPoint(vae, image, shape, shown ? { strength } : { maskImage, strength }, run);
    const start = shown && given.strength === 1 ? undefined : point;
    const looks = shown ? shownPicture(vae, image, maskImage, shape, run) : undefined;
    const beside: Vec[] = [];
    const prepare: LatentRun['prepare'] = async (space, generator) => {
      for (const values of (await looks?.(generator)) ?? []) beside.push(space.vec(values, shape[0]));
    };
    const conditions = new RunConditions(this.device, texts, {});
    try {
      return await runLatents(
        {
          device: this.device,
          sampler,
          shape,
          choice: { mu },
          denoiser: (space) => this.denoiser(space, sampler, shape, conditions, beside, given),
          decode: this.toPictures,
          start,
          prepare,
        },
        given,
      );
    } finally {
      conditions.dispose();
    }
  }

  protected work(shape: RunShape) {
    const both = { ...shape, batch: 2 * shape.batch, textTokens: 77 + 256 };
    return { network: workOf(this.parts.transformer, both), decoder: this.decoding(shape) };
  }

  /** The transformer as a denoiser of latents [B,C,h,w]. */
  private denoiser(
    space: GpuSpace,
    sampler: Sampler,
    [batch, , height, width]: LatentShape,
    conditions: RunConditions,
    beside: readonly Vec[],
    options: TextToImageOptions,
  ): Denoiser {
    const { guidanceScale = 1, checkFinite } = options;
    const { transformer } = this.parts;
    const { onProgress } = this;
    const { inChannels } = transformer.config;
    const join = beside.length > 0 ? channelJoin(space, batch, batch * inChannels * height * width) : undefined;
    const network: ToldNetwork<StepConditions> = async (v, timestep, told, signal) => {
      const buffer = join ? join([v, ...beside]) : space.contiguous(v).buffer;
      const { encoderHiddenStates, addedCondKwargs } = told;
      const parts = encoderHiddenStates.shape[0] / batch;
      const out = await transformer.forward({
        sample: repeatedState(buffer, [batch, inChannels, height, width], parts),
        timestep,
        encoderHiddenStates,
        pooledProjections: addedCondKwargs!.textEmbeds!,
        signal,
        checkFinite,
        onProgress,
      });
      return outputParts(space, out, batch);
    };
    const { text: alone, both } = conditions;
    return guidedDenoiser(sampler, network, { alone, both }, guidanceScale, options);
  }
}
