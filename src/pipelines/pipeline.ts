/** `Pipeline.fromPretrained`: reads what a folder is, loads it, and gives back something to call. */
import {
  ConfigError,
  Device,
  NotFoundError,
  UnsupportedError,
  type DeviceOptions,
  type Profile,
} from '../engine/index.ts';
import { configClass, readConfig, readModelIndex, type Directory, type RawConfig } from '../loading/index.ts';
import type { AdmOptions, AdmResult } from './adm/options.ts';
import type { AutoencoderOptions, AutoencoderPipeline, AutoencoderResult } from './autoencoder/autoencoderPipeline.ts';
import type { CodePriorOptions, CodePriorResult } from './autoregressive/options.ts';
import type { VQVAEPipeline } from './autoregressive/vqVaePipeline.ts';
import type { BasePipeline } from './run/basePipeline.ts';
import type { ClassToImageOptions, ClassToImageResult } from './options/classToImage.ts';
import type { GenerationResult, PipelinePlan } from './options/generation.ts';
import type { IfSuperResolutionOptions } from './imagen/options.ts';
import type { GeneratedImage } from './picture/image.ts';
import type { LatentShape } from './run/latents.ts';
import type { LoadPipelineOptions } from './options/loadOptions.ts';
import type { PipelineLora } from './source/pipelineLoras.ts';
import type { ClassedResult, OriginalOptions } from './original/options.ts';
import { resolveFile } from './source/singleFileSource.ts';
import type {
  SuperResolutionOptions,
  UnconditionalOptions,
  UnconditionalResult,
  UpscaleOptions,
} from './options/pictureOptions.ts';
import type { TextToImageOptions } from './options/textToImage.ts';
import type { UnclipOptions, UnclipResult, UnclipVariationOptions } from './unclip/options.ts';
import type { UnconditionalPipeline } from './pixelDiffusion/unconditional.ts';
import { resolveSource, type PretrainedSource, type SourceOptions } from './source/source.ts';

/** How to load a pipeline, and on which device. */
export interface FromPretrainedOptions extends LoadPipelineOptions, SourceOptions {
  /** An open device, which stays the caller's; by default one is opened and disposed of with the pipeline. */
  device?: Device;
  /** The WebGPU entry point for a device to be opened; default `navigator.gpu`. */
  gpu?: GPU;
  /** Limits of a device to be opened. */
  limits?: DeviceOptions['limits'];
  /**
   * Of the device that is opened, where none is given: `cached` (default) computes in the ways that were measured to be
   * fastest earlier, `full` measures what is missing, `off` takes the usual ways.
   */
  tune?: DeviceOptions['tune'];
}

/** What a class of pipelines gives: loading, making pictures, saying what that takes. */
export interface PipelineClass {
  load(device: Device, directory: Directory, options: LoadPipelineOptions & SourceOptions): Promise<LoadedPipeline>;
}

/** A pipeline of any kind. */
export interface LoadedPipeline {
  readonly device: Device;
  /** Class names by index; empty where pictures are not made from classes. */
  readonly labels: Readonly<Record<number, string>>;
  /** The size the networks were trained at, pixels. */
  readonly sampleSize: { width: number; height: number };
  /** Width and height in pixels must be multiples of this. */
  readonly sizeMultiple: number;
  /** Pixels per latent cell along each side; 1 for a pipeline that works in pixels. */
  readonly downsampling: number;
  /** From noise to pictures. @throws as the pipeline's own documentation says. */
  generate(options: never): Promise<GenerationResult>;
  /** What a call of that size takes on this device; nothing is allocated. @throws InvalidArgumentError */
  plan(options?: { batchSize?: number; width?: number; height?: number }): PipelinePlan;
  /** Where the time of one evaluation of the network and of the decoder goes. */
  profile(options?: {
    batchSize?: number;
    width?: number;
    height?: number;
    signal?: AbortSignal;
  }): Promise<{ unet: Profile; decoder: Profile }>;
  /** Latents as `generate` gives them → pictures. @throws InvalidArgumentError, ShapeError, AbortedError */
  decode(latents: Float32Array, shape: LatentShape, signal?: AbortSignal): Promise<GeneratedImage[]>;
  /** Releases weights and programs. */
  dispose(): Promise<void>;
  /** The scheduler's config, where there is one that a call may replace. */
  readonly schedulerConfig?: Readonly<Record<string, unknown>>;
  /** Adapters of low rank, in kinds that take them. @throws as {@link StableDiffusionPipeline.loadLoras} */
  loadLoras?(loras: readonly PipelineLora[], options?: { signal?: AbortSignal }): Promise<void>;
  /** Gives back the weights of the pipeline's own files. @throws AbortedError, DeviceLostError */
  unloadLoras?(options?: { signal?: AbortSignal }): Promise<void>;
}

