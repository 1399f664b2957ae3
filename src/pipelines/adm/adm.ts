/**
 * Class → picture by guided-diffusion's networks: a U-Net, a classifier whose gradient guides it, and a second network
 * that enlarges what the first made (or pictures that are given). Dhariwal & Nichol 2021,
 * https://arxiv.org/abs/2105.05233
 *
 * The authors publish pickles, and their configs as flags of scripts. A folder here has a `model_index.json`,
 *
 *     {
 *       "_class_name": "ADMPipeline",
 *       "unet": ["guided_diffusion", "UNetModel"],
 *       "classifier": ["guided_diffusion", "EncoderUNetModel"],
 *       "upsampler": ["guided_diffusion", "SuperResModel"]
 *     }
 *
 * of which `classifier` is optional, and so is one of the other two; `id2label` may name classes. Each part has a
 * folder of its name with the checkpoint as safetensors under its original keys, and a `config.json` of the flags
 * (`image_size`, `num_channels`, `classifier_width`, `large_size`, `diffusion_steps`, `timestep_respacing` …) or of the
 * constructor's arguments.
 */
import { InvalidArgumentError, type Device, type Profile } from '../../engine/index.ts';
import type { Directory, RawConfig } from '../../loading/index.ts';
import type { AdmUNet } from '../../models/adm/admModel.ts';
import { admFolder, loadAdmParts, type AdmPart, type AdmParts, type AdmSources } from './parts.ts';
import { methodOf, processOf, stageDenoiser, stageSampler, type AdmStageRun } from './stage.ts';
import type { AdmOptions, AdmResult, AdmStep } from './options.ts';
import {
  BasePipeline,
  loadParts,
  pictureCount,
  workOf,
  type Part,
  type RunShape,
  type Work,
} from '../run/basePipeline.ts';
import type { GenerationOptions, GenerationResult } from '../options/generation.ts';
import { planesOf, repeatedTo } from '../picture/imageInput.ts';
import { classNumber } from '../options/labels.ts';
import { runLatents } from '../run/latentRun.ts';
import { generatorOf, latentSize, type Generators, type LatentShape } from '../run/latents.ts';
import { networkOptions, type LoadPipelineOptions } from '../options/loadOptions.ts';
import { expectPicture, pixelDecoder } from '../run/pixelDecoder.ts';

/** Class → picture, guided by a classifier, in one stage or two. */
export class ADMPipeline extends BasePipeline {
  /** The `_class_name` of such a folder; ours, since its authors have none. */
  static readonly className = 'ADMPipeline';

  private constructor(
    device: Device,
    private readonly parts: AdmParts,
    /** Class names by index. */
    override readonly labels: Readonly<Record<number, string>>,
    all: readonly Part[],
    onProgress: LoadPipelineOptions['onProgress'],
  ) {
    super(device, all, pixelDecoder(device), onProgress);
  }

  /**
   * Loads a folder, see the head of this file.
   * @throws NotFoundError, NetworkError, FormatError (for pickles, too), ConfigError naming a field that is not
   * understood or parts of different models, WeightError, OutOfMemoryError, AbortedError; nothing is left behind.
   */
  static async load(device: Device, directory: Directory, options: LoadPipelineOptions = {}): Promise<ADMPipeline> {
    const folder = await admFolder(directory, ADMPipeline.className, options.signal);
    return ADMPipeline.fromParts(device, folder.sources, { ...options, fields: folder.options });
  }

  /**
   * A pipeline of parts that are open already, or in folders of any name.
   * @param options.fields what `model_index.json` would say beside the parts: `id2label`
   * @throws as {@link load}
   */
  static async fromParts(
    device: Device,
    sources: AdmSources,
    options: LoadPipelineOptions & { fields?: RawConfig } = {},
  ): Promise<ADMPipeline> {
    const { onProgress, fields } = options;
    const labels = (fields?.id2label ?? {}) as Record<number, string>;
    return loadParts(async (own, all) => {
      const load = networkOptions(device, options);
      const parts = await loadAdmParts(device, sources, load, own);
      expectPicture(ADMPipeline.className, (parts.unet ?? parts.upsampler)!.network.config.inChannels);
      return new ADMPipeline(device, parts, labels, all, onProgress);
    });
  }

  /** Pixels themselves. */
  get downsampling(): number {
    return 1;
  }

  /** Width and height of results in pixels must be multiples of this. */
  get sizeMultiple(): number {
    const { unet, upsampler } = this.parts;
    const small = (unet?.network.sizeMultiple ?? 1) * this.factor;
    const large = upsampler?.network.sizeMultiple ?? 1;
    // Both are powers of two but for the factor between the stages.
    return small % large === 0 ? small : small * large;
  }

