/**
 * Text and small picture → larger picture: the network sees the small one, enlarged and made a little noisy, in the
 * channels behind the state, and is told how noisy. diffusers' `IFSuperResolutionPipeline` folders, the second stage of
 * DeepFloyd IF.
 *
 * Saharia et al. 2022 (Imagen), section 2.2, https://arxiv.org/abs/2205.11487; noise conditioning: Ho et al. 2022
 * (Cascaded diffusion models), section 4.2, https://arxiv.org/abs/2106.15282
 */
import { InvalidArgumentError, numel, type Device } from '../../engine/index.ts';
import type { Directory } from '../../loading/index.ts';
import type { Sampler } from '../../sampler/index.ts';
import { samplerFrom } from '../../sampler/diffusers/samplerFrom.ts';
import { LinearForm, type Vec } from '../../sampler/vec.ts';
import { loadParts, readScheduler } from '../run/basePipeline.ts';
import type { GenerationResult } from '../options/generation.ts';
import type { GpuSpace } from '../gpu/gpuSpace.ts';
import { planesOf, repeatedTo, type Planes } from '../picture/imageInput.ts';
import { initialNoise, type Generators, type LatentShape } from '../run/latents.ts';
import type { LoadPipelineOptions } from '../options/loadOptions.ts';
import { PictureResize } from '../picture/pictureResize.ts';
import { repeatedRows } from '../prompts/promptEncoder.ts';
import { IfBase } from './ifBase.ts';
import { expectChannels, loadIfParts, type IfLoadOptions, type IfParts } from './ifParts.ts';
import type { IfSuperResolutionOptions } from './options.ts';

/** What the reference library does without being told. */
const DEFAULTS = { numInferenceSteps: 50, guidanceScale: 4, noiseLevel: 250 } as const;

/** What enlarges has more than the first stage. */
interface Enlarging {
  resize: PictureResize;
  /** The process that makes the enlarged picture noisy. */
  noising: Sampler;
}

/** Texts and small pictures → larger ones: U-Net and schedulers, perhaps T5, of one folder on one device. */
export class IFSuperResolutionPipeline extends IfBase {
  /** The `_class_name` of such a folder. */
  static readonly className = 'IFSuperResolutionPipeline';

  private constructor(
    device: Device,
    parts: IfParts,
    private readonly enlarging: Enlarging,
    onProgress: LoadPipelineOptions['onProgress'],
  ) {
    super(device, parts, onProgress);
  }

  /**
   * Loads a pipeline folder.
   * @throws NotFoundError, NetworkError, FormatError, ConfigError for parts of different models, UnsupportedError for a
   * component or a scheduler that is not built, WeightError, OutOfMemoryError, AbortedError; nothing is left behind.
   */
  static load(device: Device, directory: Directory, options: IfLoadOptions = {}): Promise<IFSuperResolutionPipeline> {
    return loadParts(async (own, all) => {
      const parts = await loadIfParts(device, directory, IFSuperResolutionPipeline.className, options, { own, all });
      expectChannels(directory.name, parts.unet, 6);
      const noising = samplerFrom(await readScheduler(directory, options, { folder: 'image_noising_scheduler' }));
      const resize = await own(Promise.resolve(new PictureResize(device, 'bilinear')));
      return new IFSuperResolutionPipeline(device, parts, { resize, noising }, options.onProgress);
    });
  }

  /**
   * Small pictures → larger ones; by default 50 steps with a guidance scale of 4. The start is drawn first, then the
   * noise on the enlarged pictures.
   * @throws InvalidArgumentError for an option out of range or pictures that are neither one nor one per prompt;
   * LimitError where the size does not fit the device; AbortedError when the signal fires, between two submits;
   * NonFiniteError, DeviceLostError, OutOfMemoryError. After any of them but a lost device the pipeline stays usable.
   */
  async generate(options: IfSuperResolutionOptions): Promise<GenerationResult> {
    const given = { ...DEFAULTS, ...options };
    const { noiseLevel, numImagesPerPrompt: times = 1 } = given;
    const steps = this.enlarging.noising.schedule.length;
    if (!Number.isInteger(noiseLevel) || noiseLevel < 0 || noiseLevel >= steps) {
      throw new InvalidArgumentError(
        `generate: expected noiseLevel to be an integer in 0 … ${steps - 1}, got ${noiseLevel}`,
      );
    }
    const image = planesOf('image', given.image, 3, [-1, 1]);
    const conditions = await this.conditions(given, given.guidanceScale > 1);
    const batch = conditions.text.shape[0];
    const small = repeatedTo('image', image, batch / times);
    const { sampler, shape } = this.start(given, batch);
    let noisy: Vec | undefined;
    return this.run(
      {
        sampler,
        shape,
        conditions,
        more: { classLabel: noiseLevel },
        prepare: async (space, generator) => {
          noisy = await this.noised(space, small, { times, shape, noiseLevel, generator, signal: given.signal });
        },
        beside: () => noisy!,
      },
      given,
    );
  }

  private async noised(
    space: GpuSpace,
    { data, shape: [N, ...item] }: Planes,
    run: { times: number; shape: LatentShape; noiseLevel: number; generator: Generators; signal?: AbortSignal },
  ): Promise<Vec> {
    const { resize, noising } = this.enlarging;
    const { times, shape, noiseLevel, generator, signal } = run;
    const [batch, , height, width] = shape;
    const all = { data: repeatedRows(Float32Array.from(data), N, times), shape: [batch, ...item] };
    const { buffer } = await resize.run(all, height, width, { signal, onProgress: this.onProgress });
    const enlarged = space.copy(buffer, numel(shape), batch);
    const noise = space.vec(initialNoise(shape, undefined, generator), batch);
    const { alpha, sigma } = noising.schedule.at(noiseLevel);
    return LinearForm.of(enlarged, alpha).plus(noise, sigma).materialise();
  }
}
