/**
 * Configs as guided-diffusion's scripts know them: the flags of `script_util.py` (`num_channels`,
 * `attention_resolutions` as "32,16,8", `learn_sigma`, `diffusion_steps`, …), and what they mean for constructors and
 * for the process. Dhariwal & Nichol 2021, https://arxiv.org/abs/2105.05233
 */
import { ConfigReader, type RawConfig } from '../../loading/index.ts';
import { POOLS } from './admConfig.ts';

/** What is said of the process, by the names of `create_gaussian_diffusion`. */
export interface DiffusionFlags {
  steps: number;
  learn_sigma: boolean;
  sigma_small: boolean;
  noise_schedule: 'linear' | 'cosine';
  predict_xstart: boolean;
  rescale_timesteps: boolean;
  timestep_respacing: string;
}

/** What a config file says: a network, its process, and how the sampling scripts are called. */
export interface AdmFlags {
  /** The constructor's arguments. */
  network: RawConfig;
  diffusion: DiffusionFlags;
  /** Flags of the sampling scripts, where the file has them. */
  calls: { clipDenoised?: boolean; useDdim?: boolean; classifierScale?: number };
  /** Of a network that enlarges: the side of what it enlarges, pixels, where the flags say so. */
  smallSize?: number;
}

/** Which of the three networks a config is of. */
export type AdmRole = 'unet' | 'classifier' | 'upsampler';

const CLASSES = { unet: 'UNetModel', classifier: 'EncoderUNetModel', upsampler: 'SuperResModel' } as const;

/** Of no consequence for what comes out: training, storage, files, numbers of pictures. */
const IGNORED = [
  ...['dropout', 'use_checkpoint', 'use_fp16', 'classifier_use_fp16', 'use_kl', 'rescale_learned_sigmas'],
  ...['batch_size', 'num_samples', 'model_path', 'classifier_path', 'base_samples'],
  ...['_class_name', '_diffusers_version'],
];

/**
 * A component's config, in either of two forms: the constructor's arguments (known by `model_channels`), or the
 * scripts' flags. Fields of the process and of the scripts may stand beside either.
 * @param where what messages call the file
 * @throws ConfigError naming a field that is not understood
 */
export function readAdmFlags(raw: RawConfig, role: AdmRole, where: string): AdmFlags {
  const cfg = new ConfigReader(raw, where);
  const native = cfg.has('model_channels');
  const learned = native
    ? Number(raw.out_channels) === 2 * Number(raw.in_channels) && role !== 'classifier'
    : cfg.bool('learn_sigma', false);
  const diffusion: DiffusionFlags = {
    steps: cfg.int('diffusion_steps', 1000, { min: 1 }),
    learn_sigma: native ? cfg.bool('learn_sigma', learned) : learned,
    sigma_small: cfg.bool('sigma_small', false),
    noise_schedule: cfg.enum('noise_schedule', ['linear', 'cosine'], 'linear'),
    predict_xstart: cfg.bool('predict_xstart', false),
    rescale_timesteps: cfg.bool('rescale_timesteps', false),
    timestep_respacing: cfg.string('timestep_respacing', ''),
  };
  const calls = {
    clipDenoised: cfg.has('clip_denoised') ? cfg.bool('clip_denoised') : undefined,
    useDdim: cfg.has('use_ddim') ? cfg.bool('use_ddim') : undefined,
    classifierScale: cfg.has('classifier_scale') ? cfg.number('classifier_scale') : undefined,
  };
  const smallSize = cfg.has('small_size') ? cfg.int('small_size', undefined, { min: 1 }) : undefined;
  cfg.ignored(IGNORED);
  if (native) {
    const ours = [...PROCESS_FIELDS, 'clip_denoised', 'use_ddim', 'classifier_scale', 'small_size', ...IGNORED];
    const rest = Object.entries(raw).filter(([key]) => !ours.includes(key));
    return { network: { ...Object.fromEntries(rest), _class_name: CLASSES[role] }, diffusion, calls, smallSize };
  }
  const network = role === 'classifier' ? classifierArguments(cfg) : unetArguments(cfg, role, learned);
  cfg.done();
  return { network: { ...network, _class_name: CLASSES[role] }, diffusion, calls, smallSize };
}

const PROCESS_FIELDS = [
  ...['diffusion_steps', 'learn_sigma', 'sigma_small', 'noise_schedule', 'predict_xstart', 'rescale_timesteps'],
  'timestep_respacing',
];

