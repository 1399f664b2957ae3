/**
 * Text → picture by the flow of a large transformer over latents packed two by two: diffusers' folders of Flux. Guidance
 * is distilled into the network (dev), or there is none (schnell). Black Forest Labs 2024.
 */
import { type Device, UnsupportedError } from '../engine/index.ts';
import { readModelIndex, type Directory, type RawConfig } from '../loading/index.ts';
import { AutoencoderKL } from '../models/index.ts';
import { FluxTransformer } from '../models/transformers/fluxModel.ts';
import { packLatents, unpackLatents } from '../models/transformers/packing.ts';
import type { Denoiser, Sampler } from '../sampler/index.ts';
import { samplerFrom } from '../sampler/samplerFrom.ts';
import { BasePipeline, chosenScheduler, loadParts, readScheduler, type Part, type RunShape } from './basePipeline.ts';
import { openFluxPrompts } from './flowPrompts.ts';
import type { GenerationResult } from './generation.ts';
import type { GpuSpace } from './gpuSpace.ts';
import { klDecoder, klLatents, type LatentDecoder } from './latentDecoder.ts';
import { runLatents } from './latentRun.ts';
import { generatorOf, initialNoise, latentSize, type LatentShape } from './latents.ts';
import { storageOf, type LoadPipelineOptions } from './options.ts';
import { conditionsOf, type PromptEncoder } from './promptEncoder.ts';
import { RunConditions } from './sdConditions.ts';
import { checkChannels, dynamicMu } from './stableDiffusion3.ts';
import type { TextToImageOptions } from './textToImage.ts';

interface Parts {
  transformer: FluxTransformer;
  vae: AutoencoderKL;
  encode: PromptEncoder | undefined;
  scheduler: RawConfig;
  all: readonly Part[];
}

/** What the reference library does without being told. */
const DEFAULTS = { numInferenceSteps: 28, guidanceScale: 3.5 } as const;
/** Latent cells along each side of a token. */
const SIDE = 2;
/** Flux's configs do not say what it was trained at: its pictures are of a megapixel. */
const CELLS = 128;

/** Text → picture: two text encoders, transformer and autoencoder of one folder on one device. */
export class FluxPipeline extends BasePipeline {
  /** The `_class_name` of such folders. */
  static readonly className = 'FluxPipeline';

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
   * Loads a pipeline folder.
   * @throws NotFoundError, NetworkError, FormatError, ConfigError for parts of different models, UnsupportedError for a
   * scheduler that is not built, WeightError, OutOfMemoryError, AbortedError; nothing is left behind.
   */
  static async load(device: Device, directory: Directory, options: LoadPipelineOptions = {}): Promise<FluxPipeline> {
    const { signal, variant, onProgress } = options;
    const index = await readModelIndex(directory, FluxPipeline.className, signal);
    const scheduler = await readScheduler(directory, options);
    const load = { dtype: storageOf(options.dtype, device), variant, signal, onProgress };
    return loadParts(async (own, all) => {
      const transformer = await own(FluxTransformer.load(device, directory.folder('transformer'), load));
      const { jointAttentionDim, inChannels } = transformer.config;
      const encode = await openFluxPrompts({ device, directory, load, own }, index, jointAttentionDim);
      const vae = await own(AutoencoderKL.load(device, directory.folder('vae'), load));
      checkChannels(directory.name, inChannels / SIDE ** 2, vae);
      return new FluxPipeline(device, { transformer, vae, encode, scheduler, all }, onProgress);
    });
  }

  /** Pixels per latent cell along each side. */
  get downsampling(): number {
    return this.parts.vae.downsampling;
  }

  /** Width and height in pixels must be multiples of this: one token. */
  get sizeMultiple(): number {
    return SIDE * this.downsampling;
  }

  /** The size of its usual pictures, pixels. */
  get sampleSize(): { width: number; height: number } {
    return { width: CELLS * this.downsampling, height: CELLS * this.downsampling };
  }

  /** The scheduler's config, as its folder has it. */
  get schedulerConfig(): RawConfig {
    return this.parts.scheduler;
  }

