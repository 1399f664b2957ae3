/**
 * What a config of consistency_models says: the flags of its scripts, or the constructor's arguments and fields beside.
 */
import { ConfigReader, type RawConfig } from '../../loading/index.ts';
import { readAdmFlags } from '../../models/adm/admFlags.ts';

/** Read and ready. */
export interface ConsistencySetup {
  /** The U-Net's arguments. */
  network: RawConfig;
  sigmaData: number;
  sigmaMin: number;
  sigmaMax: number;
  /** Whether the network answers with pictures from any level, as consistency models do. */
  distillation: boolean;
  /** Whether it was trained to halve the steps of another. */
  progressive: boolean;
  clipDenoised: boolean;
}

/** Of training, of files, and of calls of the scripts: of no consequence for the network, or said by a call here. */
const IGNORED = [
  ...['teacher_model_path', 'teacher_dropout', 'target_ema_mode', 'start_ema', 'scale_mode', 'total_training_steps'],
  ...['start_scales', 'end_scales', 'distill_steps_per_iter', 'loss_norm', 'weight_schedule', 'seed', 'generator'],
  ...['sampler', 's_churn', 's_tmin', 's_tmax', 's_noise', 'steps', 'ts'],
];
const OURS = ['training_mode', 'distillation', 'sigma_data', 'sigma_min', 'sigma_max', 'clip_denoised'];

/** @param where what messages call the file @throws ConfigError naming a field that is not understood */
export function readConsistencySetup(raw: RawConfig, where: string): ConsistencySetup {
  const cfg = new ConfigReader(raw, where);
  const told = cfg.has('distillation') && !cfg.has('training_mode');
  const mode = told ? (cfg.bool('distillation') ? 'consistency' : 'edm') : cfg.string('training_mode');
  if (!/^(edm|progdist)$|consistency/.test(mode)) {
    cfg.refuse('training_mode', '"consistency_distillation", "consistency_training", "progdist" or "edm"');
  }
  const rest = Object.fromEntries(Object.entries(raw).filter(([key]) => ![...OURS, ...IGNORED].includes(key)));
  const { attention_type: attention = 'flash', ...plain } = rest;
  // Where guided-diffusion's scripts attend at 16 and 8 alone.
  const attended = cfg.has('model_channels') ? {} : { attention_resolutions: '32,16,8' };
  const { network } = readAdmFlags({ ...attended, ...plain }, 'unet', where);
  const positive = { above: 0 };
  return {
    network: { ...network, attention_type: attention },
    sigmaData: cfg.number('sigma_data', 0.5, positive),
    sigmaMin: cfg.number('sigma_min', 0.002, positive),
    sigmaMax: cfg.number('sigma_max', 80, positive),
    distillation: cfg.bool('distillation', mode.includes('consistency')),
    progressive: mode === 'progdist',
    clipDenoised: cfg.bool('clip_denoised', true),
  };
}