  /** The size of results that the last network was trained at, pixels; 0 where its config does not say. */
  get sampleSize(): { width: number; height: number } {
    const { unet, upsampler } = this.parts;
    const side = (upsampler ?? unet)!.network.config.imageSize ?? 0;
    return { width: side, height: side };
  }

  /** The number of classes; 0 for a pipeline without. */
  get numClasses(): number {
    const { unet, classifier, upsampler } = this.parts;
    return (
      unet?.network.config.numClasses ??
      classifier?.network.config.outChannels ??
      upsampler?.network.config.numClasses ??
      0
    );
  }

  /** How many times larger the second stage makes pictures, along each side; 1 without one. */
  get factor(): number {
    const { unet, upsampler } = this.parts;
    if (!upsampler) return 1;
    const large = upsampler.network.config.imageSize;
    const small = upsampler.flags.smallSize ?? unet?.network.config.imageSize;
    return large && small && large % small === 0 ? large / small : 4;
  }

  /**
   * From noise, or from small pictures, to pictures. The gradient of the classifier is computed on the GPU and nothing
   * of a step is read back; between two stages the pictures are rounded to bytes, as the authors' files of samples are.
   * Noise is drawn in the order of the authors' loops: the start, then one draw per step that ends in noise.
   * @throws InvalidArgumentError for an option out of range; LimitError where the size does not fit the device;
   * AbortedError when the signal fires, between two submits; NonFiniteError, DeviceLostError, OutOfMemoryError. After
   * any of them but a lost device the pipeline stays usable.
   */
  async generate(options: AdmOptions = {}): Promise<AdmResult> {
    const { unet, upsampler, classifier } = this.parts;
    const first = options.image === undefined ? unet : undefined;
    const channels = (unet ?? upsampler)!.network.config.inChannels;
    const given = options.image && planesOf('image', options.image, channels, [-1, 1]);
    if (!first && !given) throw missing('image', 'this pipeline only enlarges; pass small pictures');
    if (given && !upsampler) throw missing('no image', 'this pipeline does not enlarge; leave it out');
    if (options.resume && first && upsampler) {
      throw missing('no resume', 'a run of two stages starts anew; resume with `image` to go on in the second');
    }
    const classes = this.classesOf(options, given?.shape[0]);
    const batch = classes?.length ?? pictureCount('batchSize', options.batchSize ?? given?.shape[0]);
    const size = latentSize(this, this.sizeFrom(options, given?.shape));
    const generator = generatorOf(options.generator);
    const own = { ...options, generator };
    if (!upsampler) {
      const guide = this.guideOf(options, classifier);
      const result = await this.stage(own, unet!, 'base', { shape: [batch, channels, ...size], classes, guide });
      return { ...result, classLabels: classes };
    }
    const small = first
      ? await this.smallPictures(own, first, [batch, channels, size[0] / this.factor, size[1] / this.factor], classes)
      : repeatedTo('image', given!, batch);
    const result = await this.stage(
      { ...own, latents: first ? undefined : own.latents, ...enlarging(options, first !== undefined) },
      upsampler,
      'upsampler',
      {
        shape: [batch, channels, ...size],
        classes,
        lowRes: { data: Float32Array.from(small.data), shape: small.shape },
      },
    );
    return {
      ...result,
      classLabels: classes,
      small: first && { data: Float32Array.from(small.data), shape: small.shape },
    };
  }

  /** One evaluation is the U-Net's with the classifier's gradient; the network that enlarges counts as the decoder. */
  protected work({ batch, height, width }: RunShape): { network: Work; decoder?: Work } {
    const { unet, classifier, upsampler } = this.parts;
    const { factor } = this;
    const large = { batch, height, width, lowHeight: height / factor, lowWidth: width / factor };
    const enlarge = upsampler && workOf(upsampler.network, large);
    if (!unet) return { network: enlarge! };
    const small = { batch, height: height / factor, width: width / factor };
    const networks = [workOf(unet.network, small)];
    if (classifier) networks.push(workOf(classifier.network, { ...small, gradient: true }));
    return { network: together(networks), decoder: enlarge };
  }

  /** The first of two stages, rounded as a file of bytes would be: ⌊(x + 1)·127.5⌋ within 0 … 255. */
  private async smallPictures(
    options: AdmOptions & { generator: Generators },
    part: AdmPart<AdmUNet>,
    shape: LatentShape,
    classes: readonly number[] | undefined,
  ): Promise<{ data: Float32Array; shape: LatentShape }> {
    const guide = this.guideOf(options, this.parts.classifier);
    const { images, latents } = await this.stage(options, part, 'base', { shape, classes, guide });
    images.forEach((image) => image.dispose());
    const byte = (x: number) => Math.floor(Math.min(255, Math.max(0, Math.fround(Math.fround(x + 1) * 127.5))));
    return { data: latents.map((x) => byte(x) / 127.5 - 1), shape };
  }