  /**
   * From noise to pictures; by default 28 steps with a guidance scale of 3.5, which a network without distilled guidance
   * does not read.
   * @throws InvalidArgumentError for an option out of range; UnsupportedError for a picture to start from; LimitError where
   * the size does not fit the device; AbortedError when the signal fires, between two submits; NonFiniteError,
   * DeviceLostError, OutOfMemoryError. After any of them but a lost device the pipeline stays usable.
   */
  async generate(options: TextToImageOptions): Promise<GenerationResult> {
    const given = { ...DEFAULTS, ...options };
    if (given.image || given.maskImage || given.controlImage) {
      throw new UnsupportedError('generate: expected texts alone, got a picture, and Flux from pictures is not built');
    }
    const { vae, encode, scheduler } = this.parts;
    const sampler = samplerFrom(chosenScheduler(scheduler, options.scheduler));
    const [height, width] = latentSize(this, given);
    const texts = await conditionsOf(given, encode, false, { pooled: true });
    const shape: LatentShape = [texts.text.shape[0], vae.config.latentChannels, height, width];
    const generator = generatorOf(given.generator);
    const noise = packLatents({ data: initialNoise(shape, given.latents, generator), shape });
    const packed: LatentShape = [noise.shape[0], noise.shape[1], noise.shape[2], 1];
    const unpacked = (data: Float32Array) => unpackLatents({ data, shape: noise.shape }, { height, width }).data;
    const n = given.numInferenceSteps;
    const sigmas =
      given.sigmas ??
      (given.timesteps ? undefined : Array.from({ length: n }, (_, i) => 1 + (i * (1 / n - 1)) / (n - 1 || 1)));
    const conditions = new RunConditions(this.device, texts, {});
    try {
      const result = await runLatents(
        {
          device: this.device,
          sampler,
          shape: packed,
          choice: { mu: dynamicMu(sampler, noise.shape[1]) },
          denoiser: (space) => this.denoiser(space, sampler, packed, [height / SIDE, width / SIDE], conditions, given),
          decode: async (space, z, _shape, run) => {
            const latents = space.vec(unpacked(Float32Array.from(await space.read(z))), shape[0]);
            return this.toPictures(space, latents, shape, run);
          },
        },
        { ...given, sigmas, generator, latents: noise.data },
      );
      return { ...result, latents: unpacked(result.latents) };
    } finally {
      conditions.dispose();
    }
  }

  protected override get autoencoder() {
    return klLatents(this.parts.vae);
  }

  protected work({ batch, height, width }: RunShape) {
    const { transformer, vae } = this.parts;
    const t = { batch, imageTokens: (height * width) / SIDE ** 2, textTokens: 512 };
    const d = { batch, height, width };
    return {
      network: { plan: () => transformer.plan(t), profile: (options: object) => transformer.profile(t, options) },
      decoder: { plan: () => vae.plan('decode', d), profile: (options: object) => vae.profile('decode', d, options) },
    };
  }

  /** The transformer as a denoiser of packed latents [B,T,4C,1]. */
  private denoiser(
    space: GpuSpace,
    sampler: Sampler,
    [batch, T, C]: LatentShape,
    grid: readonly [number, number],
    { text }: RunConditions,
    { guidanceScale, checkFinite }: TextToImageOptions,
  ): Denoiser {
    const { transformer } = this.parts;
    const { onProgress } = this;
    const guidance = transformer.config.guidanceEmbeds ? guidanceScale : undefined;
    const { numTrainTimesteps } = sampler.config;
    return sampler.denoiser(async (v, timestep, signal) => {
      const out = await transformer.forward({
        hiddenStates: { data: space.contiguous(v).buffer, shape: [batch, T, C] },
        timestep: timestep / numTrainTimesteps,
        encoderHiddenStates: text.encoderHiddenStates,
        pooledProjections: text.addedCondKwargs!.textEmbeds!,
        guidance,
        grid,
        signal,
        checkFinite,
        onProgress,
      });
      // A copy, since the next call of the network writes over its output.
      return space.copy(out.buffer, v.length, batch);
    });
  }
}
