/** `scheduler_config.json` of a diffusers checkpoint, checked field by field. */
import { ConfigError, UnsupportedError } from '../engine/errors.ts';
import { VARIANCE_TYPES, type VarianceType } from './ddpm.ts';
import { PREDICTION_TYPES, type PredictionType } from './denoiser.ts';
import { BETA_SCHEDULES, type BetaSchedule } from './schedule.ts';
import { TIMESTEP_SPACINGS, type TimestepSpacing } from './timesteps.ts';

/** Schedulers that are built, by the names of diffusers. */
export const SCHEDULER_CLASSES = ['DDPMScheduler', 'DDIMScheduler'] as const;
/** One of {@link SCHEDULER_CLASSES}. */
export type SchedulerClass = (typeof SCHEDULER_CLASSES)[number];

/** The fields as published, defaults filled in. */
export interface SchedulerConfig {
  className: SchedulerClass;
  numTrainTimesteps: number;
  betaStart: number;
  betaEnd: number;
  betaSchedule: BetaSchedule;
  trainedBetas: number[] | null;
  rescaleBetasZeroSnr: boolean;
  predictionType: PredictionType;
  clipSample: boolean;
  clipSampleRange: number;
  thresholding: boolean;
  dynamicThresholdingRatio: number;
  sampleMaxValue: number;
  timestepSpacing: TimestepSpacing;
  stepsOffset: number;
  /** DDPM only. */
  varianceType: VarianceType;
  /** DDIM only. */
  setAlphaToOne: boolean;
  /** Fields present that this class never reads. */
  ignored: string[];
}

/** A value's test and what to call it in an error. */
interface Kind<T> {
  test: (v: unknown) => boolean;
  expected: string;
  fallback: T;
}

const number = (fallback: number, test: (n: number) => boolean, expected: string): Kind<number> => ({
  test: (v) => typeof v === 'number' && Number.isFinite(v) && test(v),
  expected,
  fallback,
});
const flag = (fallback: boolean): Kind<boolean> => ({
  test: (v) => typeof v === 'boolean',
  expected: 'a boolean',
  fallback,
});
const oneOf = <T extends string>(names: readonly T[], fallback: T): Kind<T> => ({
  test: (v) => names.includes(v as T),
  expected: `one of ${names.join(', ')}`,
  fallback,
});
const betas: Kind<number[] | null> = {
  test: (v) => Array.isArray(v) && v.length > 0 && v.every((b) => typeof b === 'number' && b >= 0 && b <= 1),
  expected: 'null or a list of numbers in [0, 1]',
  fallback: null,
};

/** Fields of other schedulers that stay in a config when its class is exchanged, and leftovers of old versions. */
const FOREIGN = new Set([
  ...['skip_prk_steps', 'tensor_format', 'timestep_values', 'interpolation_type', 'use_karras_sigmas'],
  ...['use_exponential_sigmas', 'use_beta_sigmas', 'final_sigmas_type', 'lower_order_final', 'euler_at_final'],
  ...['solver_order', 'solver_type', 'algorithm_type', 'lambda_min_clipped', 'timestep_type', 'sigma_min', 'sigma_max'],
]);

/**
 * Reads the config of a DDPMScheduler or DDIMScheduler. A field left out takes the library's default; one that starts
 * with an underscore, or that this class never reads, is ignored and listed.
 *
 * @throws UnsupportedError if the class is another scheduler
 * @throws ConfigError naming the field: no scheduler at all, an unknown field, or a value out of range
 */
