/**
 * Text → picture by latent diffusion: diffusers' folders of Stable Diffusion 1.x, 2.x and XL, of their distilled forms
 * (Turbo, LCM) and with ControlNets, and the same as one file. The same object makes image → image and fills masks.
 *
 * Rombach et al. 2022, https://arxiv.org/abs/2112.10752; Podell et al. 2023 (SDXL), https://arxiv.org/abs/2307.01952;
 * Meng et al. 2022 (SDEdit), https://arxiv.org/abs/2108.01073; Zhang et al. 2023 (ControlNet),
 * https://arxiv.org/abs/2302.05543; Luo et al. 2023 (LCM), https://arxiv.org/abs/2310.04378
 */
import { InvalidArgumentError, UnsupportedError, type Device } from '../../engine/index.ts';
import { readConfig, type Directory, type RawConfig } from '../../loading/index.ts';
import { AutoencoderKL, type LoadOptions } from '../../models/index.ts';
import { ControlNet } from '../../models/controlNet/controlNetModel.ts';
import type { ModelSource } from '../../models/modelSource.ts';
import { UNet2DCondition } from '../../models/unetCondition/unetConditionModel.ts';
import { samplerFrom } from '../../sampler/diffusers/samplerFrom.ts';
import { chosenScheduler, loadParts, workOf, type RunShape } from '../run/basePipeline.ts';
import { loraHolder, LoraPipeline, type LoraParts } from '../run/loraPipeline.ts';
import { openClip, openSdxlPrompts, type PromptModel } from '../prompts/clipPrompts.ts';
import { AttentionWatch } from './attentionWatch.ts';
import { ControlBranch } from './controlBranch.ts';
import { editDenoiser, editsGuided } from './editDenoiser.ts';
import type { GenerationResult } from '../options/generation.ts';
import { runLatents } from '../run/latentRun.ts';
import { generatorOf, latentSize, type LatentShape } from '../run/latents.ts';
import { networkOptions, type LoadPipelineOptions } from '../options/loadOptions.ts';
import { conditionsOf } from '../prompts/promptEncoder.ts';
import { guidanceFeatures, RunConditions, sdxlTimeIds } from './conditions.ts';
import { sdDenoiser } from './denoiser.ts';
import { SD_KINDS, type SdKind } from './kinds.ts';
import { givenPicture } from './pictures.ts';
import { folderSources, type SdSources } from './sources.ts';
import { sdStart } from './start.ts';
import { refuseOptions } from '../options/refuseOptions.ts';
import { Turns } from '../run/turns.ts';
import type { SourceOptions } from '../source/source.ts';
import type { TextToImageOptions } from '../options/textToImage.ts';

interface Parts extends LoraParts {
  kind: SdKind;
  unet: UNet2DCondition;
  controlNets: readonly ControlNet[];
  text: PromptModel | undefined;
  /** Of the folder's `model_index.json`. */
  fields: RawConfig;
}

/** Text → picture: text encoders, U-Net, autoencoder, scheduler and perhaps ControlNets of one model on one device. */
export class StableDiffusionPipeline extends LoraPipeline<Parts> {
  /** The `_class_name`s of such folders. */
  static readonly classNames: readonly string[] = Object.keys(SD_KINDS);

  private readonly turns = new Turns();

  private constructor(device: Device, parts: Parts, options: LoadPipelineOptions & SourceOptions) {
    super(device, parts, loraHolder('unet', parts.unet), options);
  }

  /**
   * Loads a pipeline folder.
   * @throws NotFoundError, NetworkError, FormatError, ConfigError, UnsupportedError for a component or a scheduler that
   * is not built, WeightError, OutOfMemoryError, AbortedError; nothing is left behind.
   */
  static async load(
    device: Device,
    directory: Directory,
    options: LoadPipelineOptions & SourceOptions = {},
  ): Promise<StableDiffusionPipeline> {
    return StableDiffusionPipeline.fromSources(device, await folderSources(directory, options), options);
  }

