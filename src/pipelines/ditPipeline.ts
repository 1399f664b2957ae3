/**
 * Class → picture by a diffusion transformer in the latent space of a KL autoencoder, with classifier-free guidance:
 * diffusers' `DiTPipeline` folders. Peebles & Xie 2023, https://arxiv.org/abs/2212.09748
 */
import { ConfigError, InvalidArgumentError, LimitError, type Device, type Profile } from '../engine/index.ts';
import { readConfig, readModelIndex, type Directory } from '../loading/index.ts';
import { AutoencoderKL } from '../models/index.ts';
import { DiT } from '../models/transformers/ditModel.ts';
import { guided } from '../sampler/guidance.ts';
import type { Denoiser, Sampler } from '../sampler/index.ts';
import { samplerFrom } from '../sampler/samplerFrom.ts';
import type { Vec } from '../sampler/vec.ts';
import type { ClassToImageOptions, ClassToImageResult } from './classToImage.ts';
import type { PipelinePlan } from './generation.ts';
import { GpuSpace } from './gpuSpace.ts';
import type { GeneratedImage } from './image.ts';
import type { ClassLabel } from './labels.ts';
import { klDecoder, type LatentDecoder } from './latentDecoder.ts';
import { runLatents } from './latentRun.ts';
import { latentSize, type LatentShape } from './latents.ts';
import { storageOf, type LoadPipelineOptions } from './options.ts';

interface Parts {
  transformer: DiT;
  vae: AutoencoderKL;
  scheduler: Readonly<Record<string, unknown>>;
  labels: Readonly<Record<number, string>>;
  onProgress: LoadPipelineOptions['onProgress'];
}

const SCHEDULERS = { ddim: 'DDIMScheduler', ddpm: 'DDPMScheduler' } as const;

/** Class → picture by a diffusion transformer: transformer, autoencoder and scheduler of one folder on one device. */
export class DiTPipeline {
  /** The `_class_name` of such a folder. */
  static readonly className = 'DiTPipeline';

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
   * WeightError, OutOfMemoryError, AbortedError; nothing is left behind.
   */
  static async load(device: Device, directory: Directory, options: LoadPipelineOptions = {}): Promise<DiTPipeline> {
    const { signal, variant, onProgress } = options;
    const index = await readModelIndex(directory, DiTPipeline.className, signal);
    const labels = (index.options.id2label ?? {}) as Record<number, string>;
    const scheduler = await readConfig(directory.folder('scheduler'), undefined, {
      file: 'scheduler_config.json',
      signal,
    });
    samplerFrom(scheduler); // a bad config is an error now, not after a minute of loading
    const load = { dtype: storageOf(options.dtype, device), variant, signal, onProgress };
    const transformer = await DiT.load(device, directory.folder('transformer'), load);
    try {
      const vae = await AutoencoderKL.load(device, directory.folder('vae'), load);
      try {
        checkParts(transformer, vae);
        return new DiTPipeline(device, { transformer, vae, scheduler, labels, onProgress });
      } catch (error) {
        vae.dispose();
        throw error;
      }
    } catch (error) {
      transformer.dispose();
      throw error;
    }
  }

  /** Class names by index, several per class with commas between; empty where the folder has none. */
  get labels(): Readonly<Record<number, string>> {
    return this.parts.labels;
  }

  /** Pixels per latent cell along each side. */
  get downsampling(): number {
    return this.parts.vae.downsampling;
  }

  /** Width and height in pixels must be multiples of this. */
  get sizeMultiple(): number {
    return this.parts.vae.downsampling * this.parts.transformer.config.patchSize;
  }

  /** The size the transformer was trained at, pixels. */
  get sampleSize(): { width: number; height: number } {
    const side = this.parts.vae.downsampling * this.parts.transformer.config.sampleSize;
    return { width: side, height: side };
  }

