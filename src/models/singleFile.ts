/**
 * Checkpoints as one file in their authors' layout: which model it is, its parts as diffusers would have them in
 * folders, and what each part's config must be, by the shapes of its weights.
 */
import { FormatError, UnsupportedError, WeightError } from '../engine/index.ts';
import { Checkpoint, type ByteSource, type Piece, type RawConfig, type Rename } from '../loading/index.ts';
import { clipTextConfig, openClipConfig, openClipKey, openClipLayers } from '../loading/original/clipText.ts';
import { shapesBelow, type Shapes } from '../loading/original/keys.ts';
import { ldmUnetConfig, ldmUnetKey, ldmUnetLayers } from '../loading/original/ldmUnet.ts';
import { ldmVaeConfig, ldmVaeKey, ldmVaeLevels } from '../loading/original/ldmVae.ts';
import type { OpenedModel } from './modelSource.ts';
import { ditKeys, originalDiTConfig } from './transformers/ditKeys.ts';

/** What a file holds: a Stable Diffusion of some version, or one part alone. */
export type SingleFileKind = 'sd1' | 'sd2' | 'sdxl' | 'sdxl-refiner' | 'vae' | 'dit';

/** Folders of diffusers that a part stands for. */
export type SingleFilePart = 'unet' | 'vae' | 'text_encoder' | 'text_encoder_2' | 'transformer';

/** How to open a file. */
export interface SingleFileOptions {
  signal?: AbortSignal;
  /** Fields over those that the shapes tell, by part: what no shape tells (`scaling_factor`, heads, groups). */
  configs?: Partial<Record<SingleFilePart, RawConfig>>;
  /**
   * What the U-Net predicts; by default ε, and v for SD 2.x with four input channels (its 768-pixel version), not
   * Turbo.
   */
  predictionType?: 'epsilon' | 'v_prediction' | 'sample';
}

/** A file taken apart. */
export interface SingleFile {
  readonly kind: SingleFileKind;
  /** What each part is loaded from, by the name of its folder in diffusers. */
  readonly parts: ReadonlyMap<SingleFilePart, OpenedModel>;
  /** A `scheduler_config.json` for it; undefined for a part alone. */
  readonly scheduler: RawConfig | undefined;
  /** Keys that no part reads and none needs: averages, schedules, buffers. */
  readonly ignored: readonly string[];
  close(): Promise<void>;
}

/** Moving averages beside the weights, the schedule, buffers, losses, and what only training reads. */
const IGNORABLE: readonly RegExp[] = [
  /^model_ema\./,
  /^(betas|logvar|lvlb_weights|scale_factor|(sqrt|log)_\w+|(sqrt_)?(one_minus_)?alphas_cumprod(_prev)?|posterior_\w+)$/,
  /^denoiser\.\w+$/,
  /^first_stage_model\.loss\.|^loss\./,
  /\.position_ids$/,
  /\.(logit_scale|attn_mask|visual\.[\w.]+)$/,
  /^(global_step|epoch)$/,
];

const UNET = 'model.diffusion_model.';
/** Where OpenCLIP is when it is the only text model of a file in SDXL's layout. */
const SECOND = 'conditioner.embedders.0.model.';
const PICKLE = /\.(ckpt|pt|pth|bin|pkl)$/i;

/**
 * Opens a safetensors file in the layout of its authors; only its header is read. Closing it is the caller's.
 * @throws FormatError for a pickle, or for no layout that is known; ConfigError where shapes do not tell the config;
 * WeightError naming keys that belong to no part; UnsupportedError for a layout that is known and not built;
 * NotFoundError, NetworkError, AbortedError
 */
export async function openSingleFile(source: ByteSource, options: SingleFileOptions = {}): Promise<SingleFile> {
  await refusePickle(source, options.signal);
  const checkpoint = await Checkpoint.open(source, { signal: options.signal });
  try {
    const keys = checkpoint.keys();
    const kind = kindOf(checkpoint, keys);
    const renames = partsOf(kind, checkpoint);
    const parts = new Map<SingleFilePart, OpenedModel>();
    const taken = new Set<string>();
    for (const [part, { config, rename }] of renames) {
      const view = checkpoint.view(rename);
      for (const key of view.keys()) taken.add(view.info(key).storedKey);
      parts.set(part, { config: { ...config, ...options.configs?.[part] }, checkpoint: view });
    }
    const rest = keys.filter((key) => !taken.has(key));
    const ignored = rest.filter((key) => IGNORABLE.some((pattern) => pattern.test(key)) || isSpare(key, kind));
    const unknown = rest.filter((key) => !ignored.includes(key));
    if (unknown.length > 0) {
      throw new WeightError(
        `single file ${source.name}: expected the weights of ${kind}, got ${unknown.length} that belong to no part of ` +
          `it: ${unknown.slice(0, 5).join(', ')}; the file is of another model, or mixes two`,
        unknown,
      );
    }
    const close = () => checkpoint.close();
    const turbo = kind === 'sd2' && keys.some((key) => key.startsWith(SECOND));
    const { predictionType = turbo ? 'epsilon' : undefined } = options;
    return { kind, parts, scheduler: schedulerOf(kind, parts, predictionType), ignored, close };
  } catch (error) {
    await checkpoint.close();
    throw error;
  }
}