  /** Loads parts, wherever they come from. @throws as {@link load} */
  static fromSources(
    device: Device,
    sources: SdSources,
    options: LoadPipelineOptions & SourceOptions = {},
  ): Promise<StableDiffusionPipeline> {
    const { scheduler, fields, text: first, text2: second } = sources;
    samplerFrom(scheduler); // a bad config is an error now, not after a minute of loading
    const load = networkOptions(device, options);
    const kind = SD_KINDS[sources.className];
    return loadParts(async (own, all) => {
      const open = () => {
        if (kind.xl) return second && own(openSdxlPrompts(device, { first, second }, load));
        return first && own(openClip(device, first, load));
      };
      const text = await open();
      const unet = await own(UNet2DCondition.load(device, sources.unet, load));
      checkForm(sources.name, unet, kind);
      const vae = await own(loadVae(device, sources.vae, load, kind));
      const controlNets: ControlNet[] = [];
      for (const folder of sources.controlNets) controlNets.push(await own(ControlNet.load(device, folder, load)));
      if (unet.config.outChannels !== vae.config.latentChannels) {
        throw new InvalidArgumentError(
          `${sources.name}: expected a U-Net for the ${vae.config.latentChannels} latent channels of the autoencoder, ` +
            `got ${unet.config.outChannels}; these components belong to different models`,
        );
      }
      return new StableDiffusionPipeline(
        device,
        { kind, unet, vae, controlNets, text, scheduler, fields, all },
        options,
      );
    });
  }

  /** Width and height in pixels must be multiples of this: one latent cell, since the U-Net takes any size. */
  get sizeMultiple(): number {
    return this.downsampling;
  }

  /** The size the U-Net was trained at, pixels. */
  get sampleSize(): { width: number; height: number } {
    const { sampleSize } = this.parts.unet.config;
    const [height, width] = [sampleSize ?? 64].flat();
    const f = this.downsampling;
    return { width: f * (width ?? height), height: f * height };
  }

  /**
   * From noise, or from a picture, to pictures; by default 50 steps with a guidance scale of 7.5 (SDXL 5; LCM 4 steps,
   * 8.5). A scale of 1 or less is the conditional network alone, and so is one that guidance was distilled into.
   * @throws InvalidArgumentError for an option out of range; LimitError where the size does not fit the device;
   * AbortedError when the signal fires, between two submits; NonFiniteError, DeviceLostError, OutOfMemoryError. After
   * any of them but a lost device the pipeline stays usable.
   */
  async generate(options: TextToImageOptions): Promise<GenerationResult> {
    const { kind, unet, vae, controlNets, text, fields } = this.parts;
    if (kind.edits) refuseOptions(options, NOT_EDITED);
    const given = { ...kind, ...options, strength: options.strength ?? defaultStrength(kind, options) };
    const sampler = samplerFrom(chosenScheduler(this.parts.scheduler, options.scheduler));
    const { timeCondProjDim } = unet.config;
    const needs = { pooled: kind.xl, zerosForEmpty: kind.xl && fields['force_zeros_for_empty_prompt'] !== false };
    const guided = kind.edits ? editsGuided(given) : given.guidanceScale > 1 && timeCondProjDim === null;
    const image = given.image && givenPicture(vae, given.image);
    const [h, w] = latentSize(this, image ?? given);
    const texts = await conditionsOf(given, text?.encode, guided, needs);
    const batch = texts.text.shape[0];
    const shape: LatentShape = [batch, vae.config.latentChannels, h, w];
    const size = [h * this.downsampling, w * this.downsampling] as const;
    const timeIds = kind.xl ? sdxlTimeIds(given, size, fields['requires_aesthetics_score'] === true) : undefined;
    const timestepCond = timeCondProjDim === null ? undefined : guidanceFeatures(given.guidanceScale, timeCondProjDim);
    const generator = generatorOf(given.generator);
    const shown = unet.config.inChannels > unet.config.outChannels;
    const { onProgress } = this;
    const scaled = fields['is_cosxl_edit'] === true;
    const begin = await sdStart({ kind, vae, sampler, shape, image, shown, scaled, generator }, given, {
      signal: given.signal,
      onProgress,
    });
    const conditions = new RunConditions(this.device, texts, { timeIds, timestepCond, edits: kind.edits });
    const { steps, beside, latents, edited, ...start } = begin;
    let control: ControlBranch | undefined;
    try {
      if (controlNets.length > 0)
        control = new ControlBranch(this.device, controlNets, given, batch, [h, w], this.turns);
      const watch = given.attentionMaps && this.watch(given, texts.text.shape);
      const run = { unet: watch?.unet ?? unet, sampler, shape, conditions, control, steps, beside, onProgress };
      const result = await runLatents(
        {
          device: this.device,
          sampler,
          shape,
          denoiser: (space) =>
            edited ? editDenoiser(space, { ...run, image: edited }, given) : sdDenoiser(space, run, given),
          decode: this.toPictures,
          ...start,
        },
        { ...given, generator, latents: latents ?? given.latents },
      );
      return watch ? { ...result, attentionMaps: await watch.maps(size[1], size[0]) } : result;
    } finally {
      conditions.dispose();
      control?.dispose();
    }
  }

