/**
 * Class → picture: a class-conditional U-Net in the latent space of a KL autoencoder (Rombach et al. 2022), sampled with
 * classifier-free guidance (Ho & Salimans 2022). The folder has `unet/`, `vae/`, `scheduler/` and `id2label`.
 */
import { LimitError, type Device, type Profile } from '../engine/index.ts';
import { readConfig, readModelIndex, type Directory } from '../loading/index.ts';
import { AutoencoderKL, sizeMultiple, UNet2D } from '../models/index.ts';
import { guided } from '../sampler/guidance.ts';
import type { Denoiser, Sampler } from '../sampler/index.ts';
import type { Vec } from '../sampler/vec.ts';
import type { ClassToImageOptions, ClassToImageResult } from './classToImage.ts';
import type { PipelinePlan } from './generation.ts';
import { GpuSpace } from './gpuSpace.ts';
import type { GeneratedImage } from './image.ts';
import { readLabels, resolveClasses } from './labels.ts';
import { klDecoder, type LatentDecoder } from './latentDecoder.ts';
import { runLatents } from './latentRun.ts';
import { latentSize, type LatentShape } from './latents.ts';
import { storageOf, type LoadPipelineOptions } from './options.ts';

interface Parts {
  unet: UNet2D;
  vae: AutoencoderKL;
  scheduler: Readonly<Record<string, unknown>>;
  samplerFrom: (config: Readonly<Record<string, unknown>>) => Sampler;
  labels: Readonly<Record<number, string>>;
  nullLabel: number;
  onProgress: LoadPipelineOptions['onProgress'];
}

/** Class → picture by latent diffusion: U-Net, autoencoder, scheduler and labels of one folder on one device. */
export class ClassLatentDiffusionPipeline {
  /** The `_class_name` of such a folder. */
  static readonly className = 'ClassLatentDiffusionPipeline';

  private readonly toPictures: LatentDecoder;

  private constructor(
    readonly device: Device,
    private readonly parts: Parts,
  ) {
    const { onProgress } = parts;
    const decode = klDecoder(device, parts.vae);
    this.toPictures = (space, z, shape, options) => decode(space, z, shape, { onProgress, ...options });
  }

  /**
   * Loads a pipeline folder.
   * @throws NotFoundError, NetworkError, FormatError, ConfigError, UnsupportedError for a scheduler that is not built,
   * WeightError, InvalidArgumentError, OutOfMemoryError, AbortedError; nothing is left behind.
   */
  static async load(device: Device, directory: Directory, options: LoadPipelineOptions = {}) {
    const { signal, variant, onProgress } = options;
    const index = await readModelIndex(directory, ClassLatentDiffusionPipeline.className, signal);
    const { labels, nullLabel } = readLabels(index.options, `${directory.name}/model_index.json`);
    const folder = directory.folder('scheduler');
    const scheduler = await readConfig(folder, undefined, { file: 'scheduler_config.json', signal });
    // The solvers are a chunk of their own. A bad config is an error now, not after a minute of loading.
    const { samplerFrom } = await import('../sampler/samplerFrom.ts');
    samplerFrom(scheduler);
    const load = { dtype: storageOf(options.dtype, device), variant, signal, onProgress };
    const unet = await UNet2D.load(device, directory.folder('unet'), load);
    try {
      const vae = await AutoencoderKL.load(device, directory.folder('vae'), load);
      return new ClassLatentDiffusionPipeline(device, {
        unet,
        vae,
        scheduler,
        samplerFrom,
        labels,
        nullLabel,
        onProgress,
      });
    } catch (error) {
      unet.dispose();
      throw error;
    }
  }

  /** Class names by index. */
  get labels(): Readonly<Record<number, string>> {
    return this.parts.labels;
  }

  /** Pixels per latent cell along each side. */
  get downsampling(): number {
    return this.parts.vae.downsampling;
  }

  /** Width and height in pixels must be multiples of this. */
  get sizeMultiple(): number {
    return this.parts.vae.downsampling * sizeMultiple(this.parts.unet.config);
  }

  /** The size the networks were trained at, pixels. */
  get sampleSize(): { width: number; height: number } {
    const [height, width] = this.parts.vae.config.sampleSize;
    return { width, height };
  }

  /**
   * From noise to pictures.
   * @throws InvalidArgumentError for an option out of range; LimitError where the size does not fit the device;
   * AbortedError when the signal fires, between two submits; NonFiniteError, DeviceLostError, OutOfMemoryError. After
   * any of them but a lost device the pipeline stays usable.
   */
  async generate(options: ClassToImageOptions): Promise<ClassToImageResult> {
    const { scheduler, samplerFrom, unet } = this.parts;
    const sampler = samplerFrom(
      options.sampler ? { ...scheduler, _class_name: SCHEDULERS[options.sampler] } : scheduler,
    );
    const classes = resolveClasses(options.classLabels, this.labels, options.numImagesPerClass ?? 1);
    const shape: LatentShape = [classes.length, unet.config.inChannels, ...latentSize(this, options)];
    const denoiser = (space: GpuSpace) => this.denoiser(space, sampler, classes, shape, options);
    return runLatents({ device: this.device, sampler, shape, denoiser, decode: this.toPictures }, options);
  }

