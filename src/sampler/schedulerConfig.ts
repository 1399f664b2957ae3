/** `scheduler_config.json` of a diffusers checkpoint, checked field by field. */
import { ConfigError, UnsupportedError } from '../engine/errors.ts';
import { VARIANCE_TYPES, type VarianceType } from './ddpm.ts';
import { PREDICTION_TYPES, type PredictionType } from './denoiser.ts';
import { DPM_ALGORITHMS, type DpmAlgorithm } from './dpmCoefficients.ts';
import { BETA_SCHEDULES, type BetaSchedule } from './schedule.ts';
import { TIMESTEP_SPACINGS, type TimestepSpacing } from './timesteps.ts';

/** The fields as published, defaults filled in; a class that does not read a field has the default of DDPM there. */
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
  /** DDPM; of the others, only whether the network's second half is dropped. */
  varianceType: VarianceType | null;
  setAlphaToOne: boolean;
  /** Where sigmas lie: at most one of the three (and of useLuLambdas). */
  useKarrasSigmas: boolean;
  useExponentialSigmas: boolean;
  useBetaSigmas: boolean;
  useLuLambdas: boolean;
  sigmaMin: number | null;
  sigmaMax: number | null;
  /** sigma after the last step: 0, or that of timestep 0. */
  finalSigmasType: 'zero' | 'sigma_min';
  interpolationType: 'linear' | 'log_linear';
  timestepType: 'discrete' | 'continuous';
  solverOrder: number;
  algorithmType: DpmAlgorithm | 'deis';
  solverType: 'midpoint' | 'heun' | 'bh1' | 'bh2' | 'logrho';
  lowerOrderFinal: boolean;
  eulerAtFinal: boolean;
  /** Timesteps of a smaller log(alpha/sigma) are left out. */
  lambdaMinClipped: number;
  predictX0: boolean;
  disableCorrector: number[];
  solverP: null;
  /** EDM and consistency models. */
  sigmaData: number;
  rho: number;
  sigmaSchedule: 'karras' | 'exponential';
  /** Consistency models. */
  clipDenoised: boolean;
  sNoise: number;
  /** LCM and TCD. */
  originalInferenceSteps: number;
  timestepScaling: number;
  /** Flow matching. */
  shift: number;
  useDynamicShifting: boolean;
  baseShift: number;
  maxShift: number;
  baseImageSeqLen: number;
  maxImageSeqLen: number;
  /** PNDM: start with PLMS and not with Runge–Kutta. */
  skipPrkSteps: boolean;
  /** Fields present that this class never reads. */
  ignored: string[];
}

type Fields = Omit<SchedulerConfig, 'className' | 'ignored'>;
type Field = keyof Fields;

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

const oneNumberOrNull: Kind<number | null> = {
  test: (v) => typeof v === 'number' && v > 0 && v < Infinity,
  expected: 'null or above 0',
  fallback: null,
};
const positive = (n: number): boolean => n > 0;
const unit = (n: number): boolean => n >= 0 && n <= 1;
const whole = (n: number): boolean => Number.isInteger(n) && n >= 0;

