/**
 * Class → picture by a diffusion transformer in the latent space of a KL autoencoder, with classifier-free guidance:
 * diffusers' `DiTPipeline` folders. Peebles & Xie 2023, https://arxiv.org/abs/2212.09748
 */
import { ConfigError, InvalidArgumentError, type Device } from '../../engine/index.ts';
import { readModelIndex, type Directory } from '../../loading/index.ts';
import { AutoencoderKL } from '../../models/index.ts';
import { DiT } from '../../models/transformers/ditModel.ts';
import type { ClassToImageOptions, ClassToImageResult } from '../options/classToImage.ts';
import type { ClassLabel } from '../options/labels.ts';
import { networkOptions, type LoadPipelineOptions } from '../options/loadOptions.ts';
import { loadParts, readScheduler } from '../run/basePipeline.ts';
import { ClassPipeline, type ClassParts } from './classPipeline.ts';

/** Class → picture by a diffusion transformer: transformer, autoencoder and scheduler of one folder on one device. */
export class DiTPipeline extends ClassPipeline<DiT> {
  /** The `_class_name` of such a folder. */
  static readonly className = 'DiTPipeline';

  /** @param labels by index, several per class with commas between; empty where the folder has none */
  private constructor(
    device: Device,
    parts: ClassParts<DiT>,
    labels: Readonly<Record<number, string>>,
    onProgress: LoadPipelineOptions['onProgress'],
  ) {
    super(device, parts, labels, onProgress);
  }

  /**
   * Loads a pipeline folder.
   * @throws NotFoundError, NetworkError, FormatError, ConfigError, UnsupportedError for a scheduler that is not built,
   * WeightError, OutOfMemoryError, AbortedError; nothing is left behind.
   */
  static async load(device: Device, directory: Directory, options: LoadPipelineOptions = {}): Promise<DiTPipeline> {
    const index = await readModelIndex(directory, DiTPipeline.className, options.signal);
    const labels = (index.options.id2label ?? {}) as Record<number, string>;
    const scheduler = await readScheduler(directory, options);
    const load = networkOptions(device, options);
    return loadParts(async (own, all) => {
      const network = await own(DiT.load(device, directory.folder('transformer'), load));
      const vae = await own(AutoencoderKL.load(device, directory.folder('vae'), load));
      checkParts(network, vae);
      return new DiTPipeline(device, { network, vae, scheduler, all }, labels, options.onProgress);
    });
  }

  /** Width and height in pixels must be multiples of this. */
  get sizeMultiple(): number {
    return this.downsampling * this.parts.network.config.patchSize;
  }

  /** The size the transformer was trained at, pixels. */
  get sampleSize(): { width: number; height: number } {
    const side = this.downsampling * this.parts.network.config.sampleSize;
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
    const nullClass = guidanceScale > 1 ? this.parts.network.nullClass : undefined;
    return this.ofClasses(this.classes(options), nullClass, { ...options, numInferenceSteps, guidanceScale });
  }

  /** Class numbers, each as often as pictures of it are wanted. */
  private classes({ classLabels, numImagesPerClass: times = 1 }: ClassToImageOptions): number[] {
    if (!Number.isInteger(times) || times < 1) {
      throw new InvalidArgumentError(`generate: expected numImagesPerClass to be an integer ≥ 1, got ${times}`);
    }
    const list = typeof classLabels === 'object' ? classLabels : [classLabels];
    if (list.length === 0) throw new InvalidArgumentError('generate: expected at least one class label, got none');
    const { numClasses } = this.parts.network.config;
    return list.flatMap((label) => Array<number>(times).fill(classOf(label, this.labels, numClasses)));
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
