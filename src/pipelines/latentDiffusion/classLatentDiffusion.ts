/**
 * Class → picture: a class-conditional U-Net in the latent space of a KL autoencoder (Rombach et al. 2022), sampled
 * with classifier-free guidance (Ho & Salimans 2022). The folder has `unet/`, `vae/`, `scheduler/` and `id2label`.
 */
import type { Device } from '../../engine/index.ts';
import { readModelIndex, type Directory } from '../../loading/index.ts';
import { AutoencoderKL, sizeMultiple, UNet2D } from '../../models/index.ts';
import type { ClassToImageOptions, ClassToImageResult } from '../options/classToImage.ts';
import { readLabels, resolveClasses } from '../options/labels.ts';
import { networkOptions, type LoadPipelineOptions } from '../options/loadOptions.ts';
import { loadParts, readScheduler } from '../run/basePipeline.ts';
import { ClassPipeline, type ClassParts } from './classPipeline.ts';

/** Class → picture by latent diffusion: U-Net, autoencoder, scheduler and labels of one folder on one device. */
export class ClassLatentDiffusionPipeline extends ClassPipeline<UNet2D> {
  /** The `_class_name` of such a folder. */
  static readonly className = 'ClassLatentDiffusionPipeline';

  private constructor(
    device: Device,
    parts: ClassParts<UNet2D>,
    labels: Readonly<Record<number, string>>,
    private readonly nullLabel: number,
    onProgress: LoadPipelineOptions['onProgress'],
  ) {
    super(device, parts, labels, onProgress);
  }

  /**
   * Loads a pipeline folder.
   * @throws NotFoundError, NetworkError, FormatError, ConfigError, UnsupportedError for a scheduler that is not built,
   * WeightError, InvalidArgumentError, OutOfMemoryError, AbortedError; nothing is left behind.
   */
  static async load(device: Device, directory: Directory, options: LoadPipelineOptions = {}) {
    const index = await readModelIndex(directory, ClassLatentDiffusionPipeline.className, options.signal);
    const { labels, nullLabel } = readLabels(index.options, `${directory.name}/model_index.json`);
    const scheduler = await readScheduler(directory, options);
    const load = networkOptions(device, options);
    return loadParts(async (own, all) => {
      const network = await own(UNet2D.load(device, directory.folder('unet'), load));
      const vae = await own(AutoencoderKL.load(device, directory.folder('vae'), load));
      const parts = { network, vae, scheduler, all };
      return new ClassLatentDiffusionPipeline(device, parts, labels, nullLabel, options.onProgress);
    });
  }

  /** Width and height in pixels must be multiples of this. */
  get sizeMultiple(): number {
    return this.downsampling * sizeMultiple(this.parts.network.config);
  }

  /** The size the networks were trained at, pixels. */
  get sampleSize(): { width: number; height: number } {
    const [height, width] = this.parts.vae.config.sampleSize;
    return { width, height };
  }

  /**
   * From noise to pictures; by default 20 steps with a guidance scale of 4. A scale of 1 is the conditional network
   * alone.
   * @throws InvalidArgumentError for an option out of range; LimitError where the size does not fit the device;
   * AbortedError when the signal fires, between two submits; NonFiniteError, DeviceLostError, OutOfMemoryError. After
   * any of them but a lost device the pipeline stays usable.
   */
  async generate(options: ClassToImageOptions): Promise<ClassToImageResult> {
    const { guidanceScale = 4 } = options;
    const classes = resolveClasses(options.classLabels, this.labels, options.numImagesPerClass ?? 1);
    const nullClass = guidanceScale === 1 ? undefined : this.nullLabel;
    return this.ofClasses(classes, nullClass, { ...options, guidanceScale });
  }
}
