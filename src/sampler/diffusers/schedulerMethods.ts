/** What each scheduler class of diffusers is made of: a space for the state, the steps, a solver. */
import { InvalidArgumentError } from '../../engine/errors.ts';
import { clipped, consistentEps, thresholded } from '../parameterisation/clip.ts';
import { consistency, consistencyBoundary, consistencyPreconditioning } from '../consistency/consistency.ts';
import { ddim, type DdimOptions } from '../solvers/ddim.ts';
import { ddpm } from '../solvers/ddpm.ts';
import {
  inSigmaSpace,
  scorePrediction,
  type Denoiser,
  type Parameterisation,
  type PredictionType,
} from '../parameterisation/denoiser.ts';
import { deis } from '../exponential/deis.ts';
import type { DpmAlgorithm } from '../exponential/dpmCoefficients.ts';
import { dpmSolverMultistep } from '../exponential/dpmSolverMultistep.ts';
import { dpmSolverSinglestep } from '../exponential/dpmSolverSinglestep.ts';
import { edmPreconditioning } from '../parameterisation/edm.ts';
import { euler, type ChurnOptions } from '../solvers/euler.ts';
import { eulerAncestral } from '../solvers/eulerAncestral.ts';
import { flowHeun } from '../solvers/flowHeun.ts';
import { flowLevel, flowPrediction } from '../parameterisation/flowMatching.ts';
import { heun } from '../solvers/heun.ts';
import { kdpm2 } from '../solvers/kdpm2.ts';
import { karrasVe } from '../solvers/karrasVe.ts';
import { lms } from '../solvers/lms.ts';
import {
  consistencyTransitions,
  edmTransitions,
  flowTransitions,
  inverseTransitions,
  karrasVeTransitions,
  repaintTransitions,
  scoreVeTransitions,
  scoreVpTransitions,
  ipndmTransitions,
  lcmTransitions,
  tcdTransitions,
  unclipTransitions,
  withRungeKutta,
} from './otherTransitions.ts';
import { ipndm, pndm } from '../solvers/pndm.ts';
import { repaint, type RepaintOptions } from '../editing/repaint.ts';
import { vpLevel, type NoiseLevel, type NoiseSchedule } from '../schedule/schedule.ts';
import type { SchedulerClass, SchedulerConfig } from './schedulerConfig.ts';
import { scoreVe, scoreVp } from '../sde/scoreSde.ts';
import { sigmaAt, trainingSigmas, veLevel } from '../schedule/sigmas.ts';
import { midpointTransitions, singlestepTransitions, veTransitions, vpTransitions } from './sigmaTransitions.ts';
import type { Solver, Transition } from '../solver.ts';
import { tcd } from '../consistency/tcd.ts';
import { customTimesteps, spacedTimesteps, type SpecialChoice, type StepChoice } from '../schedule/timesteps.ts';
import { uniPc } from '../exponential/uniPc.ts';

/** What only some solvers take. */
export type SolverOptions = DdimOptions & ChurnOptions & Pick<RepaintOptions, 'originalImage' | 'mask'>;

/** A class, told by its config. */
export interface Method {
  /** How the network is read. */
  reads(config: SchedulerConfig): PredictionType | Parameterisation;
  /** The steps. @throws InvalidArgumentError if steps or timesteps are out of range */
  transitions(config: SchedulerConfig, schedule: NoiseSchedule, choice: StepChoice): Transition[];
  /** The level of a training timestep. @throws InvalidArgumentError outside the schedule */
  level(schedule: NoiseSchedule, timestep: number): NoiseLevel;
  /** How many of `numInferenceSteps` a transition is; default 1. */
  sizeOf?(transition: Transition): number;
  /** Which of the choices that not all classes know. */
  takes?: readonly SpecialChoice[];
  /** The options that the solver takes. */
  options?: readonly (keyof SolverOptions)[];
  solver(config: SchedulerConfig, options: SolverOptions, schedule: NoiseSchedule): Solver;
  /** Clips or thresholds x₀ where the config asks for it. */
  correct(config: SchedulerConfig, denoiser: Denoiser): Denoiser;
  /** Standard deviation of x at the start. */
  initNoiseSigma(config: SchedulerConfig, steps: readonly Transition[]): number;
}