/**
 * By name, and by the first bytes: a zip archive, or a bare pickle, where a safetensors file has `{` at 8. @throws
 * FormatError
 */
export async function refusePickle(source: ByteSource, signal?: AbortSignal): Promise<void> {
  const bytes = await source.read(0, Math.min(9, await source.size(signal)), signal);
  const zipped = bytes[0] === 0x50 && bytes[1] === 0x4b;
  const pickled = bytes[8] !== 0x7b && (zipped || bytes[0] === 0x80);
  if (!pickled && !PICKLE.test(source.name.replace(/[?#].*$/, ''))) return;
  throw new FormatError(
    `single file ${source.name}: expected a safetensors file, got a pickle: loading it could run code, so it is refused; ` +
      'take the .safetensors form of the model, or convert it (in Python: safetensors.torch.save_file(torch.load(path, ' +
      "weights_only=True)['state_dict'], 'model.safetensors'))",
  );
}

function kindOf(checkpoint: Checkpoint, keys: readonly string[]): SingleFileKind {
  const some = (prefix: string) => keys.some((key) => key.startsWith(prefix));
  // SD-Turbo is an SD 2.1 in the layout of SDXL.
  if (some(SECOND)) return textWidth(checkpoint, keys) === 1024 ? 'sd2' : 'sdxl-refiner';
  if (some('conditioner.embedders.')) return 'sdxl';
  if (some('control_model.')) throw notBuilt(checkpoint, 'a ControlNet in its authors’ layout');
  if (some('embedder.') || some('noise_augmentor.'))
    throw notBuilt(checkpoint, 'an unCLIP model in its authors’ layout');
  if (some('low_scale_model.')) throw notBuilt(checkpoint, 'an upscaler in its authors’ layout');
  if (some('cond_stage_model.model.')) return 'sd2';
  if (some('cond_stage_model.transformer.')) return 'sd1';
  if (some(UNET)) return kindByWidth(checkpoint, keys);
  if (some('encoder.down.') || some('first_stage_model.')) return 'vae';
  if (originalDiTConfig(checkpoint)) return 'dit';
  const advice = some('down_blocks.') || some('text_model.') || some('transformer_blocks.');
  throw new FormatError(
    `single file ${checkpoint.name}: expected Stable Diffusion 1.x, 2.x or XL, an autoencoder or a DiT in the layout of ` +
      `its authors, got ${keys.slice(0, 3).join(', ')} …; ` +
      (advice
        ? 'this is a component of diffusers: pass its folder, config.json included'
        : 'pass a folder with its config'),
  );
}

/** A U-Net without a text encoder, by the width of the text that it looks at. */
function kindByWidth(checkpoint: Checkpoint, keys: readonly string[]): SingleFileKind {
  const width = textWidth(checkpoint, keys);
  const kind = ({ 768: 'sd1', 1024: 'sd2', 1280: 'sdxl-refiner', 2048: 'sdxl' } as const)[width];
  if (kind) return kind;
  throw new FormatError(
    `single file ${checkpoint.name}: expected a U-Net that looks at text of 768, 1024, 1280 or 2048 channels, got ` +
      `${width}; pass a folder with its config`,
  );
}

/** Channels of the text that the U-Net looks at; 0 without one. */
function textWidth(checkpoint: Checkpoint, keys: readonly string[]): number {
  const key = keys.find((k) => k.startsWith(UNET) && k.endsWith('.attn2.to_k.weight'));
  return key === undefined ? 0 : checkpoint.info(key).shape[1];
}

const notBuilt = (checkpoint: Checkpoint, what: string) =>
  new UnsupportedError(
    `single file ${checkpoint.name}: expected Stable Diffusion 1.x, 2.x or XL, an autoencoder or a DiT, got ${what}; ` +
      'take the same model as a folder of diffusers',
  );

interface PartSpec {
  config: RawConfig;
  rename: Rename;
}

function partsOf(kind: SingleFileKind, checkpoint: Checkpoint): Map<SingleFilePart, PartSpec> {
  const parts = new Map<SingleFilePart, PartSpec>();
  if (kind === 'dit') {
    return parts.set('transformer', { config: originalDiTConfig(checkpoint)!, rename: ditKeys });
  }
  const all = checkpoint.keys();
  const add = (
    part: SingleFilePart,
    prefix: string,
    config: (shapes: Shapes) => RawConfig,
    name: (key: string, shapes: Shapes) => ReturnType<Rename>,
  ) => {
    if (!all.some((key) => key.startsWith(prefix))) return;
    const shapes = shapesBelow(checkpoint, prefix);
    const rename: Rename = (key) => (key.startsWith(prefix) ? name(key.slice(prefix.length), shapes) : undefined);
    parts.set(part, { config: config(shapes), rename });
  };
  const vae = kind === 'vae' && !all.some((key) => key.startsWith('first_stage_model.')) ? '' : 'first_stage_model.';
  const vaeName = memo(({ keys }) => ldmVaeLevels(keys));
  add(
    'vae',
    vae,
    (s) => vaeConfigOf(kind, s),
    (key, s) => ldmVaeKey(key, vaeName(s)),
  );
  const layers = memo(({ keys }) => ldmUnetLayers(keys));
  add(
    'unet',
    UNET,
    (s) => unetConfigOf(kind, s),
    (key, s) => ldmUnetKey(key, layers(s)),
  );
  if (kind === 'sd1') add('text_encoder', 'cond_stage_model.transformer.', clipTextConfig, clipName);
  if (kind === 'sdxl') add('text_encoder', 'conditioner.embedders.0.transformer.', clipTextConfig, clipName);
  // SD 2.x takes the state before the last layer, normed: diffusers leaves that layer out.
  const spared = memo(({ keys }) => openClipLayers(keys) - 1);
  if (kind === 'sd2') {
    add(
      'text_encoder',
      all.some((key) => key.startsWith(SECOND)) ? SECOND : 'cond_stage_model.model.',
      (s) => openClipConfig(s, spared(s), false),
      (key, s) => spare(openClipKey(key), spared(s)),
    );
  }
  const full = (s: Shapes) => openClipConfig(s, openClipLayers(s.keys), true);
  if (kind === 'sdxl') add('text_encoder_2', 'conditioner.embedders.1.model.', full, openClipKey);
  if (kind === 'sdxl-refiner') add('text_encoder_2', SECOND, full, openClipKey);
  return parts;
}

const clipName = (key: string) => (key.startsWith('text_model.') ? key : undefined);

/** Leaves out layers from `layers` on, and the projection. */
function spare(to: string | Piece | readonly Piece[] | undefined, layers: number): ReturnType<Rename> {
  const list = to === undefined ? [] : typeof to === 'string' || 'name' in to ? [to] : to;
  return list.filter((piece) => {
    const name = typeof piece === 'string' ? piece : piece.name;
    const layer = /\.layers\.(\d+)\./.exec(name);
    return name !== 'text_projection.weight' && !(layer && Number(layer[1]) >= layers);
  });
}

/** What {@link spare} has left out. */
function isSpare(key: string, kind: SingleFileKind): boolean {
  return kind === 'sd2' && /^[\w.]+\.model\.(text_projection$|transformer\.resblocks\.)/.test(key);
}

function unetConfigOf(kind: SingleFileKind, shapes: Shapes): RawConfig {
  const config = ldmUnetConfig(shapes);
  const sample_size =
    kind === 'sd1' ? 64 : kind === 'sd2' && config['in_channels'] === 4 ? 96 : kind === 'sd2' ? 64 : 128;
  return { ...config, sample_size };
}

function vaeConfigOf(kind: SingleFileKind, shapes: Shapes): RawConfig {
  const config = ldmVaeConfig(shapes);
  const xl = kind === 'sdxl' || kind === 'sdxl-refiner';
  if (config['latent_channels'] === 16) {
    // SD3's and Flux's autoencoders have the same shapes; the factors of the former, which `configs` may change.
    return { ...config, sample_size: 1024, scaling_factor: 1.5305, shift_factor: 0.0609, force_upcast: true };
  }
  return { ...config, sample_size: xl ? 1024 : 512, scaling_factor: xl ? 0.13025 : 0.18215 };
}

/** The schedule that Stable Diffusion was trained with, and the sampler that its folders name. */
function schedulerOf(
  kind: SingleFileKind,
  parts: ReadonlyMap<SingleFilePart, OpenedModel>,
  predictionType: SingleFileOptions['predictionType'],
): RawConfig | undefined {
  const unet = parts.get('unet');
  if (!unet) return undefined;
  const v = kind === 'sd2' && unet.config['in_channels'] === 4;
  const common = {
    beta_schedule: 'scaled_linear',
    beta_start: 0.00085,
    beta_end: 0.012,
    num_train_timesteps: 1000,
    prediction_type: predictionType ?? (v ? 'v_prediction' : 'epsilon'),
    steps_offset: 1,
    timestep_spacing: 'leading',
  };
  if (kind === 'sdxl' || kind === 'sdxl-refiner') return { _class_name: 'EulerDiscreteScheduler', ...common };
  const ddim = { clip_sample: false, set_alpha_to_one: false };
  if (kind === 'sd2') return { _class_name: 'DDIMScheduler', ...common, ...ddim };
  return { _class_name: 'PNDMScheduler', ...common, set_alpha_to_one: false, skip_prk_steps: true };
}

function memo(of: (shapes: Shapes) => number): (shapes: Shapes) => number {
  let value: number | undefined;
  return (shapes) => (value ??= of(shapes));
}