/** `create_model` and `sr_create_model`. */
function unetArguments(cfg: ConfigReader, role: AdmRole, learned: boolean): RawConfig {
  const enlarges = role === 'upsampler';
  const size = cfg.int(enlarges ? 'large_size' : 'image_size', enlarges ? 256 : 64, { min: 1 });
  if (enlarges) {
    cfg.ignored(['image_size']);
    cfg.only('use_new_attention_order', false);
  }
  return {
    image_size: size,
    in_channels: 3,
    model_channels: cfg.int('num_channels', 128, { min: 1 }),
    out_channels: learned ? 6 : 3,
    num_res_blocks: cfg.int('num_res_blocks', 2, { min: 1 }),
    attention_resolutions: factors(cfg, 'attention_resolutions', '16,8', size),
    channel_mult: multipliers(cfg, 'channel_mult', size, enlarges ? { 512: [1, 1, 2, 2, 4, 4] } : {}),
    num_classes: cfg.bool('class_cond', false) ? cfg.int('num_classes', NUM_CLASSES, { min: 1 }) : unasked(cfg),
    num_heads: cfg.int('num_heads', 4, { min: 1 }),
    num_head_channels: cfg.int('num_head_channels', -1, { min: -1 }),
    num_heads_upsample: cfg.int('num_heads_upsample', -1, { min: -1 }),
    use_scale_shift_norm: cfg.bool('use_scale_shift_norm', true),
    resblock_updown: cfg.bool('resblock_updown', false),
    use_new_attention_order: enlarges ? false : cfg.bool('use_new_attention_order', false),
  };
}

/** `create_classifier`; flags of the U-Net that it judges for may stand beside its own. */
function classifierArguments(cfg: ConfigReader): RawConfig {
  const size = cfg.int('image_size', 64, { min: 1 });
  cfg.ignored([
    ...['num_channels', 'num_res_blocks', 'num_heads', 'num_heads_upsample', 'num_head_channels', 'channel_mult'],
    ...['attention_resolutions', 'use_scale_shift_norm', 'resblock_updown', 'use_new_attention_order', 'class_cond'],
  ]);
  return {
    image_size: size,
    in_channels: 3,
    model_channels: cfg.int('classifier_width', 128, { min: 1 }),
    out_channels: cfg.int('num_classes', NUM_CLASSES, { min: 1 }),
    num_res_blocks: cfg.int('classifier_depth', 2, { min: 1 }),
    attention_resolutions: factors(cfg, 'classifier_attention_resolutions', '32,16,8', size),
    channel_mult: multipliers(cfg, 'classifier_channel_mult', size),
    num_head_channels: 64,
    use_scale_shift_norm: cfg.bool('classifier_use_scale_shift_norm', true),
    resblock_updown: cfg.bool('classifier_resblock_updown', true),
    pool: cfg.enum('classifier_pool', POOLS, 'attention'),
  };
}

/** The scripts know no other number than ImageNet's; configs of other data may say theirs as `num_classes`. */
const NUM_CLASSES = 1000;

function unasked(cfg: ConfigReader): null {
  cfg.ignored(['num_classes']);
  return null;
}

/** Sides at which there is attention → factors of downsampling. */
function factors(cfg: ConfigReader, field: string, fallback: string, size: number): number[] {
  return numbers(cfg, field, cfg.string(field, fallback)).map((side) => Math.floor(size / side));
}

const LEVELS: Readonly<Record<number, readonly number[]>> = {
  512: [0.5, 1, 1, 2, 2, 4, 4],
  256: [1, 1, 2, 2, 4, 4],
  128: [1, 1, 2, 3, 4],
  64: [1, 2, 3, 4],
};

/** Channels per level: as told, or by the size. */
function multipliers(
  cfg: ConfigReader,
  field: string,
  size: number,
  own: Readonly<Record<number, readonly number[]>> = {},
): readonly number[] {
  const told = cfg.string(field, '');
  if (told !== '') return numbers(cfg, field, told);
  return own[size] ?? LEVELS[size] ?? cfg.refuse(field, `told for a size of ${size}: only ${sizes} have a usual one`);
}

const sizes = Object.keys(LEVELS).join(', ');

function numbers(cfg: ConfigReader, field: string, text: string): number[] {
  const list = text.split(',').map(Number);
  return list.every((n) => n > 0 && Number.isFinite(n))
    ? list
    : cfg.refuse(field, 'numbers above 0 with commas between');
}
