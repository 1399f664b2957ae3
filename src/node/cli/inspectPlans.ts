/** Every class of models with its planner: what one evaluation takes, by its config alone. */
import {
  type Capabilities,
  ConfigError,
  DEFAULT_CAPABILITIES,
  DEFAULT_LIMITS,
  InvalidArgumentError,
  LimitError,
  type Report,
  UnsupportedError,
} from '../../engine/index.ts';
import type { RawConfig } from '../../loading/index.ts';
import * as m from '../../models/all.ts';

type Dtype = 'f32' | 'f16';

/** Pictures, and cells of the grid that a network works on: latents, or pixels where there is no autoencoder. */
export interface Cells {
  batch: number;
  height: number;
  width: number;
}

/** A part of a model, read and ready to be planned. */
export interface Planner {
  /** Pixels per cell along each side; of autoencoders. */
  factor?: number;
  /** Cells that a network was trained at, where its config says. */
  sampleSize?: readonly [height: number, width: number] | null;
  /** What is planned of it, where that is not the whole. */
  part?: string;
  plan(cells: Cells, dtype: Dtype, caps: Capabilities): Report;
}

const square = (side: number | null | undefined) => (side ? ([side, side] as const) : null);
/** Guidance runs a network on every picture with and without what it is to show, in one batch. */
const twice = (cells: Cells): Cells => ({ ...cells, batch: 2 * cells.batch });

/** A network on a grid. */
function network<C>(
  config: C,
  sampleSize: Planner['sampleSize'],
  plan: (config: C, cells: Cells, dtype: Dtype, caps: Capabilities) => Report,
  guided = false,
): Planner {
  return { sampleSize, plan: (cells, ...rest) => plan(config, guided ? twice(cells) : cells, ...rest) };
}

/** Text encoders: T5 reads as many tokens as Stable Diffusion 3 has it read. */
const T5_TOKENS = 256;
/** Flux reads twice as many, and puts 2×2 latents into a token. */
const FLUX_TOKENS = 512;
/** CLIP's and T5's behind each other. */
const SD3_TOKENS = 77 + T5_TOKENS;
/** What Flux and SD3 are trained at where no config says: latents of 1024 pixels. */
const FLUX_SIDE = 128;

function clip(className: 'CLIPTextModel' | 'CLIPTextModelWithProjection') {
  return (raw: RawConfig): Planner => {
    const config = m.readClipTextConfig(raw, className);
    return { plan: ({ batch }, dtype, caps) => m.planClipText(config, className, { batch }, dtype, caps) };
  };
}

function t5(raw: RawConfig): Planner {
  const config = m.readT5Config(raw);
  const call = { length: T5_TOKENS, padded: false };
  return { plan: ({ batch }, dtype, caps) => m.planT5(config, { ...call, batch }, dtype, caps) };
}

function edm(raw: RawConfig): Planner {
  const config = m.readEdmConfig(raw);
  return network(config, square(config.net.imgResolution), m.planEdm);
}

function dit(raw: RawConfig): Planner {
  const config = m.readDiTConfig(raw);
  return network(
    config,
    square(config.sampleSize),
    (c, cells, ...rest) => m.planModel(m.ditDefinition, c, cells, ...rest),
    true,
  );
}

function adm(raw: RawConfig): Planner {
  const config = m.readAdmConfig(raw);
  return network(config, square(config.imageSize), m.planAdmUNet);
}

function ncsnv2(raw: RawConfig): Planner {
  const config = m.readNcsnv2Config(raw);
  return network(config, square((raw.data as { image_size?: number }).image_size), m.planNcsnv2);
}