export function readSchedulerConfig(config: Readonly<Record<string, unknown>>): SchedulerConfig {
  const className = checkClass(config);
  const seen = new Set<string>();
  const read = <T>(field: string, { test, expected, fallback }: Kind<T>): T => {
    seen.add(field);
    const value = config[field] ?? fallback;
    if (value === fallback || test(value)) return value as T;
    // JSON has no word for NaN and infinities, which a config may hold.
    const got = typeof value === 'number' ? value : JSON.stringify(value);
    throw new ConfigError(`${className}: expected ${field} to be ${expected}, got ${got}; correct the config`, field);
  };
  const own = {
    className,
    numTrainTimesteps: read(
      'num_train_timesteps',
      number(1000, (n) => Number.isInteger(n) && n >= 1, 'an integer ≥ 1'),
    ),
    betaStart: read(
      'beta_start',
      number(0.0001, (b) => b >= 0 && b <= 1, 'in [0, 1]'),
    ),
    betaEnd: read(
      'beta_end',
      number(0.02, (b) => b >= 0 && b <= 1, 'in [0, 1]'),
    ),
    betaSchedule: read('beta_schedule', oneOf(BETA_SCHEDULES, 'linear')),
    trainedBetas: read('trained_betas', betas),
    rescaleBetasZeroSnr: read('rescale_betas_zero_snr', flag(false)),
    predictionType: readPrediction(config, read),
    clipSample: read('clip_sample', flag(true)),
    clipSampleRange: read(
      'clip_sample_range',
      number(1, (r) => r > 0, 'above 0'),
    ),
    thresholding: read('thresholding', flag(false)),
    dynamicThresholdingRatio: read(
      'dynamic_thresholding_ratio',
      number(0.995, (r) => r >= 0 && r <= 1, 'in [0, 1]'),
    ),
    sampleMaxValue: read(
      'sample_max_value',
      number(1, (r) => r > 0, 'above 0'),
    ),
    timestepSpacing: read('timestep_spacing', oneOf(TIMESTEP_SPACINGS, 'leading')),
    stepsOffset: read(
      'steps_offset',
      number(0, (n) => Number.isInteger(n) && n >= 0, 'an integer ≥ 0'),
    ),
    varianceType: read('variance_type', oneOf(VARIANCE_TYPES, 'fixed_small')),
    setAlphaToOne: read('set_alpha_to_one', flag(true)),
  };
  const ignored = Object.keys(config).filter((field) => !seen.has(field) && !field.startsWith('_'));
  const unknown = ignored.find((field) => !FOREIGN.has(field));
  if (unknown !== undefined)
    throw new ConfigError(
      `${className}: expected only fields of that class, got ${unknown} = ${JSON.stringify(config[unknown])}; ` +
        'it may change the result: remove it if it does not',
      unknown,
    );
  const notRead = className === 'DDPMScheduler' ? 'set_alpha_to_one' : 'variance_type';
  return { ...own, ignored: notRead in config ? [...ignored, notRead] : ignored };
}

function checkClass(config: Readonly<Record<string, unknown>>): SchedulerClass {
  const name = config['_class_name'];
  if (SCHEDULER_CLASSES.includes(name as SchedulerClass)) return name as SchedulerClass;
  const known = SCHEDULER_CLASSES.join(', ');
  if (typeof name === 'string' && name.endsWith('Scheduler'))
    throw new UnsupportedError(
      `samplerFrom: expected _class_name to be one of ${known}, got ${name}; use one of these`,
    );
  throw new ConfigError(
    `samplerFrom: expected a scheduler config with _class_name one of ${known}, got ${JSON.stringify(name)}; ` +
      'pass the parsed scheduler/scheduler_config.json',
    '_class_name',
  );
}

/** `predict_epsilon` is what `prediction_type` was called while there were only two. */
function readPrediction(
  config: Readonly<Record<string, unknown>>,
  read: <T>(field: string, kind: Kind<T>) => T,
): PredictionType {
  const old: PredictionType = read('predict_epsilon', flag(true)) ? 'epsilon' : 'sample';
  const type = read('prediction_type', oneOf(PREDICTION_TYPES, old));
  if ('predict_epsilon' in config && type !== old)
    throw new ConfigError(
      `samplerFrom: expected prediction_type ${old} as predict_epsilon says, got ${type}; remove predict_epsilon`,
      'predict_epsilon',
    );
  return type;
}