/** Thresholding goes first, as in the reference library. */
function correct(config: SchedulerConfig, denoiser: Denoiser): Denoiser {
  if (config.thresholding) return thresholded(denoiser, config.dynamicThresholdingRatio, config.sampleMaxValue);
  return config.clipSample ? clipped(denoiser, config.clipSampleRange) : denoiser;
}

/** As {@link correct}, with ε following the corrected x₀. */
function correctBoth(config: SchedulerConfig, denoiser: Denoiser): Denoiser {
  const corrected = correct(config, denoiser);
  return corrected === denoiser ? denoiser : consistentEps(corrected);
}

/**
 * Training timesteps as pairs of levels. As in the reference library a spaced step goes down by ⌊N / steps⌋, which with
 * `linspace` and `trailing` need not be where the next one starts; custom timesteps lead to each other.
 */
function discreteTransitions(config: SchedulerConfig, schedule: NoiseSchedule, choice: StepChoice): Transition[] {
  const { numTrainTimesteps, timestepSpacing, stepsOffset, setAlphaToOne } = config;
  const timesteps = choice.timesteps
    ? customTimesteps(choice.timesteps, numTrainTimesteps)
    : spacedTimesteps(choice.numInferenceSteps ?? NaN, numTrainTimesteps, timestepSpacing, stepsOffset);
  const stride = Math.floor(numTrainTimesteps / timesteps.length);
  // What comes before timestep 0: no noise, or with `set_alpha_to_one: false` the noise of timestep 0.
  const end = vpLevel(-1, setAlphaToOne ? 1 : schedule.alphasCumprod[0]);
  return timesteps.map((t, i) => {
    const s = choice.timesteps ? (timesteps[i + 1] ?? -1) : t - stride;
    return { from: schedule.at(t), to: s >= 0 ? schedule.at(s) : end };
  });
}

const discrete = {
  reads: (config) => config.predictionType,
  transitions: discreteTransitions,
  level: (schedule, timestep) => schedule.at(timestep),
  correct,
  initNoiseSigma: () => 1,
} satisfies Partial<Method>;

/** DPM-Solver and its kin: variance-preserving levels placed by sigma. */
const lambda = { ...discrete, transitions: vpTransitions, correct: correctBoth } satisfies Partial<Method>;

/** k-diffusion's kin: the state is x₀ + sigma·ε. */
const sigma = {
  reads: (config) => inSigmaSpace(config.predictionType),
  transitions: veTransitions,
  level: (schedule, timestep) => veLevel(timestep, sigmaAt(trainingSigmas(schedule), timestep)),
  correct: correctBoth,
  initNoiseSigma: ({ timestepSpacing }, [{ from }]) =>
    timestepSpacing === 'leading' ? Math.hypot(from.sigma, 1) : from.sigma,
  takes: ['sigmas'],
} satisfies Partial<Method>;

/** Karras et al. 2022: the state is x₀ + sigma·ε over sigmas of its own. */
const edm = {
  reads: ({ sigmaData, predictionType }) => edmPreconditioning(sigmaData, predictionType === 'epsilon' ? 1 : -1),
  transitions: edmTransitions,
  level: (_, timestep) => veLevel(timestep, Math.exp(4 * timestep)),
  correct: correctBoth,
  initNoiseSigma: ({ sigmaMax }) => Math.hypot(sigmaMax ?? 80, 1),
} satisfies Partial<Method>;

const flow = {
  reads: () => flowPrediction,
  transitions: flowTransitions,
  level: (schedule, timestep) => flowLevel(timestep / schedule.length, schedule.length),
  correct: (_, denoiser) => denoiser,
  initNoiseSigma: () => 1,
  takes: ['sigmas', 'mu'],
} satisfies Partial<Method>;