/** By the `_class_name` or architecture of the config. */
const PLANNERS: Readonly<Record<string, (raw: RawConfig) => Planner>> = {
  UNet2DModel(raw) {
    const config = m.readUNet2DConfig(raw);
    return network(config, config.sampleSize, m.planUNet2D, config.classEmbedding !== 'none');
  },
  UNet2DConditionModel(raw) {
    const config = m.readUNetConditionConfig(raw);
    // Guidance that was distilled into the network needs no second half.
    return network(config, config.sampleSize, m.planUNet2DCondition, config.timeCondProjDim === null);
  },
  ControlNetModel: (raw) => network(m.readControlNetConfig(raw), null, m.planControlNet, true),
  DiTTransformer2DModel: dit,
  Transformer2DModel: dit,
  DiT: dit,
  SD3Transformer2DModel(raw) {
    const config = m.readSD3Config(raw);
    const plan = (c: m.SD3Config, cells: Cells, dtype: Dtype, caps: Capabilities) =>
      m.planModel(m.sd3Definition, c, { ...cells, textTokens: SD3_TOKENS }, dtype, caps);
    return network(config, square(config.sampleSize), plan, true);
  },
  FluxTransformer2DModel(raw) {
    const plan = (c: m.FluxConfig, { batch, height, width }: Cells, dtype: Dtype, caps: Capabilities) => {
      const imageTokens = Math.ceil(height / 2) * Math.ceil(width / 2);
      return m.planModel(m.fluxDefinition, c, { batch, imageTokens, textTokens: FLUX_TOKENS }, dtype, caps);
    };
    return network(m.readFluxConfig(raw), square(FLUX_SIDE), plan);
  },
  PriorTransformer(raw) {
    const config = m.readPriorConfig(raw);
    // The vectors of text, step and picture are the others.
    const textTokens = config.projectsText ? config.numEmbeddings : 0;
    const call = { textTokens, conditionTokens: 1, hiddenTokens: 1, masked: config.projectsText };
    const plan = ({ batch }: Cells, dtype: Dtype, caps: Capabilities) =>
      m.planModel(m.priorDefinition, config, { ...call, batch: 2 * batch }, dtype, caps);
    return { plan };
  },
  UNetModel: adm,
  SuperResModel: adm,
  EncoderUNetModel(raw) {
    const config = m.readClassifierConfig(raw);
    const plan = (c: m.ClassifierConfig, cells: Cells, dtype: Dtype, caps: Capabilities) =>
      m.planAdmClassifier(c, { ...cells, gradient: true }, dtype, caps);
    return { ...network(config, square(config.imageSize), plan), part: 'with gradient' };
  },
  ...Object.fromEntries(m.EDM_CLASSES.map((name) => [name, edm])),
  NCSNpp(raw) {
    const config = m.readNcsnppConfig(raw);
    return network(config, square(config.imageSize), m.planNcsnpp);
  },
  NCSNv2: ncsnv2,
  NCSNv2Deeper: ncsnv2,
  NCSNv2Deepest: ncsnv2,
  AutoencoderKL(raw) {
    const config = m.readAutoencoderKLConfig(raw);
    return {
      factor: 2 ** (config.blockOutChannels.length - 1),
      part: 'decode',
      plan: (cells, dtype, caps) => m.planAutoencoderKL(config, 'decode', cells, dtype, caps),
    };
  },
  VQModel(raw) {
    const config = m.readVQConfig(raw);
    const call = { part: 'decode', channels: config.vqEmbedDim } as const;
    return {
      factor: 2 ** (config.blockOutChannels.length - 1),
      part: 'decode',
      plan: (cells, dtype, caps) => m.planVQ(config, { ...call, ...cells }, dtype, caps),
    };
  },
  AutoencoderTiny(raw) {
    const config = m.readAutoencoderTinyConfig(raw);
    const call = { part: 'decode', channels: config.latentChannels } as const;
    return {
      factor: config.upsamplingScalingFactor ** (config.numDecoderBlocks.length - 1),
      part: 'decode',
      plan: (cells, dtype, caps) => m.planAutoencoderTiny(config, { ...call, ...cells }, dtype, caps),
    };
  },
  CLIPTextModel: clip('CLIPTextModel'),
  CLIPModel: clip('CLIPTextModel'),
  CLIPTextModelWithProjection: clip('CLIPTextModelWithProjection'),
  CLIPVisionModelWithProjection(raw) {
    const config = m.readClipVisionConfig(raw);
    return { plan: ({ batch }, ...rest) => m.planClipVision(config, { batch }, ...rest) };
  },
  UnCLIPTextProjModel(raw) {
    const config = m.readUnclipTextProjConfig(raw);
    // As its text encoder has them, with and without guidance.
    const plan = ({ batch }: Cells, dtype: Dtype, caps: Capabilities) =>
      m.planUnclipTextProj(config, { batch: 2 * batch, tokens: 77 }, dtype, caps);
    return { plan };
  },
  T5EncoderModel: t5,
  T5ForConditionalGeneration: t5,
  T5Model: t5,
};

/** The classes that are planned. */
export const PLANNED: readonly string[] = Object.keys(PLANNERS);

/**
 * The planner of a part.
 * @param where what messages call the part
 * @throws ConfigError for a config that is not understood, UnsupportedError for a class that is not built
 */
export function plannerOf(className: string | undefined, config: RawConfig, where: string): Planner {
  if (className === undefined) {
    throw new ConfigError(
      `inspect ${where}: expected a config that names its class, got none; add "_class_name", as diffusers writes it`,
      '_class_name',
    );
  }
  if (Object.hasOwn(PLANNERS, className)) return PLANNERS[className](config);
  throw new UnsupportedError(
    `inspect ${where}: expected one of ${PLANNED.join(', ')}, got ${className}, which this version does not run`,
  );
}

/** Enough for any network. */
const ROOMY: Capabilities = {
  ...DEFAULT_CAPABILITIES,
  limits: { ...DEFAULT_LIMITS, maxStorageBufferBindingSize: 2 ** 32 - 4, maxBufferSize: 2 ** 32 },
};

/**
 * The plan at the limits that every WebGPU device has; without them where that is wanted, or where it fails, and why.
 */
export function planWithin(
  limits: 'default' | 'raised',
  planner: Planner,
  cells: Cells,
  dtype: Dtype,
): { report: Report; excess?: string } {
  if (limits === 'raised') return { report: planner.plan(cells, dtype, ROOMY) };
  try {
    return { report: planner.plan(cells, dtype, DEFAULT_CAPABILITIES) };
  } catch (error) {
    if (!(error instanceof LimitError)) throw error;
    return { report: planner.plan(cells, dtype, ROOMY), excess: error.message };
  }
}

/** The grid for a picture of a size in pixels. @throws InvalidArgumentError where it does not divide */
export function cellsOf(
  planners: readonly Planner[],
  size: { batch: number; width?: number; height?: number },
): { cells: Cells; width: number; height: number } {
  const factor = planners.find((p) => p.factor !== undefined)?.factor ?? 1;
  // A network trained without a stated size gets the smallest picture that shows its proportions.
  const trained = planners.find((p) => p.sampleSize)?.sampleSize ?? [Math.ceil(64 / factor), Math.ceil(64 / factor)];
  const { batch, width = trained[1] * factor, height = trained[0] * factor } = size;
  if (width % factor || height % factor) {
    throw new InvalidArgumentError(
      `inspect: expected width and height in multiples of ${factor}, got ${width}×${height}`,
    );
  }
  return { cells: { batch, width: width / factor, height: height / factor }, width, height };
}
