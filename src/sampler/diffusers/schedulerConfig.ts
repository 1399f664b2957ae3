/** `scheduler_config.json` of a diffusers checkpoint, checked field by field. */
import { ConfigError, UnsupportedError } from '../../engine/errors.ts';
import type { PredictionType } from '../parameterisation/denoiser.ts';
import {
  CLASSES,
  KINDS,
  published,
  SCHEDULER_CLASSES,
  type ClassFields,
  type Field,
  type Fields,
  type SchedulerClass,
  type SchedulerConfig,
} from './schedulerFields.ts';

export { SCHEDULER_CLASSES, type SchedulerClass, type SchedulerConfig } from './schedulerFields.ts';

/** Fields of other schedulers that stay in a config when its class is exchanged, and leftovers of old versions. */
const FOREIGN = new Set([...Object.keys(KINDS).map(published), ...['tensor_format', 'timestep_values']]);

/**
 * Reads the config of any of {@link SCHEDULER_CLASSES}. A field left out takes the library's default; one that starts
 * with an underscore, or that this class never reads, is ignored and listed.
 *
 * @throws UnsupportedError if the class is another scheduler
 * @throws ConfigError naming the field: no scheduler at all, an unknown field, or a value out of range
 */
export function readSchedulerConfig(config: Readonly<Record<string, unknown>>): SchedulerConfig {
  const className = checkClass(config);
  const { reads, defaults = {} }: ClassFields = CLASSES[className];
  const seen = new Set(['predict_epsilon']);
  const own: Record<string, unknown> = {};
  for (const [key, { test, expected, fallback }] of Object.entries(KINDS)) {
    own[key] = key in defaults ? defaults[key as Field] : fallback;
    if (!reads.includes(key as Field)) continue;
    const field = published(key);
    seen.add(field);
    const value = config[field] ?? own[key];
    if (value !== own[key] && !test(value))
      throw new ConfigError(`${className}: expected ${field} to be ${expected}, got ${JSON.stringify(value)}`, field);
    own[key] = value;
  }
  own.predictionType = readPrediction(config, own.predictionType as PredictionType);
  const ignored = Object.keys(config).filter((field) => !seen.has(field) && !field.startsWith('_'));
  const unknown = ignored.find((field) => !FOREIGN.has(field));
  if (unknown !== undefined)
    throw new ConfigError(
      `${className}: expected only fields of that class, got ${unknown} = ${JSON.stringify(config[unknown])}; ` +
        'it may change the result: remove it if it does not',
      unknown,
    );
  return checkTogether({ ...(own as unknown as Fields), className, ignored });
}

/** What no field can say alone. */
function checkTogether(config: SchedulerConfig): SchedulerConfig {
  const { className, algorithmType, finalSigmasType } = config;
  const spacings = ['useKarrasSigmas', 'useLuLambdas', 'useExponentialSigmas', 'useBetaSigmas'] as const;
  const chosen = spacings.filter((key) => config[key]).map(published);
  if (chosen.length > 1)
    throw new ConfigError(`${className}: expected one of ${chosen.join(', ')}, got all; keep one`, chosen[1]);
  const ordered = (low: Field, high: Field): void => {
    const [a, b] = [config[low], config[high]] as (number | null)[];
    if (a !== null && b !== null && !(a < b))
      throw new ConfigError(
        `${className}: expected ${published(low)} below ${published(high)}, got ${a} and ${b}; exchange them`,
        published(high),
      );
  };
  ordered('sigmaMin', 'sigmaMax');
  ordered('sMin', 'sMax');
  ordered('betaMin', 'betaMax');
  ordered('baseImageSeqLen', 'maxImageSeqLen');
  if (className === 'IPNDMScheduler' && config.trainedBetas)
    throw new ConfigError(
      'IPNDMScheduler: expected trained_betas null, got a list; its steps are fixed',
      'trained_betas',
    );
  if (className.startsWith('EDM') && config.predictionType === 'sample')
    throw new ConfigError(
      `${className}: expected prediction_type epsilon or v_prediction, got sample`,
      'prediction_type',
    );
  const only = (key: 'varianceType' | 'predictionType' | 'betaSchedule', names: readonly string[]): void => {
    if (names.includes(String(config[key]))) return;
    const expected = names.join(' or ');
    throw new ConfigError(`${className}: expected ${published(key)} ${expected}, got ${config[key]}`, published(key));
  };
  if (className === 'UnCLIPScheduler') {
    only('varianceType', ['fixed_small_log', 'learned_range']);
    only('predictionType', ['epsilon', 'sample']);
    only('betaSchedule', ['squaredcos_cap_v2']);
  }
  if (className === 'UniPCMultistepScheduler' && !config.predictX0 && finalSigmasType === 'zero')
    throw new ConfigError(
      `${className}: expected final_sigmas_type sigma_min with predict_x0 false, got zero; ` +
        'noise prediction cannot step to sigma 0',
      'final_sigmas_type',
    );
  if (config.solverOrder > 3 && className !== 'UniPCMultistepScheduler')
    throw new ConfigError(
      `${className}: expected solver_order 1, 2 or 3, got ${config.solverOrder}; only UniPC has more`,
      'solver_order',
    );
  const dpm = className.startsWith('DPMSolver');
  if (dpm && !algorithmType.endsWith('++') && algorithmType !== 'deis' && finalSigmasType === 'zero')
    throw new ConfigError(
      `${className}: expected final_sigmas_type sigma_min with algorithm_type ${algorithmType}, got zero; ` +
        'noise prediction cannot step to sigma 0',
      'final_sigmas_type',
    );
  return config;
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
function readPrediction(config: Readonly<Record<string, unknown>>, type: PredictionType): PredictionType {
  const flagged = config['predict_epsilon'] ?? undefined;
  if (flagged === undefined) return type;
  if (typeof flagged !== 'boolean')
    throw new ConfigError(
      `samplerFrom: expected predict_epsilon to be a boolean, got ${JSON.stringify(flagged)}`,
      'predict_epsilon',
    );
  const old: PredictionType = flagged ? 'epsilon' : 'sample';
  if ((config['prediction_type'] ?? old) !== old)
    throw new ConfigError(
      `samplerFrom: expected prediction_type ${old} as predict_epsilon says, got ${type}; remove predict_epsilon`,
      'predict_epsilon',
    );
  return old;
}
