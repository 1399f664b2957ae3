/** What pipelines in the latent space of an autoencoder with a codebook have in common: parts, sizes, plan. */
import { ConfigError, type Device } from '../../engine/index.ts';
import { readModelIndex, type Directory } from '../../loading/index.ts';
import { UNet2D } from '../../models/index.ts';
import { VQModel } from '../../models/vq/vqModel.ts';
import { BasePipeline, loadParts, readScheduler, workOf, type Part, type RunShape } from '../run/basePipeline.ts';
import { networkOptions, type LoadPipelineOptions } from '../options/loadOptions.ts';
import { expectPicture, vqDecoder } from '../run/pixelDecoder.ts';

/** The networks of a folder, and its scheduler's config. */
export interface VqLatentParts {
  unet: UNet2D;
  vqvae: VQModel;
  scheduler: Readonly<Record<string, unknown>>;
  all: readonly Part[];
}

/**
 * Loads `unet/` and `vqvae/` of a folder, and makes a pipeline of them.
 * @param seen how many times the latents' channels the U-Net reads
 * @throws as the pipelines' `load`; nothing is left behind.
 */
export async function loadVqLatent<P>(
  device: Device,
  directory: Directory,
  options: LoadPipelineOptions,
  { className, seen }: { className: string; seen: 1 | 2 },
  make: (parts: VqLatentParts) => P,
): Promise<P> {
  const { signal } = options;
  await readModelIndex(directory, className, signal);
  const scheduler = await readScheduler(directory, options);
  return loadParts(async (own, all) => {
    const load = networkOptions(device, options);
    const unet = await own(UNet2D.load(device, directory.folder('unet'), load));
    const vqvae = await own(VQModel.load(device, directory.folder('vqvae'), load));
    const { vqEmbedDim, outChannels } = vqvae.config;
    expectPicture(directory.name, outChannels);
    const { inChannels } = unet.config;
    if (inChannels === seen * vqEmbedDim) return make({ unet, vqvae, scheduler, all });
    throw new ConfigError(
      `${className}: expected a U-Net of ${seen === 2 ? 'twice ' : ''}the ${vqEmbedDim} latent channels of vqvae/, got ` +
        `${inChannels}; take both from one pipeline`,
      'in_channels',
    );
  });
}

/** A U-Net over the latents of an autoencoder with a codebook. */
export abstract class VqLatentPipeline extends BasePipeline {
  protected constructor(
    device: Device,
    protected readonly parts: VqLatentParts,
    onProgress: LoadPipelineOptions['onProgress'],
    /** What latents are scaled by for the network. */
    private readonly scale: number,
  ) {
    super(device, parts.all, vqDecoder(device, parts.vqvae, scale), onProgress);
  }

  /** The scheduler's config, as its folder has it. */
  get schedulerConfig(): Readonly<Record<string, unknown>> {
    return this.parts.scheduler;
  }

  /** Pixels per latent cell along each side; of a result per pixel of a picture that is enlarged. */
  get downsampling(): number {
    return this.parts.vqvae.downsampling;
  }

  /** Width and height of results in pixels must be multiples of this. */
  get sizeMultiple(): number {
    return this.downsampling * this.parts.unet.sizeMultiple;
  }

  /** The size of results that the networks were trained at, pixels; 0 where the U-Net's config does not say. */
  get sampleSize(): { width: number; height: number } {
    const [height, width] = this.parts.unet.config.sampleSize ?? [0, 0];
    return { width: width * this.downsampling, height: height * this.downsampling };
  }

  protected override get autoencoder() {
    return { model: this.parts.vqvae, scale: this.scale };
  }

  protected work(shape: RunShape) {
    const { unet, vqvae } = this.parts;
    const call = { ...shape, part: 'decode', channels: vqvae.config.vqEmbedDim } as const;
    return { network: workOf(unet, shape), decoder: workOf(vqvae, call) };
  }
}
