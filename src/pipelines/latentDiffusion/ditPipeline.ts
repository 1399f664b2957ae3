/**
 * Class → picture by a diffusion transformer in the latent space of a KL autoencoder, with classifier-free guidance:
 * diffusers' `DiTPipeline` folders. Peebles & Xie 2023, https://arxiv.org/abs/2212.09748
 */
import { ConfigError, InvalidArgumentError, type Device } from '../../engine/index.ts';
import { readModelIndex, type Directory } from '../../loading/index.ts';
import { AutoencoderKL } from '../../models/index.ts';
import { DiT } from '../../models/transformers/ditModel.ts';
import { guided } from '../../sampler/guidance/guidance.ts';
import type { Denoiser, Sampler } from '../../sampler/index.ts';
import { samplerFrom } from '../../sampler/diffusers/samplerFrom.ts';
import type { Vec } from '../../sampler/vec.ts';
import {
  BasePipeline,
  loadParts,
  readScheduler,
  type Part,
  type PictureLatents,
  type RunShape,
  type Work,
} from '../run/basePipeline.ts';
import type { ClassToImageOptions, ClassToImageResult } from '../options/classToImage.ts';
import type { GpuSpace } from '../gpu/gpuSpace.ts';
import type { ClassLabel } from '../options/labels.ts';
import { klDecoder } from '../run/latentDecoder.ts';
import { runLatents } from '../run/latentRun.ts';
import { latentSize, type LatentShape } from '../run/latents.ts';
import { storageOf, type LoadPipelineOptions } from '../options/loadOptions.ts';

interface Parts {
  transformer: DiT;
  vae: AutoencoderKL;
  scheduler: Readonly<Record<string, unknown>>;
}

const SCHEDULERS = { ddim: 'DDIMScheduler', ddpm: 'DDPMScheduler' } as const;

/** Class → picture by a diffusion transformer: transformer, autoencoder and scheduler of one folder on one device. */
export class DiTPipeline extends BasePipeline {
  /** The `_class_name` of such a folder. */
  static readonly className = 'DiTPipeline';

  private constructor(
    device: Device,
    private readonly parts: Parts,
    /** Class names by index, several per class with commas between; empty where the folder has none. */
    override readonly labels: Readonly<Record<number, string>>,
    all: readonly Part[],
    onProgress: LoadPipelineOptions['onProgress'],
  ) {
    const decode = klDecoder(device, parts.vae);
    super(device, all, (space, z, shape, options) => decode(space, z, shape, { onProgress, ...options }), onProgress);
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
    const scheduler = await readScheduler(directory, options);
    const load = { dtype: storageOf(options.dtype, device), variant, signal, onProgress };
    return loadParts(async (own, all) => {
      const transformer = await own(DiT.load(device, directory.folder('transformer'), load));
      const vae = await own(AutoencoderKL.load(device, directory.folder('vae'), load));
      checkParts(transformer, vae);
      return new DiTPipeline(device, { transformer, vae, scheduler }, labels, all, onProgress);
    });
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

  protected override get autoencoder(): PictureLatents {
    const { vae } = this.parts;
    return { model: vae, scale: vae.config.scalingFactor, shift: vae.config.shiftFactor };
  }

  /** One evaluation is both halves of the guidance. */
  protected work({ batch, ...size }: RunShape): { network: Work; decoder: Work } {
    const { transformer, vae } = this.parts;
    const both = { batch: 2 * batch, ...size };
    return {
      network: { plan: () => transformer.plan(both), profile: (options) => transformer.profile(both, options) },
      decoder: {
        plan: () => vae.plan('decode', { batch, ...size }),
        profile: (options) => vae.profile('decode', { batch, ...size }, options),
      },
    };
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
    const { transformer } = this.parts;
    const { onProgress } = this;
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