/** A loaded pipeline; call it to make pictures. */
export interface Pipeline extends Required<Omit<LoadedPipeline, 'generate' | 'schedulerConfig'>> {
  readonly schedulerConfig?: LoadedPipeline['schedulerConfig'];
  /** How likely pictures are; of kinds in pixels. @throws as {@link UnconditionalPipeline.likelihood} */
  readonly likelihood?: UnconditionalPipeline['likelihood'];
  /** Pictures → latents; of most kinds with an autoencoder. @throws as {@link BasePipeline.encode} */
  readonly encode?: BasePipeline['encode'];
  /** Pictures through the autoencoder and back. @throws as {@link BasePipeline.encode} */
  readonly reconstruct?: BasePipeline['reconstruct'];
  /**
   * Large pictures in tiles through the autoencoder, where there is one. @throws as
   * {@link BasePipeline.enableVaeTiling}
   */
  readonly enableVaeTiling?: BasePipeline['enableVaeTiling'];
  /** Tiles only where a picture does not fit otherwise. @throws as {@link BasePipeline.enableVaeTiling} */
  readonly disableVaeTiling?: BasePipeline['disableVaeTiling'];
  /** Pictures → indices of a codebook; of an autoencoder with one. @throws as {@link AutoencoderPipeline.generate} */
  readonly encodeToIndices?: AutoencoderPipeline['encodeToIndices'];
  /** Indices of a codebook → pictures. @throws as {@link AutoencoderPipeline.generate} */
  readonly decodeIndices?: AutoencoderPipeline['decodeIndices'];
  /** Entries of the codebook. */
  readonly codebookSize?: number;
  /** Pictures → codes of every level; of a VQ-VAE with priors. @throws as {@link VQVAEPipeline.encodeToCodes} */
  readonly encodeToCodes?: VQVAEPipeline['encodeToCodes'];
  /** Codes of every level → pictures. @throws as {@link VQVAEPipeline.decodeCodes} */
  readonly decodeCodes?: VQVAEPipeline['decodeCodes'];
  /** From noise to pictures. @throws as {@link ClassLatentDiffusionPipeline.generate}. */
  (options: ClassToImageOptions): Promise<ClassToImageResult>;
  /** From texts, perhaps with a picture to start from. @throws as {@link StableDiffusionPipeline.generate}. */
  (options: TextToImageOptions): Promise<GenerationResult>;
  /** From noise alone, or a class. @throws as {@link UnconditionalPipeline.generate}, {@link LDMPipeline.generate} */
  (options?: UnconditionalOptions): Promise<UnconditionalResult>;
  /** From pictures, codes, or nothing, through an autoencoder. @throws as {@link AutoencoderPipeline.generate} */
  (options: AutoencoderOptions): Promise<AutoencoderResult>;
  /**
   * From small pictures. @throws as {@link LDMSuperResolutionPipeline.generate},
   * {@link StableDiffusionUpscalePipeline.generate}
   */
  (options: SuperResolutionOptions | UpscaleOptions): Promise<GenerationResult>;
  /** From texts and small pictures, in pixels. @throws as {@link IFSuperResolutionPipeline.generate} */
  (options: IfSuperResolutionOptions): Promise<GenerationResult>;
  /**
   * By way of embeddings of pictures. @throws as {@link UnCLIPPipeline.generate},
   * {@link UnCLIPImageVariationPipeline.generate}
   */
  (options: UnclipOptions | UnclipVariationOptions): Promise<UnclipResult>;
  /** From a class, by a network that a classifier guides. @throws as {@link ADMPipeline.generate} */
  (options: AdmOptions): Promise<AdmResult>;
  /** From codes that a prior draws one after the other. @throws as {@link VQVAEPipeline.generate} */
  (options: CodePriorOptions): Promise<CodePriorResult>;
  /** By one network in its authors' folder. @throws as {@link EDMPipeline.generate} and its like */
  (options: OriginalOptions): Promise<ClassedResult>;
}