/** Every field, with the default that most classes have. */
const KINDS: { readonly [F in Field]: Kind<Fields[F]> } = {
  numTrainTimesteps: number(1000, (n) => Number.isInteger(n) && n >= 1, 'an integer ≥ 1'),
  betaStart: number(0.0001, unit, 'in [0, 1]'),
  betaEnd: number(0.02, unit, 'in [0, 1]'),
  betaSchedule: oneOf(BETA_SCHEDULES, 'linear'),
  trainedBetas: betas,
  rescaleBetasZeroSnr: flag(false),
  predictionType: oneOf(PREDICTION_TYPES, 'epsilon'),
  clipSample: flag(true),
  clipSampleRange: number(1, positive, 'above 0'),
  thresholding: flag(false),
  dynamicThresholdingRatio: number(0.995, unit, 'in [0, 1]'),
  sampleMaxValue: number(1, positive, 'above 0'),
  timestepSpacing: oneOf(TIMESTEP_SPACINGS, 'leading'),
  stepsOffset: number(0, whole, 'an integer ≥ 0'),
  varianceType: oneOf(VARIANCE_TYPES, 'fixed_small'),
  setAlphaToOne: flag(true),
  useKarrasSigmas: flag(false),
  useExponentialSigmas: flag(false),
  useBetaSigmas: flag(false),
  useLuLambdas: flag(false),
  sigmaMin: oneNumberOrNull,
  sigmaMax: oneNumberOrNull,
  finalSigmasType: oneOf(['zero', 'sigma_min'], 'zero'),
  interpolationType: oneOf(['linear', 'log_linear'], 'linear'),
  timestepType: oneOf(['discrete', 'continuous'], 'discrete'),
  solverOrder: number(2, (n) => [1, 2, 3].includes(n), '1, 2 or 3'),
  algorithmType: oneOf([...DPM_ALGORITHMS, 'deis'], 'dpmsolver++'),
  solverType: oneOf(['midpoint', 'heun', 'bh1', 'bh2', 'logrho'], 'midpoint'),
  lowerOrderFinal: flag(true),
  eulerAtFinal: flag(false),
  lambdaMinClipped: { test: (v) => typeof v === 'number' && v < Infinity, expected: 'below ∞', fallback: -Infinity },
  predictX0: flag(true),
  disableCorrector: {
    test: (v) => Array.isArray(v) && v.every((i) => typeof i === 'number' && whole(i)),
    expected: 'a list of step numbers ≥ 0',
    fallback: [],
  },
  sigmaData: number(0.5, positive, 'above 0'),
  rho: number(7, positive, 'above 0'),
  sigmaSchedule: oneOf(['karras', 'exponential'], 'karras'),
  clipDenoised: flag(true),
  sNoise: number(1, (s) => s >= 0, 'at least 0'),
  originalInferenceSteps: number(50, (n) => Number.isInteger(n) && n >= 1, 'an integer ≥ 1'),
  timestepScaling: number(10, positive, 'above 0'),
  shift: number(1, positive, 'above 0'),
  useDynamicShifting: flag(false),
  baseShift: number(0.5, () => true, 'finite'),
  maxShift: number(1.15, () => true, 'finite'),
  baseImageSeqLen: number(256, positive, 'above 0'),
  maxImageSeqLen: number(4096, positive, 'above 0'),
  skipPrkSteps: flag(false),
  solverP: { test: () => false, expected: 'null; another solver as predictor is not built', fallback: null },
};

const BETAS = [
  ...['numTrainTimesteps', 'betaStart', 'betaEnd', 'betaSchedule', 'trainedBetas', 'predictionType'],
] as Field[];
const CLIP: Field[] = ['clipSample', 'clipSampleRange'];
const THRESHOLD: Field[] = ['thresholding', 'dynamicThresholdingRatio', 'sampleMaxValue'];
const SPACING: Field[] = ['timestepSpacing', 'stepsOffset'];
const SIGMAS: Field[] = ['useKarrasSigmas', 'useExponentialSigmas', 'useBetaSigmas'];
const CLASSIC: Field[] = [...BETAS, ...CLIP, ...THRESHOLD, ...SPACING, 'rescaleBetasZeroSnr'];
const SOLVER: Field[] = [...BETAS, ...THRESHOLD, ...SIGMAS, 'solverOrder', 'solverType', 'lowerOrderFinal'];
const DPM: Field[] = [...SOLVER, 'algorithmType', 'finalSigmasType', 'lambdaMinClipped', 'varianceType'];

/** What a class reads, and its own defaults. */
interface ClassFields {
  reads: readonly Field[];
  defaults?: Partial<Fields>;
}

/** In sigma space nothing is clipped unless the class can. */
const spread: Partial<Fields> = { timestepSpacing: 'linspace', clipSample: false, varianceType: null };

const EDM: Field[] = [
  'numTrainTimesteps',
  'predictionType',
  'sigmaMin',
  'sigmaMax',
  'sigmaData',
  'rho',
  'sigmaSchedule',
];
const EDM_SOLVER: Field[] = [
  ...(['solverOrder', 'solverType', 'lowerOrderFinal', 'algorithmType', 'eulerAtFinal', 'finalSigmasType'] as const),
];
const edm: Partial<Fields> = { ...spread, sigmaMin: 0.002, sigmaMax: 80 };
const FLOW: Field[] = ['numTrainTimesteps', 'shift'];
const LATENT_CONSISTENCY: Field[] = [
  ...[...CLASSIC],
  ...(['setAlphaToOne', 'originalInferenceSteps', 'timestepScaling'] as const),
];
const latentConsistency: Partial<Fields> = {
  ...{ betaStart: 0.00085, betaEnd: 0.012, betaSchedule: 'scaled_linear' },
  ...{ clipSample: false, varianceType: null },
};

