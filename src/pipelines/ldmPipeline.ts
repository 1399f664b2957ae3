/**
 * Pictures from noise in the latent space of an autoencoder with a codebook: diffusers' `LDMPipeline` folders.
 * Rombach et al. 2022, https://arxiv.org/abs/2112.10752
 */
import { ConfigError, type Device } from '../engine/index.ts';
import { readModelIndex, type Directory } from '../loading/index.ts';
import { UNet2D } from '../models/index.ts';
import { VQModel } from '../models/vq/vqModel.ts';
import type { SampleOptions } from '../sampler/index.ts';
import { samplerFrom } from '../sampler/samplerFrom.ts';
import {
  BasePipeline,
  chosenScheduler,
  loadParts,
  pictureCount,
  readScheduler,
  type Part,
  type RunShape,
} from './basePipeline.ts';
import type { GpuSpace } from './gpuSpace.ts';
import { runLatents } from './latentRun.ts';
import { latentSize, type LatentShape } from './latents.ts';
import { storageOf, type LoadPipelineOptions } from './options.ts';
import type { UnconditionalOptions, UnconditionalResult } from './pictureOptions.ts';
import { expectPicture, vqDecoder } from './pixelDecoder.ts';
import { labelsOfBatch, unet2dNetwork } from './unet2dNetwork.ts';

interface Parts {
  unet: UNet2D;
  vqvae: VQModel;
  scheduler: Readonly<Record<string, unknown>>;
  all: readonly Part[];
}

/** Pictures from noise by latent diffusion: U-Net, codebook and scheduler of one folder on one device. */
export class LDMPipeline extends BasePipeline {
  /** The `_class_name` of such a folder. */
  static readonly className = 'LDMPipeline';

  private constructor(
    device: Device,
    private readonly parts: Parts,
    onProgress: LoadPipelineOptions['onProgress'],
  ) {
    const { vqvae, all } = parts;
    const decode = vqDecoder(device, vqvae, vqvae.config.scalingFactor);
    super(device, all, (space, z, shape, options) => decode(space, z, shape, { onProgress, ...options }), onProgress);
  }

  /**
   * Loads a pipeline folder.
   * @throws NotFoundError, NetworkError, FormatError, ConfigError for parts of different models, UnsupportedError for a
   * scheduler that is not built, WeightError, OutOfMemoryError, AbortedError; nothing is left behind.
   */
  static async load(device: Device, directory: Directory, options: LoadPipelineOptions = {}): Promise<LDMPipeline> {
    const { signal, variant, onProgress } = options;
    await readModelIndex(directory, LDMPipeline.className, signal);
    const scheduler = await readScheduler(directory, options);
    return loadParts(async (own, all) => {
      const load = { dtype: storageOf(options.dtype, device), variant, signal, onProgress };
      const unet = await own(UNet2D.load(device, directory.folder('unet'), load));
      const vqvae = await own(VQModel.load(device, directory.folder('vqvae'), load));
      expectPicture(directory.name, vqvae.config.outChannels);
      if (unet.config.inChannels !== vqvae.config.vqEmbedDim) {
        throw new ConfigError(
          `LDMPipeline: expected a U-Net of the ${vqvae.config.vqEmbedDim} latent channels of vqvae/, got ` +
            `${unet.config.inChannels}; take both from one pipeline`,
          'in_channels',
        );
      }
      return new LDMPipeline(device, { unet, vqvae, scheduler, all }, onProgress);
    });
  }

  /** The scheduler's config, as its folder has it. */
  get schedulerConfig(): Readonly<Record<string, unknown>> {
    return this.parts.scheduler;
  }

  /** Pixels per latent cell along each side. */
  get downsampling(): number {
    return this.parts.vqvae.downsampling;
  }

  /** Width and height in pixels must be multiples of this. */
  get sizeMultiple(): number {
    return this.downsampling * this.parts.unet.sizeMultiple;
  }

  /** The size the networks were trained at, pixels; 0 where the U-Net's config does not say. */
  get sampleSize(): { width: number; height: number } {
    const [height, width] = this.parts.unet.config.sampleSize ?? [0, 0];
    return { width: width * this.downsampling, height: height * this.downsampling };
  }

  /**
   * From noise to pictures; by default 50 steps.
   * @throws InvalidArgumentError for an option out of range; LimitError where the size does not fit the device;
   * AbortedError when the signal fires, between two submits; NonFiniteError, DeviceLostError, OutOfMemoryError. After
   * any of them but a lost device the pipeline stays usable.
   */
  async generate(options: UnconditionalOptions = {}): Promise<UnconditionalResult> {
    const { unet, scheduler } = this.parts;
    const { useClippedModelOutput, numInferenceSteps = 50, checkFinite } = options;
    const sampler = samplerFrom(chosenScheduler(scheduler, options.scheduler));
    const batch = pictureCount('batchSize', options.batchSize);
    const shape: LatentShape = [batch, unet.config.inChannels, ...latentSize(this, options)];
    const classLabels = labelsOfBatch(options.classLabels, unet.config, batch);
    const network = { shape, classLabels, checkFinite, onProgress: this.onProgress };
    const result = await runLatents(
      {
        device: this.device,
        sampler: { sample: (given: SampleOptions) => sampler.sample({ ...given, useClippedModelOutput }) },
        shape,
        denoiser: (space: GpuSpace) => sampler.denoiser(unet2dNetwork(space, unet, network)),
        decode: this.toPictures,
      },
      { ...options, numInferenceSteps },
    );
    return { ...result, classLabels: classLabels instanceof Float32Array ? undefined : classLabels };
  }

  protected override get autoencoder() {
    const { vqvae } = this.parts;
    return { model: vqvae, scale: vqvae.config.scalingFactor };
  }

  protected work(shape: RunShape) {
    const { unet, vqvae } = this.parts;
    const call = { ...shape, part: 'decode', channels: vqvae.config.vqEmbedDim } as const;
    return {
      network: { plan: () => unet.plan(shape), profile: (o: object) => unet.profile(shape, o) },
      decoder: { plan: () => vqvae.plan(call), profile: (o: object) => vqvae.profile(call, o) },
    };
  }
}