const DISTILLED = ['originalInferenceSteps'] as const;
const CHURN = ['sChurn', 'sTmin', 'sTmax', 'sNoise'] as const;
const algorithmOf = ({ algorithmType: a }: SchedulerConfig): DpmAlgorithm => (a === 'deis' ? 'dpmsolver++' : a);
const solverTypeOf = ({ solverType }: SchedulerConfig): 'heun' | 'midpoint' =>
  solverType === 'heun' ? 'heun' : 'midpoint';

/**
 * A step between equal levels, as the last is where sigmas end at sigma_min, leaves x where it is: the formulas divide
 * by its length, and diffusers' DEIS with 15 steps or more ends in NaN there.
 */
function standing(solver: Solver): Solver {
  return async (step) => {
    const { x, from, to, denoise, history, signal } = step;
    if (from.sigma !== to.sigma || from.alpha !== to.alpha) return solver(step);
    return { x, x0: (await denoise(x, from, signal)).x0, history };
  };
}

function dpmMultistepOf(config: SchedulerConfig): Solver {
  const own = { algorithmType: algorithmOf(config), solverType: solverTypeOf(config), publishedThirdOrder: true };
  return standing(dpmSolverMultistep({ ...config, ...own }));
}

/** Sigmas even in log sigma are one more than the steps, and diffusers divides the churn among them all. */
function eulerOf(config: SchedulerConfig, options: SolverOptions): Solver {
  const shaped = config.useKarrasSigmas || config.useExponentialSigmas || config.useBetaSigmas;
  if (config.interpolationType !== 'log_linear' || shaped) return euler(options);
  return (step) => euler({ ...options, numInferenceSteps: (step.transitions?.length ?? 0) + 1 })(step);
}