  /**
   * Latents [B,C,h,w] as {@link generate} gives them → pictures.
   * @throws InvalidArgumentError, ShapeError when they do not fit; LimitError, OutOfMemoryError, DeviceLostError,
   * AbortedError
   */
  async decode(latents: Float32Array, shape: LatentShape, signal?: AbortSignal): Promise<GeneratedImage[]> {
    const space = await GpuSpace.open(this.device);
    try {
      return await this.toPictures(space, space.vec(latents, shape[0]), shape, { signal });
    } finally {
      space.dispose();
    }
  }

  /**
   * What a call of that size takes on this device, with guidance; nothing is allocated.
   * @param options Pictures at once (default 1) and pixels (default {@link sampleSize}).
   * @throws InvalidArgumentError unless width and height are multiples of {@link sizeMultiple}.
   */
  plan(options: { batchSize?: number; width?: number; height?: number } = {}): PipelinePlan {
    const { unet, vae } = this.parts;
    const weightBytes = unet.weightBytes + vae.weightBytes;
    const [height, width] = latentSize(this, options);
    const batch = options.batchSize ?? 1;
    try {
      const u = unet.plan({ batch: 2 * batch, height, width });
      const d = vae.plan('decode', { batch, height, width });
      return {
        fits: true,
        peakBytes: u.peakBytes + d.peakBytes,
        weightBytes,
        largestBinding: u.largestBinding.bytes > d.largestBinding.bytes ? u.largestBinding : d.largestBinding,
        dispatches: { unet: u.dispatches, decoder: d.dispatches },
      };
    } catch (error) {
      if (!(error instanceof LimitError)) throw error;
      return { fits: false, advice: error.message, weightBytes };
    }
  }

  /**
   * Where the time of one U-Net evaluation (with guidance) and of the decoder goes: GPU time per dispatch by timestamps.
   * {@link profileTable} and {@link chromeTrace} show it.
   * @throws InvalidArgumentError for a size that does not fit; AbortedError, OutOfMemoryError, DeviceLostError.
   */
  async profile(
    options: { batchSize?: number; width?: number; height?: number; signal?: AbortSignal } = {},
  ): Promise<{ unet: Profile; decoder: Profile }> {
    const { unet, vae, onProgress } = this.parts;
    const { batchSize: batch = 1, signal } = options;
    const [height, width] = latentSize(this, options);
    return {
      unet: await unet.profile({ batch: 2 * batch, height, width }, { signal, onProgress }),
      decoder: await vae.profile('decode', { batch, height, width }, { signal, onProgress }),
    };
  }

  /** Releases weights and programs; the device stays. */
  async dispose(): Promise<void> {
    this.parts.unet.dispose();
    this.parts.vae.dispose();
  }

  /** The U-Net as a denoiser: both halves of the guidance in one batch, or the conditional one alone. */
  private denoiser(
    space: GpuSpace,
    sampler: Sampler,
    classes: readonly number[],
    [batch, ...item]: LatentShape,
    { guidanceScale = 4, guidanceRescale, guidanceInterval: interval, checkFinite }: ClassToImageOptions,
  ): Denoiser {
    const { unet, nullLabel, onProgress } = this.parts;
    const call = async (v: Vec, timestep: number, labels: readonly number[], signal?: AbortSignal): Promise<Vec[]> => {
      const { buffer } = space.contiguous(v);
      const parts = labels.length / batch;
      const sample = { data: Array<GPUBuffer>(parts).fill(buffer), shape: [labels.length, ...item] };
      const out = await unet.forward({ sample, timestep, classLabels: labels, signal, checkFinite, onProgress });
      // Copies, since the next call of the network writes over its output.
      return Array.from({ length: parts }, (_, i) => space.copy(out.buffer, v.length, batch, i * v.length));
    };
    const alone = sampler.denoiser(async (v, t, signal) => (await call(v, t, classes, signal))[0]);
    if (guidanceScale === 1) return alone;
    const both = [...classes.map(() => nullLabel), ...classes];
    const pair = sampler.pairDenoiser(async (v, t, signal) => {
      const [uncond, cond] = await call(v, t, both, signal);
      return [uncond, cond];
    });
    return guided(pair, guidanceScale, { guidanceRescale, interval, conditional: interval && alone });
  }
}

const SCHEDULERS = { ddim: 'DDIMScheduler', ddpm: 'DDPMScheduler' } as const;
