/**
 * Super-resolution guided by text: the network sees the small picture, made a little noisy, in the channels behind the
 * latents, and is told how noisy as a class. diffusers' `StableDiffusionUpscalePipeline` folders (x4 upscaler).
 *
 * Rombach et al. 2022, https://arxiv.org/abs/2112.10752; noise conditioning: Ho et al. 2022 (Cascaded diffusion
 * models), section 4.2, https://arxiv.org/abs/2106.15282
 */
import { ConfigError, InvalidArgumentError, numel, UnsupportedError, type Device } from '../../engine/index.ts';
import { readConfig, readModelIndex, type Directory } from '../../loading/index.ts';
import { AutoencoderKL } from '../../models/index.ts';
import { UNet2DCondition } from '../../models/unetCondition/unetConditionModel.ts';
import type { Sampler } from '../../sampler/index.ts';
import { samplerFrom } from '../../sampler/diffusers/samplerFrom.ts';
import { LinearForm } from '../../sampler/vec.ts';
import { chosenScheduler, loadParts, readScheduler, workOf, type RunShape } from '../run/basePipeline.ts';
import { loraHolder, LoraPipeline, type LoraParts } from '../run/loraPipeline.ts';
import { openClipPrompts, type PromptModel } from '../prompts/clipPrompts.ts';
import type { GenerationResult } from '../options/generation.ts';
import { planesOf, repeatedTo, type Planes } from '../picture/imageInput.ts';
import { picturesOf, type LatentDecoder } from '../run/latentDecoder.ts';
import { runLatents } from '../run/latentRun.ts';
import { generatorOf, initialNoise, type Generators, type LatentShape } from '../run/latents.ts';
import { networkOptions, type LoadPipelineOptions } from '../options/loadOptions.ts';
import type { UpscaleOptions } from '../options/pictureOptions.ts';
import { conditionsOf } from '../prompts/promptEncoder.ts';
import { RunConditions } from './conditions.ts';
import { sdDenoiser } from './denoiser.ts';
import type { SourceOptions } from '../source/source.ts';

interface Parts extends LoraParts {
  unet: UNet2DCondition;
  text: PromptModel | undefined;
  /** The process that makes the small picture noisy. */
  lowRes: Sampler;
  maxNoiseLevel: number;
}

/** What the reference library does without being told. */
const DEFAULTS = { numInferenceSteps: 75, guidanceScale: 9, noiseLevel: 20 } as const;
const MAX_NOISE_LEVEL = 350;

/** It also takes this factor whatever the autoencoder's config says, since published ones say another. */
const SCALING_FACTOR = 0.08333;

/** Components that pictures do not need. */
const UNUSED = new Set(['safety_checker', 'feature_extractor', 'watermarker']);
const KNOWN = new Set(['unet', 'vae', 'scheduler', 'low_res_scheduler', 'text_encoder', 'tokenizer']);

/** Small pictures and texts → large pictures: the parts of one folder on one device. */
export class StableDiffusionUpscalePipeline extends LoraPipeline<Parts> {
  /** The `_class_name` of such a folder. */
  static readonly className = 'StableDiffusionUpscalePipeline';

  private constructor(device: Device, parts: Parts, options: LoadPipelineOptions & SourceOptions) {
    super(device, parts, loraHolder('unet', parts.unet), options, upscaleDecoder(device, parts.vae));
  }

  /**
   * Loads a pipeline folder.
   * @throws NotFoundError, NetworkError, FormatError, ConfigError for parts of different models, UnsupportedError for a
   * component or a scheduler that is not built, WeightError, OutOfMemoryError, AbortedError; nothing is left behind.
   */
  static async load(
    device: Device,
    directory: Directory,
    options: LoadPipelineOptions & SourceOptions = {},
  ): Promise<StableDiffusionUpscalePipeline> {
    const { signal } = options;
    const { components, options: fields } = await readModelIndex(
      directory,
      StableDiffusionUpscalePipeline.className,
      signal,
    );
    for (const [name, { className }] of components) {
      if (className === null || KNOWN.has(name) || UNUSED.has(name)) continue;
      const known = [...KNOWN].join(', ');
      throw new UnsupportedError(`${directory.name}: expected ${known}, got component ${name} (${className})`);
    }
    const maxNoiseLevel = fields.max_noise_level ?? MAX_NOISE_LEVEL;
    if (typeof maxNoiseLevel !== 'number') {
      throw new ConfigError(
        `${directory.name}: expected max_noise_level to be a number, got ${JSON.stringify(maxNoiseLevel)}`,
        'max_noise_level',
      );
    }
    const scheduler = await readScheduler(directory, options);
    const lowRes = samplerFrom(await readScheduler(directory, options, { folder: 'low_res_scheduler' }));
    const { force_upcast: upcast = true } = await readConfig(directory.folder('vae'), 'AutoencoderKL', { signal });
    return loadParts(async (own, all) => {
      const load = networkOptions(device, options);
      const hasText = (components.get('text_encoder')?.className ?? null) !== null;
      const text = hasText ? await own(openClipPrompts(device, directory, load)) : undefined;
      const unet = await own(UNet2DCondition.load(device, directory.folder('unet'), load));
      // Such autoencoders overflow in halves.
      const dtype = upcast === true ? 'f32' : load.dtype;
      const vae = await own(AutoencoderKL.load(device, directory.folder('vae'), { ...load, dtype, parts: ['decode'] }));
      checkParts(unet, vae);
      const parts: Parts = { unet, vae, text, scheduler, lowRes, maxNoiseLevel, all };
      return new StableDiffusionUpscalePipeline(device, parts, options);
    });
  }

