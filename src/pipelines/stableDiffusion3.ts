/**
 * Text → picture by a transformer that follows a straight flow: diffusers' folders of Stable Diffusion 3 and 3.5. The same
 * object makes image → image and fills masks. Esser et al. 2024, https://arxiv.org/abs/2403.03206
 */
import { ConfigError, type Device } from '../engine/index.ts';
import { readModelIndex, type Directory, type RawConfig } from '../loading/index.ts';
import { AutoencoderKL } from '../models/index.ts';
import { SD3Transformer } from '../models/transformers/sd3Model.ts';
import { resolutionMu } from '../sampler/flowMatching.ts';
import { guided } from '../sampler/guidance.ts';
import type { Denoiser, Sampler } from '../sampler/index.ts';
import { samplerFrom } from '../sampler/samplerFrom.ts';
import type { Vec } from '../sampler/vec.ts';
import { BasePipeline, chosenScheduler, loadParts, readScheduler, type Part, type RunShape } from './basePipeline.ts';
import { openSd3Prompts } from './flowPrompts.ts';
import type { GenerationResult } from './generation.ts';
import type { GpuSpace } from './gpuSpace.ts';
import { planesOf } from './imageInput.ts';
import { klDecoder, klLatents, type LatentDecoder } from './latentDecoder.ts';
import { runLatents } from './latentRun.ts';
import { latentSize, type LatentShape } from './latents.ts';
import { storageOf, type LoadPipelineOptions } from './options.ts';
import { conditionsOf, type PromptEncoder } from './promptEncoder.ts';
import { RunConditions, type StepConditions } from './sdConditions.ts';
import { startingPoint } from './sdPictures.ts';
import type { TextToImageOptions } from './textToImage.ts';

interface Parts {
  transformer: SD3Transformer;
  vae: AutoencoderKL;
  encode: PromptEncoder | undefined;
  scheduler: RawConfig;
  all: readonly Part[];
}

/** What the reference library does without being told. */
const DEFAULTS = { numInferenceSteps: 28, guidanceScale: 7 } as const;

/** Text → picture: three text encoders, transformer and autoencoder of one folder on one device. */
export class StableDiffusion3Pipeline extends BasePipeline {
  /** The `_class_name`s of such folders. */
  static readonly classNames = [
    'StableDiffusion3Pipeline',
    'StableDiffusion3Img2ImgPipeline',
    'StableDiffusion3InpaintPipeline',
  ];

  private constructor(
    device: Device,
    private readonly parts: Parts,
    onProgress: LoadPipelineOptions['onProgress'],
  ) {
    const decode = klDecoder(device, parts.vae);
    const toPictures: LatentDecoder = (space, z, shape, options) => decode(space, z, shape, { onProgress, ...options });
    super(device, parts.all, toPictures, onProgress);
  }

  /**
   * Loads a pipeline folder; T5 (`text_encoder_3`) may be missing.
   * @throws NotFoundError, NetworkError, FormatError, ConfigError for parts of different models, UnsupportedError for a
   * scheduler that is not built, WeightError, OutOfMemoryError, AbortedError; nothing is left behind.
   */
  static async load(
    device: Device,
    directory: Directory,
    options: LoadPipelineOptions = {},
  ): Promise<StableDiffusion3Pipeline> {
    const { signal, variant, onProgress } = options;
    const index = await readModelIndex(directory, StableDiffusion3Pipeline.classNames, signal);
    const scheduler = await readScheduler(directory, options);
    const load = { dtype: storageOf(options.dtype, device), variant, signal, onProgress };
    return loadParts(async (own, all) => {
      const transformer = await own(SD3Transformer.load(device, directory.folder('transformer'), load));
      const { jointAttentionDim } = transformer.config;
      const encode = await openSd3Prompts({ device, directory, load, own }, index, jointAttentionDim);
      const vae = await own(AutoencoderKL.load(device, directory.folder('vae'), load));
      checkChannels(directory.name, transformer.config.inChannels, vae);
      return new StableDiffusion3Pipeline(device, { transformer, vae, encode, scheduler, all }, onProgress);
    });
  }