const CLASSES = {
  DDPMScheduler: { reads: [...CLASSIC, 'varianceType'] },
  DDIMScheduler: { reads: [...CLASSIC, 'setAlphaToOne'] },
  EulerDiscreteScheduler: {
    reads: [
      ...[...BETAS, ...SPACING, ...SIGMAS],
      ...(['rescaleBetasZeroSnr', 'sigmaMin', 'sigmaMax', 'finalSigmasType', 'interpolationType'] as const),
      'timestepType',
    ],
    defaults: spread,
  },
  EulerAncestralDiscreteScheduler: { reads: [...BETAS, ...SPACING, 'rescaleBetasZeroSnr'], defaults: spread },
  HeunDiscreteScheduler: { reads: [...BETAS, ...SPACING, ...SIGMAS, ...CLIP], defaults: spread },
  KDPM2DiscreteScheduler: { reads: [...BETAS, ...SPACING, ...SIGMAS], defaults: spread },
  KDPM2AncestralDiscreteScheduler: { reads: [...BETAS, ...SPACING, ...SIGMAS], defaults: spread },
  LMSDiscreteScheduler: { reads: [...BETAS, ...SPACING, ...SIGMAS], defaults: spread },
  DPMSolverMultistepScheduler: {
    reads: [...DPM, ...SPACING, 'useLuLambdas', 'eulerAtFinal', 'rescaleBetasZeroSnr'],
    defaults: spread,
  },
  DPMSolverSinglestepScheduler: { reads: DPM, defaults: { ...spread, lowerOrderFinal: false } },
  DEISMultistepScheduler: {
    reads: [...SOLVER, ...SPACING, 'algorithmType'],
    defaults: { ...spread, algorithmType: 'deis', solverType: 'logrho', finalSigmasType: 'sigma_min' },
  },
  UniPCMultistepScheduler: {
    reads: [
      ...[...SOLVER, ...SPACING],
      ...(['finalSigmasType', 'predictX0', 'disableCorrector', 'solverP', 'rescaleBetasZeroSnr'] as const),
    ],
    defaults: { ...spread, solverType: 'bh2' },
  },
  EDMEulerScheduler: { reads: EDM, defaults: edm },
  EDMDPMSolverMultistepScheduler: {
    reads: [...EDM, ...THRESHOLD, ...EDM_SOLVER],
    defaults: edm,
  },
  FlowMatchEulerDiscreteScheduler: {
    reads: [...FLOW, 'useDynamicShifting', 'baseShift', 'maxShift', 'baseImageSeqLen', 'maxImageSeqLen'],
    defaults: spread,
  },
  FlowMatchHeunDiscreteScheduler: { reads: FLOW, defaults: spread },
  PNDMScheduler: {
    reads: [...BETAS, ...SPACING, 'setAlphaToOne', 'skipPrkSteps'],
    defaults: { clipSample: false, setAlphaToOne: false, varianceType: null },
  },
  IPNDMScheduler: {
    reads: ['numTrainTimesteps', 'trainedBetas'],
    defaults: { ...spread, predictionType: 'v_prediction' },
  },
  LCMScheduler: { reads: LATENT_CONSISTENCY, defaults: latentConsistency },
  TCDScheduler: { reads: LATENT_CONSISTENCY, defaults: latentConsistency },
  CMStochasticIterativeScheduler: {
    reads: ['numTrainTimesteps', 'sigmaMin', 'sigmaMax', 'sigmaData', 'rho', 'sNoise', 'clipDenoised'],
    defaults: { ...edm, numTrainTimesteps: 40 },
  },
  UnCLIPScheduler: {
    reads: ['numTrainTimesteps', 'varianceType', ...CLIP, 'predictionType', 'betaSchedule'],
    defaults: { varianceType: 'fixed_small_log', betaSchedule: 'squaredcos_cap_v2', timestepSpacing: 'linspace' },
  },
  DDIMInverseScheduler: {
    reads: [...BETAS, ...CLIP, ...SPACING, 'setAlphaToOne', 'rescaleBetasZeroSnr'],
    defaults: { varianceType: null },
  },
} as const satisfies Record<string, ClassFields>;

/** One of {@link SCHEDULER_CLASSES}. */
export type SchedulerClass = keyof typeof CLASSES;
/** Schedulers that are built, by the names of diffusers. */
export const SCHEDULER_CLASSES = Object.keys(CLASSES) as SchedulerClass[];

/** The field's name in the file. */
const published = (field: string): string => field.replace(/[A-Z0-9]+/g, (c) => `_${c.toLowerCase()}`);

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