  /** Width and height of results are multiples of this. */
  get sizeMultiple(): number {
    return this.downsampling;
  }

  /** The size of results that the network was trained at, pixels. */
  get sampleSize(): { width: number; height: number } {
    const [height, width = height] = [this.parts.unet.config.sampleSize ?? 64].flat();
    return { width: width * this.downsampling, height: height * this.downsampling };
  }

  /**
   * Small pictures → large ones; by default 75 steps with a guidance scale of 9. A scale of 1 or less is the
   * conditional network alone. The noise on the small pictures is drawn first.
   * @throws InvalidArgumentError for an option out of range; LimitError where the size does not fit the device;
   * AbortedError when the signal fires, between two submits; NonFiniteError, DeviceLostError, OutOfMemoryError. After
   * any of them but a lost device the pipeline stays usable.
   */
  async generate(options: UpscaleOptions): Promise<GenerationResult> {
    const given = { ...DEFAULTS, ...options };
    const { unet, vae, text, scheduler } = this.parts;
    this.checkNoiseLevel(given.noiseLevel);
    const image = planesOf('image', given.image, unet.config.inChannels - vae.config.latentChannels, [-1, 1]);
    const sampler = samplerFrom(chosenScheduler(scheduler, given.scheduler));
    const texts = await conditionsOf(given, text?.encode, given.guidanceScale > 1);
    const batch = texts.text.shape[0];
    const [, , height, width] = image.shape;
    const shape: LatentShape = [batch, vae.config.latentChannels, height, width];
    const generator = generatorOf(given.generator);
    const noisy = this.noised(image, given, batch, generator);
    const conditions = new RunConditions(this.device, texts, { classLabel: given.noiseLevel });
    const { onProgress } = this;
    try {
      return await runLatents(
        {
          device: this.device,
          sampler,
          shape,
          denoiser: (space) => {
            const beside = [space.vec(noisy, batch)];
            const run = { unet, sampler, shape, conditions, control: undefined, steps: [], beside, onProgress };
            return sdDenoiser(space, run, given);
          },
          decode: this.toPictures,
        },
        { ...given, generator },
      );
    } finally {
      conditions.dispose();
    }
  }

  protected override get autoencoder() {
    return { model: this.parts.vae, scale: SCALING_FACTOR };
  }

  protected work(shape: RunShape) {
    const both = { ...shape, batch: 2 * shape.batch };
    return { network: workOf(this.parts.unet, both), decoder: this.decoding(shape) };
  }

  private checkNoiseLevel(level: number): void {
    const { maxNoiseLevel } = this.parts;
    if (Number.isInteger(level) && level >= 0 && level <= maxNoiseLevel) return;
    throw new InvalidArgumentError(
      `generate: expected noiseLevel to be an integer in 0 … ${maxNoiseLevel}, got ${level}; see max_noise_level`,
    );
  }

  /**
   * Small pictures with their noise, one for each result. Each is drawn once, whatever the number of results made from
   * it.
   * @throws InvalidArgumentError unless there is one picture, or one per prompt
   */
  private noised(
    image: Planes,
    { numImagesPerPrompt: times = 1, noiseLevel }: UpscaleOptions & { noiseLevel: number },
    batch: number,
    generator: Generators,
  ): Float32Array {
    const { data, shape } = repeatedTo('image', image, batch / times);
    const draws = 'randn' in generator ? generator : generator.slice(0, shape[0]);
    const noise = initialNoise(shape, undefined, draws);
    const { alpha, sigma } = this.parts.lowRes.schedule.at(noiseLevel);
    const size = numel(shape) / shape[0];
    const out = new Float32Array(batch * size);
    return out.map((_, i) => {
      const from = Math.floor(i / (times * size)) * size + (i % size);
      return alpha * data[from] + sigma * noise[from];
    });
  }
}

function upscaleDecoder(device: Device, vae: AutoencoderKL): LatentDecoder {
  return async (space, z, shape, options) => {
    const { buffer } = space.contiguous(LinearForm.of(z, 1 / SCALING_FACTOR).materialise());
    const out = await vae.decode({ latent: { data: buffer, shape }, ...options });
    return picturesOf(device, out.buffer, out.shape);
  };
}

/** @throws ConfigError for parts that belong to different pipelines */
function checkParts({ config }: UNet2DCondition, vae: AutoencoderKL): void {
  const { latentChannels, outChannels } = vae.config;
  const pictures = config.inChannels - latentChannels;
  if (config.outChannels === latentChannels && pictures === outChannels && outChannels === 3) return;
  throw new ConfigError(
    `StableDiffusionUpscalePipeline: expected a U-Net from ${latentChannels} + 3 to ${latentChannels} channels, as the ` +
      `autoencoder has latents, got ${config.inChannels} to ${config.outChannels}; take both from one pipeline`,
    'in_channels',
  );
}