  private stage(
    options: AdmOptions & { generator: Generators },
    { network: unet, flags }: AdmPart<AdmUNet>,
    stage: AdmStep['stage'],
    run: Pick<AdmStageRun, 'shape' | 'guide' | 'lowRes'> & { classes?: readonly number[] },
  ): Promise<GenerationResult> {
    const { onStep, ...others } = options;
    const { device, onProgress, toPictures: decode } = this;
    const { brownian, sigmas }: GenerationOptions = others;
    if (brownian ?? sigmas) {
      throw missing('neither brownian nor sigmas', 'these samplers have timesteps and noise of their own');
    }
    const process = processOf(flags, options);
    const all: AdmStageRun = {
      ...run,
      unet,
      flags,
      process,
      classLabels: run.classes,
      method: methodOf(options, flags),
      call: { checkFinite: options.checkFinite, onProgress },
    };
    return runLatents(
      { device, sampler: stageSampler(all), shape: run.shape, denoiser: (space) => stageDenoiser(space, all), decode },
      // The process has its steps already.
      { ...others, timesteps: undefined, eta: undefined, onStep: onStep && ((event) => onStep({ ...event, stage })) },
    );
  }

  private guideOf(
    { classifierScale }: AdmOptions,
    classifier: AdmParts['classifier'],
  ): AdmStageRun['guide'] | undefined {
    if (!classifier) {
      if (!classifierScale) return undefined;
      throw missing('no classifierScale', 'this pipeline has no classifier; leave it out');
    }
    const { unet } = this.parts;
    const told = classifier.flags.calls.classifierScale ?? unet?.flags.calls.classifierScale;
    const scale = classifierScale ?? told ?? 1;
    return scale === 0 ? undefined : { classifier: classifier.network, scale };
  }

  /** A class per picture; undefined where nothing asks for one. @throws InvalidArgumentError */
  private classesOf({ classLabels, batchSize }: AdmOptions, pictures?: number): number[] | undefined {
    const { numClasses, labels } = this;
    if (numClasses === 0) {
      if (classLabels === undefined) return undefined;
      throw missing('no classLabels', 'the networks know no classes; leave them out');
    }
    if (classLabels === undefined) {
      const count = pictureCount('batchSize', batchSize ?? pictures);
      return Array.from({ length: count }, () => Math.floor(Math.random() * numClasses));
    }
    const list = typeof classLabels === 'object' ? classLabels : [classLabels];
    const classes = list.map((label) => classNumber(label, labels, numClasses));
    const count = pictureCount('batchSize', batchSize ?? Math.max(classes.length, pictures ?? 1));
    if (classes.length === count) return classes;
    if (classes.length === 1) return Array<number>(count).fill(classes[0]);
    throw new InvalidArgumentError(`generate: expected 1 or ${count} classLabels, got ${classes.length}`);
  }

  private sizeFrom({ width, height }: AdmOptions, small: readonly number[] | undefined) {
    if (!small) return { width, height };
    return { width: width ?? small[3] * this.factor, height: height ?? small[2] * this.factor };
  }
}

/** How the second stage is told its steps: behind a first one, apart from it. */
function enlarging(
  { upsamplerRespacing, timestepRespacing, timesteps, numInferenceSteps }: AdmOptions,
  second: boolean,
): Pick<AdmOptions, 'timesteps' | 'numInferenceSteps' | 'timestepRespacing'> {
  if (!second) return { timesteps, numInferenceSteps, timestepRespacing: upsamplerRespacing ?? timestepRespacing };
  return { timesteps: undefined, numInferenceSteps: undefined, timestepRespacing: upsamplerRespacing };
}

const missing = (what: string, why: string) => new InvalidArgumentError(`generate: expected ${what}: ${why}`);

/** Several networks of which each is called once. */
function together(works: readonly Work[]): Work {
  if (works.length === 1) return works[0];
  return {
    plan() {
      const [first, ...others] = works.map((work) => work.plan());
      return others.reduce(
        (a, b) => ({
          ...a,
          dispatches: a.dispatches + b.dispatches,
          peakBytes: a.peakBytes + b.peakBytes,
          flops: a.flops + b.flops,
          largestBinding: a.largestBinding.bytes < b.largestBinding.bytes ? b.largestBinding : a.largestBinding,
        }),
        first,
      );
    },
    async profile(options) {
      const all: Profile[] = [];
      for (const work of works) all.push(await work.profile(options));
      return {
        clock: all[0].clock,
        rows: all.flatMap((profile) => profile.rows),
        totalMs: all.reduce((sum, profile) => sum + profile.totalMs, 0),
      };
    },
  };
}
