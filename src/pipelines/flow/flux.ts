/**
 * Text → picture by the flow of a large transformer over latents packed two by two: diffusers' folders of Flux.
 * Guidance is distilled into the network (dev), or there is none (schnell). The same object makes image → image and
 * fills masks. Black Forest Labs 2024.
 */
import type { Device } from '../../engine/index.ts';
import type { Directory } from '../../loading/index.ts';
import { FluxTransformer } from '../../models/transformers/fluxModel.ts';
import { packLatents, unpackLatents } from '../../models/transformers/packing.ts';
import type { Denoiser, Sampler } from '../../sampler/index.ts';
import { samplerFrom } from '../../sampler/diffusers/samplerFrom.ts';
import { chosenScheduler, workOf, type RunShape } from '../run/basePipeline.ts';
import { guidedDenoiser, outputParts, repeatedState, type ToldNetwork } from '../run/guidedDenoiser.ts';
import { loraHolder, LoraPipeline } from '../run/loraPipeline.ts';
import { openFluxPrompts } from '../prompts/flowPrompts.ts';
import { dynamicMu, flowStrength, loadFlow, refuseForeignOptions, type FlowParts } from './straightFlow.ts';
import type { GenerationResult } from '../options/generation.ts';
import type { GpuSpace } from '../gpu/gpuSpace.ts';
import { runLatents, stepChoice } from '../run/latentRun.ts';
import { initialNoise, latentSize, type LatentShape } from '../run/latents.ts';
import type { LoadPipelineOptions } from '../options/loadOptions.ts';
import { conditionsOf } from '../prompts/promptEncoder.ts';
import { RunConditions, type StepConditions } from '../stableDiffusion/conditions.ts';
import { givenPicture, startingPoint } from '../stableDiffusion/pictures.ts';
import type { SourceOptions } from '../source/source.ts';
import type { TextToImageOptions } from '../options/textToImage.ts';

/** What the reference library does without being told. */
const DEFAULTS = { numInferenceSteps: 28, guidanceScale: 3.5, trueCfgScale: 1, strength: 0.6 } as const;
/** From pictures. */
const PICTURE_GUIDANCE = 7;
/** Latent cells along each side of a token. */
const SIDE = 2;
/** Flux's configs do not say what it was trained at: its pictures are of a megapixel. */
const CELLS = 128;

/** Text → picture: two text encoders, transformer and autoencoder of one folder on one device. */
export class FluxPipeline extends LoraPipeline<FlowParts<FluxTransformer>> {
  /** The `_class_name`s of such folders. */
  static readonly classNames = ['FluxPipeline', 'FluxImg2ImgPipeline', 'FluxInpaintPipeline'];

  private constructor(device: Device, parts: FlowParts<FluxTransformer>, options: LoadPipelineOptions & SourceOptions) {
    super(device, parts, loraHolder('transformer', parts.transformer), options);
  }

  /**
   * Loads a pipeline folder.
   * @throws NotFoundError, NetworkError, FormatError, ConfigError for parts of different models, UnsupportedError for a
   * scheduler that is not built, WeightError, OutOfMemoryError, AbortedError; nothing is left behind.
   */
  static load(
    device: Device,
    directory: Directory,
    options: LoadPipelineOptions & SourceOptions = {},
  ): Promise<FluxPipeline> {
    return loadFlow(device, directory, options, {
      classNames: FluxPipeline.classNames,
      transformer: FluxTransformer,
      texts: openFluxPrompts,
      channels: ({ config }) => config.inChannels / SIDE ** 2,
      make: (parts) => new FluxPipeline(device, parts, options),
    });
  }

  /** Width and height in pixels must be multiples of this: one token. */
  get sizeMultiple(): number {
    return SIDE * this.downsampling;
  }

  /** The size of its usual pictures, pixels. */
  get sampleSize(): { width: number; height: number } {
    return { width: CELLS * this.downsampling, height: CELLS * this.downsampling };
  }