  /**
   * From noise to pictures; by default 50 steps with a guidance scale of 4. A scale of 1 or less is the conditional
   * network alone.
   * @throws InvalidArgumentError for an option out of range; LimitError where the size does not fit the device;
   * AbortedError when the signal fires, between two submits; NonFiniteError, DeviceLostError, OutOfMemoryError. After
   * any of them but a lost device the pipeline stays usable.
   */
  async generate(options: ClassToImageOptions): Promise<ClassToImageResult> {
    const { numInferenceSteps = 50, guidanceScale = 4 } = options; // as the reference library, untold
    const given = { ...options, numInferenceSteps, guidanceScale };
    const { scheduler, transformer } = this.parts;
    const sampler = samplerFrom(given.sampler ? { ...scheduler, _class_name: SCHEDULERS[given.sampler] } : scheduler);
    const classes = this.classes(given);
    const shape: LatentShape = [classes.length, transformer.config.inChannels, ...latentSize(this, given)];
    const denoiser = (space: GpuSpace) => this.denoiser(space, sampler, classes, shape, given);
    return runLatents({ device: this.device, sampler, shape, denoiser, decode: this.toPictures }, given);
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
   * @throws InvalidArgumentError unless width and height are multiples of {@link sizeMultiple}.
   */
  plan(options: { batchSize?: number; width?: number; height?: number } = {}): PipelinePlan {
    const { transformer, vae } = this.parts;
    const weightBytes = transformer.weightBytes + vae.weightBytes;
    const [height, width] = latentSize(this, options);
    const batch = options.batchSize ?? 1;
    try {
      const t = transformer.plan({ batch: 2 * batch, height, width });
      const d = vae.plan('decode', { batch, height, width });
      return {
        fits: true,
        peakBytes: t.peakBytes + d.peakBytes,
        weightBytes,
        largestBinding: t.largestBinding.bytes > d.largestBinding.bytes ? t.largestBinding : d.largestBinding,
        dispatches: { unet: t.dispatches, decoder: d.dispatches },
      };
    } catch (error) {
      if (!(error instanceof LimitError)) throw error;
      return { fits: false, advice: error.message, weightBytes };
    }
  }

  /**
   * Where the time of one evaluation of the transformer (with guidance; under `unet`) and of the decoder goes.
   * @throws InvalidArgumentError for a size that does not fit; AbortedError, OutOfMemoryError, DeviceLostError.
   */
  async profile(
    options: { batchSize?: number; width?: number; height?: number; signal?: AbortSignal } = {},
  ): Promise<{ unet: Profile; decoder: Profile }> {
    const { transformer, vae, onProgress } = this.parts;
    const { batchSize: batch = 1, signal } = options;
    const [height, width] = latentSize(this, options);
    return {
      unet: await transformer.profile({ batch: 2 * batch, height, width }, { signal, onProgress }),
      decoder: await vae.profile('decode', { batch, height, width }, { signal, onProgress }),
    };
  }

  /** Releases weights and programs; the device stays. */
  async dispose(): Promise<void> {
    this.parts.transformer.dispose();
    this.parts.vae.dispose();
  }

  /** Class numbers, each as often as pictures of it are wanted. */
  private classes({ classLabels, numImagesPerClass: times = 1 }: ClassToImageOptions): number[] {
    if (!Number.isInteger(times) || times < 1) {
      throw new InvalidArgumentError(`generate: expected numImagesPerClass to be an integer ≥ 1, got ${times}`);
    }
    const list = typeof classLabels === 'object' ? classLabels : [classLabels];
    if (list.length === 0) throw new InvalidArgumentError('generate: expected at least one class label, got none');
    const { numClasses } = this.parts.transformer.config;
    return list.flatMap((label) => Array<number>(times).fill(classOf(label, this.labels, numClasses)));
  }

  /** The transformer as a denoiser: both halves of the guidance in one batch, or the conditional one alone. */
  private denoiser(
    space: GpuSpace,
    sampler: Sampler,
    classes: readonly number[],
    [batch, ...item]: LatentShape,
    options: ClassToImageOptions & { guidanceScale: number },
  ): Denoiser {
    const { guidanceScale, guidanceRescale, guidanceInterval: interval, checkFinite } = options;
    const { transformer, onProgress } = this.parts;
    const { inChannels, outChannels } = transformer.config;
    const call = async (v: Vec, timestep: number, labels: readonly number[], signal?: AbortSignal): Promise<Vec[]> => {
      const { buffer } = space.contiguous(v);
      const parts = labels.length / batch;
      const sample = { data: Array<GPUBuffer>(parts).fill(buffer), shape: [labels.length, ...item] };
      const out = await transformer.forward({
        sample,
        timestep,
        classLabels: labels,
        signal,
        checkFinite,
        onProgress,
      });
      // Copies, since the next call of the network writes over its output. A learned variance stands behind the noise of
      // each item; the sampler takes it apart.
      const length = (v.length / inChannels) * outChannels;
      return Array.from({ length: parts }, (_, i) => space.copy(out.buffer, length, batch, i * length));
    };
    const { nullClass } = transformer;
    const alone = sampler.denoiser(async (v, t, signal) => (await call(v, t, classes, signal))[0]);
    if (!(guidanceScale > 1) || nullClass === undefined) return alone;
    const both = [...classes.map(() => nullClass), ...classes];
    const pair = sampler.pairDenoiser(async (v, t, signal) => {
      const [uncond, cond] = await call(v, t, both, signal);
      return [uncond, cond];
    });
    return guided(pair, guidanceScale, { guidanceRescale, interval, conditional: interval && alone });
  }
}

/** @throws ConfigError for parts that belong to different pipelines. */
function checkParts(transformer: DiT, vae: AutoencoderKL): void {
  const { inChannels, outChannels } = transformer.config;
  const { latentChannels } = vae.config;
  if (inChannels !== latentChannels) {
    throw new ConfigError(
      `DiTPipeline: expected a transformer of the ${latentChannels} latent channels of vae/, got ${inChannels}; ` +
        'take both from one pipeline',
      'in_channels',
    );
  }
  if (outChannels === inChannels || outChannels === 2 * inChannels) return;
  throw new ConfigError(
    `DiTPipeline: expected ${inChannels} output channels, or twice as many with a variance, got ${outChannels}`,
    'out_channels',
  );
}

/** The number of a class. @throws InvalidArgumentError for one that is not there */
function classOf(label: ClassLabel, labels: Readonly<Record<number, string>>, numClasses: number): number {
  if (typeof label === 'number') {
    if (Number.isInteger(label) && label >= 0 && label < numClasses) return label;
    throw new InvalidArgumentError(`generate: expected a class of 0 … ${numClasses - 1}, got ${label}`);
  }
  const wanted = label.trim().toLowerCase();
  const found = Object.entries(labels).find(([, names]) =>
    [names, ...names.split(',')].some((name) => name.trim().toLowerCase() === wanted),
  );
  if (found) return Number(found[0]);
  const why = Object.keys(labels).length > 0 ? 'see labels' : 'this folder names none, use numbers';
  throw new InvalidArgumentError(`generate: expected the name of a class, got "${label}"; ${why}`);
}