/** Every class that is built. */
export const METHODS: Readonly<Record<SchedulerClass, Method>> = {
  DDPMScheduler: { ...discrete, solver: ({ varianceType }) => ddpm({ varianceType: varianceType ?? undefined }) },
  DDIMScheduler: { ...discrete, options: ['eta', 'useClippedModelOutput'], solver: (_, options) => ddim(options) },
  EulerDiscreteScheduler: { ...sigma, options: CHURN, solver: eulerOf },
  EulerAncestralDiscreteScheduler: { ...sigma, solver: () => eulerAncestral() },
  HeunDiscreteScheduler: { ...sigma, solver: () => heun() },
  KDPM2DiscreteScheduler: { ...sigma, transitions: midpointTransitions, solver: () => kdpm2() },
  KDPM2AncestralDiscreteScheduler: {
    ...sigma,
    transitions: midpointTransitions,
    solver: () => kdpm2({ ancestral: true }),
  },
  LMSDiscreteScheduler: { ...sigma, solver: () => lms({ early: 'zero' }) },
  DPMSolverMultistepScheduler: {
    ...lambda,
    solver: dpmMultistepOf,
  },
  DPMSolverSinglestepScheduler: {
    ...lambda,
    transitions: singlestepTransitions,
    sizeOf: ({ stages = [] }) => 1 + stages.length,
    solver: (config) =>
      standing(dpmSolverSinglestep({ algorithmType: algorithmOf(config), solverType: solverTypeOf(config) })),
  },
  DEISMultistepScheduler: { ...lambda, solver: (config) => standing(deis(config)) },
  UniPCMultistepScheduler: {
    ...lambda,
    solver: (config) => uniPc({ ...config, solverType: config.solverType === 'bh1' ? 'bh1' : 'bh2' }),
  },
  EDMEulerScheduler: { ...edm, options: CHURN, solver: (_, options) => euler(options) },
  EDMDPMSolverMultistepScheduler: {
    ...edm,
    solver: dpmMultistepOf,
  },
  FlowMatchEulerDiscreteScheduler: {
    ...flow,
    solver: ({ stochasticSampling }) => (stochasticSampling ? consistency() : euler()),
  },
  FlowMatchHeunDiscreteScheduler: { ...flow, options: CHURN, solver: (_, options) => flowHeun(options) },
  PNDMScheduler: {
    ...discrete,
    transitions: withRungeKutta(discreteTransitions),
    solver: () => pndm({ averages: 'output' }),
  },
  IPNDMScheduler: { ...discrete, transitions: ipndmTransitions, solver: () => ipndm() },
  LCMScheduler: {
    ...discrete,
    transitions: lcmTransitions,
    takes: DISTILLED,
    correct: (config, denoiser) => consistencyBoundary(correct(config, denoiser), config.timestepScaling),
    solver: () => consistency(),
  },
  TCDScheduler: {
    ...discrete,
    transitions: tcdTransitions,
    takes: DISTILLED,
    options: ['eta'],
    correct: (_, denoiser) => denoiser, // it has the fields of clipping and thresholding, and reads none of them
    solver: (_, { eta }, schedule) => tcd({ eta, level: (t) => schedule.at(t) }),
  },
  CMStochasticIterativeScheduler: {
    ...edm,
    reads: ({ sigmaData, sigmaMin }) => consistencyPreconditioning(sigmaData, sigmaMin ?? undefined),
    transitions: consistencyTransitions,
    level: (_, timestep) => veLevel(timestep, Math.exp(timestep / 250)),
    correct: ({ clipDenoised }, denoiser) => (clipDenoised ? clipped(denoiser) : denoiser),
    initNoiseSigma: ({ sigmaMax }) => sigmaMax ?? 80,
    solver: ({ sigmaMin, sNoise }) => consistency({ sigmaMin: sigmaMin ?? undefined, sNoise }),
  },
  UnCLIPScheduler: {
    ...discrete,
    transitions: unclipTransitions,
    solver: ({ varianceType }, _, { betas }) => ddpm({ varianceType: varianceType ?? undefined, betas }),
  },
  KarrasVeScheduler: {
    ...edm,
    reads: () => 'sample',
    transitions: karrasVeTransitions,
    level: (_, timestep) => veLevel(timestep, timestep),
    initNoiseSigma: ({ sigmaMax }) => sigmaMax ?? 100,
    solver: ({ sChurn, sMin, sMax, sNoise }) => karrasVe({ sChurn, sTmin: sMin, sTmax: sMax, sNoise }),
  },
  RePaintScheduler: {
    ...discrete,
    transitions: repaintTransitions,
    takes: ['jumpLength', 'jumpNSample'],
    options: ['eta', 'originalImage', 'mask'],
    solver: ({ eta }, options, { betas }) => repaint({ ...options, eta: options.eta ?? eta, betas }),
  },
  ScoreSdeVeScheduler: {
    ...edm,
    reads: () => scorePrediction,
    transitions: scoreVeTransitions,
    level: (_, timestep) => veLevel(timestep, timestep),
    initNoiseSigma: ({ sigmaMax }) => sigmaMax ?? 1348,
    solver: (config) => scoreVe(config),
  },
  ScoreSdeVpScheduler: {
    ...discrete,
    transitions: scoreVpTransitions,
    solver: ({ betaMin, betaMax, numTrainTimesteps: n }) =>
      scoreVp(({ timestep }) => betaMin + (timestep / (n - 1)) * (betaMax - betaMin)),
  },
  DDIMInverseScheduler: { ...discrete, transitions: inverseTransitions, solver: () => ddim() },
};

/** The solver of a class. @throws InvalidArgumentError for an option that is not the class's, or out of range */
export function solverOf(config: SchedulerConfig, options: SolverOptions, schedule: NoiseSchedule): Solver {
  const { options: own = [], solver } = METHODS[config.className];
  for (const [key, value] of Object.entries(options)) {
    if (!value || own.includes(key as keyof SolverOptions)) continue;
    const takers = Object.entries(METHODS).filter(([, m]) => m.options?.includes(key as keyof SolverOptions));
    throw new InvalidArgumentError(
      `${config.className}: expected no ${key}, got ${String(value)}; ` +
        `it belongs to ${takers.map(([c]) => c).join(', ')}`,
    );
  }
  return solver(config, options, schedule);
}