  /**
   * From noise, or from a picture, to pictures; by default 28 steps with a guidance scale of 3.5 (from a picture 7, and
   * a strength of 0.6), which a network without distilled guidance does not read.
   * @throws InvalidArgumentError for an option out of range; UnsupportedError for one of other kinds; LimitError where
   * the size does not fit the device; AbortedError when the signal fires, between two submits; NonFiniteError,
   * DeviceLostError, OutOfMemoryError. After any of them but a lost device the pipeline stays usable.
   */
  async generate(options: TextToImageOptions): Promise<GenerationResult> {
    refuseForeignOptions(options);
    const { vae, text, scheduler } = this.parts;
    const image = options.image && givenPicture(vae, options.image);
    const given = { ...DEFAULTS, ...(image && { guidanceScale: PICTURE_GUIDANCE }), ...options };
    const sampler = samplerFrom(chosenScheduler(scheduler, options.scheduler));
    const [height, width] = latentSize(this, image ?? given);
    const contrast = given.negativePrompt !== undefined || given.negativePromptEmbeds !== undefined;
    const texts = await conditionsOf(given, text?.encode, contrast && given.trueCfgScale > 1, { pooled: true });
    const shape: LatentShape = [texts.text.shape[0], vae.config.latentChannels, height, width];
    const { pack, unpack, tokens } = packingOf(shape);
    const n = given.numInferenceSteps;
    const sigmas = given.sigmas ?? (given.timesteps ? undefined : evenSigmas(n));
    const steps = { ...given, sigmas };
    const mu = dynamicMu(sampler, tokens[1]);
    const strength = image ? flowStrength(sampler, { ...stepChoice(steps), mu }, given.strength) : 1;
    const run = { signal: given.signal, onProgress: this.onProgress };
    const start = startingPoint(vae, image, shape, { maskImage: given.maskImage, strength }, run, pack);
    const conditions = new RunConditions(this.device, texts, {});
    try {
      const result = await runLatents(
        {
          device: this.device,
          sampler,
          shape: tokens,
          choice: { mu },
          // Drawn in the order of latents.
          noise: (generator) =>
            given.packedLatents && given.latents
              ? initialNoise(tokens, given.latents, generator)
              : pack(initialNoise(shape, given.latents, generator)),
          denoiser: (space) => this.denoiser(space, sampler, tokens, [height / SIDE, width / SIDE], conditions, given),
          decode: async (space, z, _shape, run) => {
            const latents = space.vec(unpack(Float32Array.from(await space.read(z))), shape[0]);
            return this.toPictures(space, latents, shape, run);
          },
          start,
        },
        steps,
      );
      return given.packedLatents ? result : { ...result, latents: unpack(result.latents) };
    } finally {
      conditions.dispose();
    }
  }

  protected work(shape: RunShape) {
    const tokens = { imageTokens: (shape.height * shape.width) / SIDE ** 2, textTokens: 512 };
    const network = workOf(this.parts.transformer, { batch: shape.batch, ...tokens });
    return { network, decoder: this.decoding(shape) };
  }

  /** The transformer as a denoiser of packed latents [B,T,4C,1]. */
  private denoiser(
    space: GpuSpace,
    sampler: Sampler,
    tokens: LatentShape,
    grid: readonly [number, number],
    conditions: RunConditions,
    options: TextToImageOptions & { trueCfgScale: number },
  ): Denoiser {
    const { transformer } = this.parts;
    const { onProgress } = this;
    const { guidanceScale, trueCfgScale, checkFinite } = options;
    const guidance = transformer.config.guidanceEmbeds ? guidanceScale : undefined;
    const { numTrainTimesteps } = sampler.config;
    const network: ToldNetwork<StepConditions> = async (v, timestep, told, signal) => {
      const { buffer } = space.contiguous(v);
      const { encoderHiddenStates, addedCondKwargs } = told;
      const parts = encoderHiddenStates.shape[0] / tokens[0];
      const out = await transformer.forward({
        hiddenStates: repeatedState(buffer, tokens.slice(0, 3), parts),
        timestep: timestep / numTrainTimesteps,
        encoderHiddenStates,
        pooledProjections: addedCondKwargs!.textEmbeds!,
        guidance,
        grid,
        signal,
        checkFinite,
        onProgress,
      });
      return outputParts(space, out, tokens[0]);
    };
    const { text: alone, both } = conditions;
    return guidedDenoiser(sampler, network, { alone, both }, trueCfgScale, options);
  }
}

/** From 1 to 1/n: Flux names its levels, and the shift moves them. */
const evenSigmas = (n: number) => Array.from({ length: n }, (_, i) => 1 + (i * (1 / n - 1)) / (n - 1 || 1));

/** Latents of a shape as tokens, and back. */
function packingOf(shape: LatentShape) {
  const [B, C, height, width] = shape;
  const tokens: LatentShape = [B, (height * width) / SIDE ** 2, C * SIDE ** 2, 1];
  return {
    tokens,
    pack: (data: Float32Array) => packLatents({ data, shape }).data,
    unpack: (data: Float32Array) => unpackLatents({ data, shape: tokens.slice(0, 3) }, { height, width }).data,
  };
}