  /** Pixels per latent cell along each side. */
  get downsampling(): number {
    return this.parts.vae.downsampling;
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

  /** The scheduler's config, as its folder has it. */
  get schedulerConfig(): RawConfig {
    return this.parts.scheduler;
  }

  /**
   * From noise, or from a picture, to pictures; by default 28 steps with a guidance scale of 7, and a strength of 0.6. A
   * scale of 1 or less is the conditional network alone.
   * @throws InvalidArgumentError for an option out of range; LimitError where the size does not fit the device;
   * AbortedError when the signal fires, between two submits; NonFiniteError, DeviceLostError, OutOfMemoryError. After
   * any of them but a lost device the pipeline stays usable.
   */
  async generate(options: TextToImageOptions): Promise<GenerationResult> {
    const given = { ...DEFAULTS, ...options, strength: options.strength ?? 0.6 };
    const { transformer, vae, encode, scheduler } = this.parts;
    const sampler = samplerFrom(chosenScheduler(scheduler, options.scheduler));
    const image = given.image && planesOf('image', given.image, 3, [-1, 1]);
    const [height, width] = image ? [image.shape[2], image.shape[3]] : [given.height, given.width];
    const [h, w] = latentSize(this, { height, width });
    const texts = await conditionsOf(given, encode, given.guidanceScale > 1, { pooled: true });
    const shape: LatentShape = [texts.text.shape[0], vae.config.latentChannels, h, w];
    const { patchSize } = transformer.config;
    const mu = dynamicMu(sampler, Math.floor(h / patchSize) * Math.floor(w / patchSize));
    const { onProgress } = this;
    const start = startingPoint(vae, image, shape, given, { signal: given.signal, onProgress });
    const conditions = new RunConditions(this.device, texts, {});
    try {
      return await runLatents(
        {
          device: this.device,
          sampler,
          shape,
          choice: { mu },
          denoiser: (space) => this.denoiser(space, sampler, shape, conditions, given),
          decode: this.toPictures,
          start,
        },
        given,
      );
    } finally {
      conditions.dispose();
    }
  }

  protected override get autoencoder() {
    return klLatents(this.parts.vae);
  }

  protected work({ batch, height, width }: RunShape) {
    const { transformer, vae } = this.parts;
    const t = { batch: 2 * batch, height, width, textTokens: 77 + 256 };
    const d = { batch, height, width };
    return {
      network: { plan: () => transformer.plan(t), profile: (options: object) => transformer.profile(t, options) },
      decoder: { plan: () => vae.plan('decode', d), profile: (options: object) => vae.profile('decode', d, options) },
    };
  }

  /** The transformer as a denoiser: both halves of the guidance in one batch, or the conditional one alone. */
  private denoiser(
    space: GpuSpace,
    sampler: Sampler,
    [batch, ...item]: LatentShape,
    { text, both }: RunConditions,
    { guidanceScale = 1, guidanceRescale, guidanceInterval: interval, checkFinite }: TextToImageOptions,
  ): Denoiser {
    const { transformer } = this.parts;
    const { onProgress } = this;
    const call = async (v: Vec, timestep: number, told: StepConditions, signal?: AbortSignal): Promise<Vec[]> => {
      const { buffer } = space.contiguous(v);
      const { encoderHiddenStates, addedCondKwargs } = told;
      const parts = encoderHiddenStates.shape[0] / batch;
      const out = await transformer.forward({
        sample: { data: Array<GPUBuffer>(parts).fill(buffer), shape: [parts * batch, ...item] },
        timestep,
        encoderHiddenStates,
        pooledProjections: addedCondKwargs!.textEmbeds!,
        signal,
        checkFinite,
        onProgress,
      });
      // Copies, since the next call of the network writes over its output.
      return Array.from({ length: parts }, (_, i) => space.copy(out.buffer, v.length, batch, i * v.length));
    };
    const alone = sampler.denoiser(async (v, t, signal) => (await call(v, t, text, signal))[0]);
    if (!both) return alone;
    const pair = sampler.pairDenoiser(async (v, t, signal) => {
      const [uncond, cond] = await call(v, t, both, signal);
      return [uncond, cond];
    });
    return guided(pair, guidanceScale, { guidanceRescale, interval, conditional: interval && alone });
  }
}

/** The logarithm of the shift by the number of tokens, where the schedule depends on it. */
export function dynamicMu({ config }: Sampler, tokens: number): number | undefined {
  return config.useDynamicShifting ? resolutionMu(tokens, config) : undefined;
}

/** @throws ConfigError for parts that belong to different models */
export function checkChannels(name: string, channels: number, vae: AutoencoderKL): void {
  if (channels === vae.config.latentChannels) return;
  throw new ConfigError(
    `${name}: expected a transformer of the ${vae.config.latentChannels} latent channels of vae/, got ${channels}; take ` +
      'both from one pipeline',
    'in_channels',
  );
}
