/**
 * Super-resolution in the latent space of an autoencoder with a codebook: the network sees the small picture in the
 * channels behind the latents, whose cells are the small picture's pixels. diffusers' `LDMSuperResolutionPipeline` folders.
 * Rombach et al. 2022, section 4.4, https://arxiv.org/abs/2112.10752
 */
import { ConfigError, type Device } from '../engine/index.ts';
import { readModelIndex, type Directory } from '../loading/index.ts';
import { UNet2D } from '../models/index.ts';
import { VQModel } from '../models/vq/vqModel.ts';
import type { Denoiser, Sampler } from '../sampler/index.ts';
import { samplerFrom } from '../sampler/samplerFrom.ts';
import { LinearForm } from '../sampler/vec.ts';
import { BasePipeline, chosenScheduler, loadParts, readScheduler, type Part, type RunShape } from './basePipeline.ts';
import type { GenerationResult } from './generation.ts';
import type { GpuSpace } from './gpuSpace.ts';
import { planesOf, type Planes } from './imageInput.ts';
import { runLatents } from './latentRun.ts';
import { latentSize, type LatentShape } from './latents.ts';
import { storageOf, type LoadPipelineOptions } from './options.ts';
import type { SuperResolutionOptions } from './pictureOptions.ts';
import { expectPicture, vqDecoder } from './pixelDecoder.ts';
import { unet2dBeside } from './unet2dNetwork.ts';

interface Parts {
  unet: UNet2D;
  vqvae: VQModel;
  scheduler: Readonly<Record<string, unknown>>;
  all: readonly Part[];
}

/** Small pictures → large ones: U-Net, codebook and scheduler of one folder on one device. */
export class LDMSuperResolutionPipeline extends BasePipeline {
  /** The `_class_name` of such a folder. */
  static readonly className = 'LDMSuperResolutionPipeline';

  private constructor(
    device: Device,
    private readonly parts: Parts,
    onProgress: LoadPipelineOptions['onProgress'],
  ) {
    const decode = vqDecoder(device, parts.vqvae, 1); // this pipeline does not scale its latents
    super(
      device,
      parts.all,
      (space, z, shape, options) => decode(space, z, shape, { onProgress, ...options }),
      onProgress,
    );
  }

  /**
   * Loads a pipeline folder.
   * @throws NotFoundError, NetworkError, FormatError, ConfigError for parts of different models, UnsupportedError for a
   * scheduler that is not built, WeightError, OutOfMemoryError, AbortedError; nothing is left behind.
   */
  static async load(
    device: Device,
    directory: Directory,
    options: LoadPipelineOptions = {},
  ): Promise<LDMSuperResolutionPipeline> {
    const { signal, variant, onProgress } = options;
    await readModelIndex(directory, LDMSuperResolutionPipeline.className, signal);
    const scheduler = await readScheduler(directory, options);
    return loadParts(async (own, all) => {
      const load = { dtype: storageOf(options.dtype, device), variant, signal, onProgress };
      const unet = await own(UNet2D.load(device, directory.folder('unet'), load));
      const vqvae = await own(VQModel.load(device, directory.folder('vqvae'), load));
      const { vqEmbedDim, outChannels } = vqvae.config;
      expectPicture(directory.name, outChannels);
      if (unet.config.inChannels !== 2 * vqEmbedDim) {
        throw new ConfigError(
          `LDMSuperResolutionPipeline: expected a U-Net of twice the ${vqEmbedDim} latent channels of vqvae/, got ` +
            `${unet.config.inChannels}; take both from one pipeline`,
          'in_channels',
        );
      }
      return new LDMSuperResolutionPipeline(device, { unet, vqvae, scheduler, all }, onProgress);
    });
  }

  /** The scheduler's config, as its folder has it. */
  get schedulerConfig(): Readonly<Record<string, unknown>> {
    return this.parts.scheduler;
  }

  /** Pixels of a result per pixel of what it is made from, along each side. */
  get downsampling(): number {
    return this.parts.vqvae.downsampling;
  }

  /** Width and height of results are multiples of this. */
  get sizeMultiple(): number {
    return this.downsampling * this.parts.unet.sizeMultiple;
  }

  /** The size of results that the networks were trained at, pixels; 0 where the U-Net's config does not say. */
  get sampleSize(): { width: number; height: number } {
    const [height, width] = this.parts.unet.config.sampleSize ?? [0, 0];
    return { width: width * this.downsampling, height: height * this.downsampling };
  }

  /**
   * Small pictures → large ones; by default 100 steps.
   * @throws InvalidArgumentError for an option out of range or a picture whose size does not fit; LimitError where it does
   * not fit the device; AbortedError when the signal fires, between two submits; NonFiniteError, DeviceLostError,
   * OutOfMemoryError. After any of them but a lost device the pipeline stays usable.
   */
  async generate(options: SuperResolutionOptions): Promise<GenerationResult> {
    const { vqvae, scheduler } = this.parts;
    const channels = vqvae.config.vqEmbedDim;
    const image = planesOf('image', options.image, channels, [-1, 1]);
    const [batch, , height, width] = image.shape;
    const f = this.downsampling;
    const shape: LatentShape = [batch, channels, ...latentSize(this, { height: height * f, width: width * f })];
    const sampler = samplerFrom(chosenScheduler(scheduler, options.scheduler));
    const { numInferenceSteps = 100, checkFinite } = options;
    return runLatents(
      {
        device: this.device,
        sampler,
        shape,
        denoiser: (space) => this.denoiser(space, sampler, image, checkFinite),
        decode: this.toPictures,
      },
      { ...options, numInferenceSteps },
    );
  }

  protected override get autoencoder() {
    return { model: this.parts.vqvae, scale: 1 };
  }

  protected work(shape: RunShape) {
    const { unet, vqvae } = this.parts;
    const call = { ...shape, part: 'decode', channels: vqvae.config.vqEmbedDim } as const;
    return {
      network: { plan: () => unet.plan(shape), profile: (o: object) => unet.profile(shape, o) },
      decoder: { plan: () => vqvae.plan(call), profile: (o: object) => vqvae.profile(call, o) },
    };
  }

  private denoiser(space: GpuSpace, sampler: Sampler, { data, shape }: Planes, checkFinite?: boolean): Denoiser {
    const image = space.vec(data, shape[0]);
    const { onProgress } = this;
    const network = unet2dBeside(space, this.parts.unet, { shape, checkFinite, onProgress });
    return (x, level, signal) => {
      const read = sampler.denoiser((v, t, abort) => {
        // As in the reference library, what scales the state for the network scales the picture beside it.
        const beside = v === x ? image : LinearForm.of(image, 1 / Math.hypot(level.alpha, level.sigma)).materialise();
        return network(v, beside, t, abort);
      });
      return read(x, level, signal);
    };
  }
}
