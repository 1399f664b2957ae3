/** The fields of every `scheduler_config.json` that is read, by class. */
import { VARIANCE_TYPES, type VarianceType } from '../solvers/ddpm.ts';
import { PREDICTION_TYPES, type PredictionType } from '../parameterisation/denoiser.ts';
import { DPM_ALGORITHMS, type DpmAlgorithm } from '../exponential/dpmCoefficients.ts';
import { BETA_SCHEDULES, type BetaSchedule } from '../schedule/schedule.ts';
import { TIMESTEP_SPACINGS, type TimestepSpacing } from '../schedule/timesteps.ts';

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
  /** Euler: sigmas between two training timesteps, or even in log sigma over all of them. */
  interpolationType: 'linear' | 'log_linear';
  /** Euler: a v network may be told ¼·log(sigma). */
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
  /** How mu shifts: by its exponential, or itself. */
  timeShiftType: 'exponential' | 'linear';
  /** The last sigma after the shift, to which all are stretched. */
  shiftTerminal: number | null;
  /** Go to x₀ and back up with new noise instead of along the path. */
  stochasticSampling: boolean;
  invertSigmas: false;
  baseShift: number;
  maxShift: number;
  baseImageSeqLen: number;
  maxImageSeqLen: number;
  /** PNDM: start with PLMS and not with Runge–Kutta. */
  skipPrkSteps: boolean;
  /** Karras VE. */
  sChurn: number;
  sMin: number;
  sMax: number;
  /** RePaint. */
  eta: number;
  /** Score SDE. */
  snr: number;
  correctSteps: number;
  samplingEps: number;
  betaMin: number;
  betaMax: number;
  /** Fields present that this class never reads. */
  ignored: string[];
}

/** The fields themselves. */
export type Fields = Omit<SchedulerConfig, 'className' | 'ignored'>;
/** Name of one. */
export type Field = keyof Fields;

/** A value's test and what to call it in an error. */
export interface Kind<T> {
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
export const KINDS: { readonly [F in Field]: Kind<Fields[F]> } = {
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
  solverOrder: number(2, (n) => Number.isInteger(n) && n >= 1, '1, 2 or 3, or for UniPC any integer ≥ 1'),
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
  timeShiftType: oneOf(['exponential', 'linear'], 'exponential'),
  shiftTerminal: {
    test: (v) => typeof v === 'number' && v > 0 && v < 1,
    expected: 'null or in (0, 1)',
    fallback: null,
  },
  stochasticSampling: flag(false),
  invertSigmas: { test: () => false, expected: 'false; inverted sigmas are not built', fallback: false },
  baseShift: number(0.5, () => true, 'finite'),
  maxShift: number(1.15, () => true, 'finite'),
  baseImageSeqLen: number(256, positive, 'above 0'),
  maxImageSeqLen: number(4096, positive, 'above 0'),
  skipPrkSteps: flag(false),
  sChurn: number(80, (s) => s >= 0, 'at least 0'),
  sMin: number(0.05, (s) => s >= 0, 'at least 0'),
  sMax: number(50, (s) => s >= 0, 'at least 0'),
  eta: number(0, unit, 'in [0, 1]'),
  snr: number(0.15, positive, 'above 0'),
  correctSteps: number(1, whole, 'an integer ≥ 0'),
  samplingEps: number(1e-3, unit, 'in [0, 1]'),
  betaMin: number(0.1, positive, 'above 0'),
  betaMax: number(20, positive, 'above 0'),
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
export interface ClassFields {
  reads: readonly Field[];
  defaults?: Partial<Fields>;
}

/** In sigma space nothing is clipped unless the class can. */
const spread: Partial<Fields> = { timestepSpacing: 'linspace', clipSample: false, varianceType: null };

/** Two-stage methods were added with the βs of Stable Diffusion as defaults. */
const twoStage: Partial<Fields> = { ...spread, betaStart: 0.00085, betaEnd: 0.012 };

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

/** Every class that is built. */
export const CLASSES = {
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
  HeunDiscreteScheduler: { reads: [...BETAS, ...SPACING, ...SIGMAS, ...CLIP], defaults: twoStage },
  KDPM2DiscreteScheduler: { reads: [...BETAS, ...SPACING, ...SIGMAS], defaults: twoStage },
  KDPM2AncestralDiscreteScheduler: { reads: [...BETAS, ...SPACING, ...SIGMAS], defaults: twoStage },
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
    reads: [
      ...[...FLOW, ...SIGMAS],
      ...(['useDynamicShifting', 'baseShift', 'maxShift', 'baseImageSeqLen', 'maxImageSeqLen'] as const),
      ...(['timeShiftType', 'shiftTerminal', 'stochasticSampling', 'invertSigmas'] as const),
    ],
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
  KarrasVeScheduler: {
    reads: ['sigmaMin', 'sigmaMax', 'sNoise', 'sChurn', 'sMin', 'sMax'],
    defaults: { ...spread, sigmaMin: 0.02, sigmaMax: 100, sNoise: 1.007 },
  },
  RePaintScheduler: {
    reads: ['numTrainTimesteps', 'betaStart', 'betaEnd', 'betaSchedule', 'trainedBetas', 'clipSample', 'eta'],
    defaults: { varianceType: null },
  },
  ScoreSdeVeScheduler: {
    reads: ['numTrainTimesteps', 'snr', 'sigmaMin', 'sigmaMax', 'samplingEps', 'correctSteps'],
    defaults: { ...spread, numTrainTimesteps: 2000, sigmaMin: 0.01, sigmaMax: 1348, samplingEps: 1e-5 },
  },
  ScoreSdeVpScheduler: {
    reads: ['numTrainTimesteps', 'betaMin', 'betaMax', 'samplingEps'],
    defaults: { ...spread, numTrainTimesteps: 2000 },
  },
} as const satisfies Record<string, ClassFields>;

/** One of {@link SCHEDULER_CLASSES}. */
export type SchedulerClass = keyof typeof CLASSES;
/** Schedulers that are built, by the names of diffusers. */
export const SCHEDULER_CLASSES = Object.keys(CLASSES) as SchedulerClass[];

/** The field's name in the file. */
export const published = (field: string): string => field.replace(/[A-Z0-9]+/g, (c) => `_${c.toLowerCase()}`);