  /** Where the network looks for some tokens, in a run of `shape` [B,S,E]. @throws InvalidArgumentError */
  private watch(options: TextToImageOptions, [batch, tokens]: readonly number[]): AttentionWatch {
    const { attentionMaps, prompt, numImagesPerPrompt = 1 } = options;
    const { unet, text } = this.parts;
    const prompts = prompt && [prompt].flat().flatMap((one) => Array<string>(numImagesPerPrompt).fill(one));
    const tokenizer = text?.tokenizer;
    return AttentionWatch.open(attentionMaps!, { unet, prompts: prompts || undefined, batch, tokenizer, tokens });
  }

  protected work(shape: RunShape) {
    const { kind, unet } = this.parts;
    const parts = kind.edits ? 3 : unet.config.timeCondProjDim === null ? 2 : 1;
    return { network: workOf(unet, { ...shape, batch: parts * shape.batch }), decoder: this.decoding(shape) };
  }
}

/** SDXL's autoencoders overflow in halves, unless their authors say otherwise. */
async function loadVae(device: Device, source: ModelSource, load: LoadOptions, { xl }: SdKind): Promise<AutoencoderKL> {
  if (!xl || load.dtype !== 'f16') return AutoencoderKL.load(device, source, load);
  const config = 'checkpoint' in source ? source.config : await readConfig(source, undefined, load);
  const dtype = config['force_upcast'] === false ? 'f16' : 'f32';
  return AutoencoderKL.load(device, source, { ...load, dtype });
}

/** What networks that see the picture they edit have no use for. */
const NOT_EDITED = {
  maskImage: 'a network that edits sees the whole picture',
  strength: 'its run starts from noise; see imageGuidanceScale',
  denoisingStart: 'its run starts from noise',
  guidanceInterval: 'it is guided by two scales at once',
} as const;

const defaultStrength = (kind: SdKind, { maskImage }: TextToImageOptions) =>
  maskImage ? kind.maskStrength : kind.strength;

const ALONE_OR_MASKED = 'alone, or with a mask and masked latents';

/** @throws UnsupportedError for a U-Net that wants what this pipeline does not have */
function checkForm(name: string, { config }: UNet2DCondition, { xl, edits = false }: SdKind): void {
  const { inChannels, outChannels, addition, classEmbedding } = config;
  // Nine: latents, mask, latents of what is known. Eight: latents, and those of what is edited.
  const known = edits ? [2 * outChannels] : [outChannels, 2 * outChannels + 1];
  if (!known.includes(inChannels)) {
    throw new UnsupportedError(
      `${name}: expected a U-Net that reads latents ${edits ? 'and those of a picture' : ALONE_OR_MASKED}, got one of ` +
        `${inChannels} channels`,
    );
  }
  const wanted = xl ? 'text_time' : 'none';
  if (addition === wanted && classEmbedding === 'none') return;
  throw new UnsupportedError(
    `${name}: expected a U-Net with addition_embed_type ${xl ? wanted : 'null'} and no class embedding, got ${addition} ` +
      `and ${classEmbedding}; it belongs to another kind of pipeline`,
  );
}