const codePrior = async () => (await import('./autoregressive/vqVaePipeline.ts')).VQVAEPipeline;
const unconditional = async () => (await import('./pixelDiffusion/unconditional.ts')).UnconditionalPipeline;
const flux = async () => (await import('./flow/flux.ts')).FluxPipeline;
const stableDiffusion3 = async () => (await import('./flow/stableDiffusion3.ts')).StableDiffusion3Pipeline;
const stableDiffusion = async () => (await import('./stableDiffusion/stableDiffusion.ts')).StableDiffusionPipeline;

/** Kinds that this version runs, by the `_class_name` of their folders; each is a chunk of its own. */
const PIPELINES: Readonly<Record<string, () => Promise<PipelineClass>>> = {
  ClassLatentDiffusionPipeline: async () =>
    (await import('./latentDiffusion/classLatentDiffusion.ts')).ClassLatentDiffusionPipeline,
  DiTPipeline: async () => (await import('./latentDiffusion/ditPipeline.ts')).DiTPipeline,
  StableDiffusionPipeline: stableDiffusion,
  StableDiffusionImg2ImgPipeline: stableDiffusion,
  StableDiffusionInpaintPipeline: stableDiffusion,
  StableDiffusionControlNetPipeline: stableDiffusion,
  StableDiffusionInstructPix2PixPipeline: stableDiffusion,
  LatentConsistencyModelPipeline: stableDiffusion,
  LatentConsistencyModelImg2ImgPipeline: stableDiffusion,
  StableDiffusionXLPipeline: stableDiffusion,
  StableDiffusionXLImg2ImgPipeline: stableDiffusion,
  StableDiffusionXLInpaintPipeline: stableDiffusion,
  StableDiffusionXLControlNetPipeline: stableDiffusion,
  StableDiffusionXLInstructPix2PixPipeline: stableDiffusion,
  StableDiffusion3Pipeline: stableDiffusion3,
  StableDiffusion3Img2ImgPipeline: stableDiffusion3,
  StableDiffusion3InpaintPipeline: stableDiffusion3,
  ADMPipeline: async () => (await import('./adm/adm.ts')).ADMPipeline,
  FluxPipeline: flux,
  FluxImg2ImgPipeline: flux,
  FluxInpaintPipeline: flux,
  DDPMPipeline: unconditional,
  DDIMPipeline: unconditional,
  PNDMPipeline: unconditional,
  ScoreSdeVePipeline: unconditional,
  KarrasVePipeline: unconditional,
  ConsistencyModelPipeline: unconditional,
  LDMPipeline: async () => (await import('./latentDiffusion/ldmPipeline.ts')).LDMPipeline,
  LDMSuperResolutionPipeline: async () =>
    (await import('./latentDiffusion/ldmSuperResolution.ts')).LDMSuperResolutionPipeline,
  StableDiffusionUpscalePipeline: async () =>
    (await import('./stableDiffusion/stableDiffusionUpscale.ts')).StableDiffusionUpscalePipeline,
  IFPipeline: async () => (await import('./imagen/ifPipeline.ts')).IFPipeline,
  IFSuperResolutionPipeline: async () => (await import('./imagen/ifSuperResolution.ts')).IFSuperResolutionPipeline,
  UnCLIPPipeline: async () => (await import('./unclip/unclip.ts')).UnCLIPPipeline,
  VQVAEPipeline: codePrior,
  VQVAE2Pipeline: codePrior,
  UnCLIPImageVariationPipeline: async () => (await import('./unclip/variation.ts')).UnCLIPImageVariationPipeline,
};

const autoencoder = async () => (await import('./autoencoder/autoencoderPipeline.ts')).AutoencoderPipeline;

/** Components that are of use alone, by the `_class_name` of their folder's `config.json`. */
const COMPONENTS: Readonly<Record<string, () => Promise<PipelineClass>>> = {
  VQModel: autoencoder,
  AutoencoderKL: autoencoder,
  AutoencoderTiny: autoencoder,
};

const noLoras = () =>
  Promise.reject(new UnsupportedError('loadLoras: expected a Stable Diffusion, got a pipeline that takes no adapters'));

