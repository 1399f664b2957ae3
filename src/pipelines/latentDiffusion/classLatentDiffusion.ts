/**
 * Class → picture: a class-conditional U-Net in the latent space of a KL autoencoder (Rombach et al. 2022), sampled with
 * classifier-free guidance (Ho & Salimans 2022). The folder has `unet/`, `vae/`, `scheduler/` and `id2label`.
 */
import type { Device } from '../../engine/index.ts';
import { readModelIndex, type Directory } from '../../loading/index.ts';
import { AutoencoderKL, sizeMultiple, UNet2D } from '../../models/index.ts';
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
import { readLabels, resolveClasses } from '../options/labels.ts';
import { klDecoder } from '../run/latentDecoder.ts';
import { runLatents } from '../run/latentRun.ts';
import { latentSize, type LatentShape } from '../run/latents.ts';
import { storageOf, type LoadPipelineOptions } from '../options/loadOptions.ts';

interface Parts {
  unet: UNet2D;
  vae: AutoencoderKL;
  scheduler: Readonly<Record<string, unknown>>;
  nullLabel: number;
}

/** Class → picture by latent diffusion: U-Net, autoencoder, scheduler and labels of one folder on one device. */
export class ClassLatentDiffusionPipeline extends BasePipeline {
  /** The `_class_name` of such a folder. */
  static readonly className = 'ClassLatentDiffusionPipeline';

  private constructor(
    device: Device,
    private readonly parts: Parts,
    /** Class names by index. */
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
   * WeightError, InvalidArgumentError, OutOfMemoryError, AbortedError; nothing is left behind.
   */
  static async load(device: Device, directory: Directory, options: LoadPipelineOptions = {}) {
    const { signal, variant, onProgress } = options;
    const index = await readModelIndex(directory, ClassLatentDiffusionPipeline.className, signal);
    const { labels, nullLabel } = readLabels(index.options, `${directory.name}/model_index.json`);
    const scheduler = await readScheduler(directory, options);
    const load = { dtype: storageOf(options.dtype, device), variant, signal, onProgress };
    return loadParts(async (own, all) => {
      const unet = await own(UNet2D.load(device, directory.folder('unet'), load));
      const vae = await own(AutoencoderKL.load(device, directory.folder('vae'), load));
      const parts = { unet, vae, scheduler, nullLabel };
      return new ClassLatentDiffusionPipeline(device, parts, labels, all, onProgress);
    });
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
    const { scheduler, unet } = this.parts;
    const sampler = samplerFrom(
      options.sampler ? { ...scheduler, _class_name: SCHEDULERS[options.sampler] } : scheduler,
    );
    const classes = resolveClasses(options.classLabels, this.labels, options.numImagesPerClass ?? 1);
    const shape: LatentShape = [classes.length, unet.config.inChannels, ...latentSize(this, options)];
    const denoiser = (space: GpuSpace) => this.denoiser(space, sampler, classes, shape, options);
    return runLatents({ device: this.device, sampler, shape, denoiser, decode: this.toPictures }, options);
  }

  protected override get autoencoder(): PictureLatents {
    const { vae } = this.parts;
    return { model: vae, scale: vae.config.scalingFactor, shift: vae.config.shiftFactor };
  }

  /** One evaluation is both halves of the guidance. */
  protected work({ batch, ...size }: RunShape): { network: Work; decoder: Work } {
    const { unet, vae } = this.parts;
    const both = { batch: 2 * batch, ...size };
    return {
      network: { plan: () => unet.plan(both), profile: (options) => unet.profile(both, options) },
      decoder: {
        plan: () => vae.plan('decode', { batch, ...size }),
        profile: (options) => vae.profile('decode', { batch, ...size }, options),
      },
    };
  }

  /** The U-Net as a denoiser: both halves of the guidance in one batch, or the conditional one alone. */
  private denoiser(
    space: GpuSpace,
    sampler: Sampler,
    classes: readonly number[],
    [batch, ...item]: LatentShape,
    { guidanceScale = 4, guidanceRescale, guidanceInterval: interval, checkFinite }: ClassToImageOptions,
  ): Denoiser {
    const { unet, nullLabel } = this.parts;
    const { onProgress } = this;
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