/** Makes the object callable; everything else is the object's. */
function callable(pipeline: LoadedPipeline, dispose: () => Promise<void>): Pipeline {
  const call = (options: never) => pipeline.generate(options);
  return new Proxy(call, {
    get(_, name) {
      if (name === 'dispose') return dispose;
      if (/^(un)?loadLoras$/.test(String(name)) && !(name in pipeline)) return noLoras;
      // A promise would otherwise take the pipeline for one.
      const value = Reflect.get(pipeline, name, pipeline) as unknown;
      return typeof value === 'function' ? (value.bind(pipeline) as unknown) : value;
    },
    has: (_, name) => name in pipeline,
  }) as unknown as Pipeline;
}

/** Loads pipelines of any kind that this version builds. */
export const Pipeline = {
  /**
   * Loads the pipeline that a source holds.
   * @param source a hub name, the URL of a folder, picked files, or a directory handle; in Node also a path
   * (`daguerre/node`). A Stable Diffusion may also be one `.safetensors` file in the layout of its authors: see the
   * options `tokenizer` and `configs`. One network of EDM, score_sde, NCSNv2, consistency_models or guided-diffusion
   * may lie alone in its folder: docs/models.md.
   * @throws NotFoundError, NetworkError, FormatError, ConfigError, WeightError, AdapterError, OutOfMemoryError,
   * AbortedError, and UnsupportedError for a kind of pipeline that is not built yet; nothing is left behind.
   */
  async fromPretrained(source: PretrainedSource, options: FromPretrainedOptions = {}): Promise<Pipeline> {
    let device: Device | undefined;
    const open = async () => {
      return (device =
        options.device ?? (await Device.open({ gpu: options.gpu, limits: options.limits, tune: options.tune })));
    };
    const release = () => {
      if (!options.device) device?.dispose();
    };
    try {
      const pipeline = await load(open, source, options);
      return callable(pipeline, async () => {
        await pipeline.dispose();
        release();
      });
    } catch (error) {
      release();
      throw error;
    }
  },
};

/** The device is opened once it is known what to load. */
async function load(
  open: () => Promise<Device>,
  source: PretrainedSource,
  options: FromPretrainedOptions,
): Promise<LoadedPipeline> {
  // An iterator gives its files once, and they are looked at twice.
  const given = typeof source === 'object' && Symbol.iterator in source ? [...source] : source;
  const file = resolveFile(given, options);
  if (file) return (await import('./singleFilePipeline.ts')).loadSingleFile(open, file, options);
  const directory = resolveSource(given, options);
  const { className, component } = await classOf(directory, options.signal);
  if (component) {
    const autoencoders = Object.keys(COMPONENTS);
    if (autoencoders.includes(className)) return (await COMPONENTS[className]()).load(await open(), directory, options);
    const { originalPipeline } = await import('./original/index.ts');
    const own = await originalPipeline(component);
    if (own) return own.load(await open(), directory, options);
    if (className === '') await readModelIndex(directory, undefined, options.signal);
    throw new ConfigError(
      `${directory.name}: expected a pipeline, an autoencoder (${autoencoders.join(', ')}) or a network in its authors' ` +
        `folder, got the component ${className}; name the folder above it, or load it by its own class`,
      '_class_name',
    );
  }
  if (!Object.hasOwn(PIPELINES, className)) {
    if (!className.endsWith('Pipeline')) {
      throw new ConfigError(`${directory.name}: expected a pipeline, got _class_name ${className}`, '_class_name');
    }
    const known = Object.keys(PIPELINES).join(', ');
    throw new UnsupportedError(
      `${directory.name}: expected ${known}, got ${className}, which this version does not run`,
    );
  }
  const device = await open();
  return (await PIPELINES[className]()).load(device, directory, options);
}

/**
 * What a folder says it is: a pipeline's, or one component's alone, whose config it has; the authors' own configs name
 * no class.
 * @throws NotFoundError where it says neither
 */
async function classOf(
  directory: Directory,
  signal?: AbortSignal,
): Promise<{ className: string; component?: RawConfig }> {
  try {
    const { className } = await readModelIndex(directory, undefined, signal);
    return { className };
  } catch (error) {
    if (!(error instanceof NotFoundError)) throw error;
    const component = await readConfig(directory, undefined, { signal }).catch(() => undefined);
    if (!component) {
      // VQ-VAE-2 is published as three files that lie side by side.
      const files = await directory.list(signal).catch(() => undefined);
      const { isCodePriorFolder } = await import('./autoregressive/fileNames.ts');
      if (files && isCodePriorFolder(files)) return { className: 'VQVAEPipeline' };
      throw error;
    }
    return { className: configClass(component) ?? '', component };
  }
}
