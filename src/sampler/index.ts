/**
 * `daguerre/sampler`: noise schedules, parameterisations, guidance and solvers. Needs no GPU: the same code runs on
 * host arrays ({@link HostSpace}) and on any {@link VecSpace}.
 *
 * ```ts
 * const sampler = samplerFrom(JSON.parse(schedulerConfigJson));
 * const generator = new TorchGenerator(42);
 * const space = new HostSpace();
 * const x = space.vec(generator.randn(3 * 32 * 32));
 * const denoiser = sampler.denoiser((x, timestep) => myNetwork(x, timestep));
 * const picture = await sampler.sample({ denoiser, x, numInferenceSteps: 20, generator });
 * ```
 */
export {
  classifierGuided,
  classifierMeanShift,
  type LogProbGradient,
  type MeanShiftOptions,
} from './guidance/classifierGuidance.ts';
export {
  brownianNoise,
  sigmaClock,
  snrClock,
  type BrownianClock,
  type BrownianOptions,
} from './noise/brownianNoise.ts';
export { BrownianTree } from './noise/brownianTree.ts';
export { clipped, consistentEps, thresholded } from './parameterisation/clip.ts';
export {
  consistency,
  consistencyBoundary,
  consistencyPreconditioning,
  type ConsistencyOptions,
} from './consistency/consistency.ts';
export {
  brightnessReplacement,
  consistencyEdit,
  maskReplacement,
  patchMeanReplacement,
  type ConsistencyEditOptions,
  type ItemShape,
  type Replacement,
} from './editing/consistencyEdit.ts';
export { CounterGenerator, counterNormals, type CounterState } from './noise/counterNormals.ts';
export { ddim, type DdimOptions } from './solvers/ddim.ts';
export { deis } from './exponential/deis.ts';
export { ddpm, VARIANCE_TYPES, type DdpmOptions, type VarianceType } from './solvers/ddpm.ts';
export {
  epsilonPrediction,
  inSigmaSpace,
  parameterise,
  parameterisePair,
  predictionOf,
  PREDICTION_TYPES,
  samplePrediction,
  scorePrediction,
  vPrediction,
  type Denoiser,
  type Network,
  type PairDenoiser,
  type PairNetwork,
  type Parameterisation,
  type Prediction,
  type PredictionType,
} from './parameterisation/denoiser.ts';
export { DPM_ALGORITHMS, type DpmAlgorithm } from './exponential/dpmCoefficients.ts';
export { dpmSolverMultistep, type DpmSolverOptions } from './exponential/dpmSolverMultistep.ts';
export { dpmSolverSinglestep } from './exponential/dpmSolverSinglestep.ts';
export { edmLevel, edmPreconditioning } from './parameterisation/edm.ts';
export { euler, type ChurnOptions } from './solvers/euler.ts';
export { eulerAncestral } from './solvers/eulerAncestral.ts';
export {
  flowLevel,
  flowPrediction,
  resolutionMu,
  shiftSigma,
  type ResolutionShift,
} from './parameterisation/flowMatching.ts';
export type { NormalGenerator } from './noise/generator.ts';
export {
  guided,
  GUIDANCE_CONVENTIONS,
  pairOf,
  perStep,
  type GuidanceConvention,
  type GuidanceOptions,
  type GuidanceSchedule,
} from './guidance/guidance.ts';
export { heun } from './solvers/heun.ts';
export { HostSpace, HostVec } from './hostVec.ts';
export { inpainted, type InpaintingOptions } from './editing/inpainting.ts';
export { kdpm2, type Kdpm2Options } from './solvers/kdpm2.ts';
export { karrasVe, type KarrasVeOptions } from './solvers/karrasVe.ts';
export { lms } from './solvers/lms.ts';
export { runSolver, type RunOptions, type SamplerState, type StepEvent } from './loop.ts';
export { PhiloxGenerator, type PhiloxOptions, type PhiloxState } from './noise/philoxGenerator.ts';
export { ipndm, pndm } from './solvers/pndm.ts';
export { repaint, type RepaintOptions } from './editing/repaint.ts';
export {
  Sampler,
  samplerFrom,
  type ImageOptions,
  type SampleOptions,
  type SolverOptions,
  type StepChoice,
} from './diffusers/samplerFrom.ts';
export {
  BETA_SCHEDULES,
  NoiseSchedule,
  vpLevel,
  type BetaSchedule,
  type NoiseLevel,
  type ScheduleOptions,
} from './schedule/schedule.ts';
export {
  readSchedulerConfig,
  SCHEDULER_CLASSES,
  type SchedulerClass,
  type SchedulerConfig,
} from './diffusers/schedulerConfig.ts';
export { scoreVe, scoreVp, type ScoreVeOptions } from './sde/scoreSde.ts';
export {
  betaSigmas,
  exponentialSigmas,
  karrasSigmas,
  laplaceSigmas,
  logSnr,
  sigmaAt,
  timestepOf,
  trainingSigmas,
  veLevel,
  vpOfSigma,
} from './schedule/sigmas.ts';
export type { NoiseSource, Solver, StepInput, StepOutput, Transition } from './solver.ts';
export { tcd, type TcdOptions } from './consistency/tcd.ts';
export { customTimesteps, spacedTimesteps, TIMESTEP_SPACINGS, type TimestepSpacing } from './schedule/timesteps.ts';
export { TorchGenerator, torchNoise, type GeneratorState } from './noise/torchGenerator.ts';
export { uniPc, type UniPcOptions } from './exponential/uniPc.ts';
export { LinearForm, type BoxDirection, type HostValues, type Vec, type VecSpace } from './vec.ts';
/** Methods as their authors published them, each family under its own name; parity with the original code is tested. */
export * as analytic from './analytic/index.ts';
export * as dpmSolver from './dpmSolver/index.ts';
export * as edm from './edm/index.ts';
export * as consistencyModels from './consistency/consistencySamplers.ts';
export * as iddpm from './iddpm/index.ts';
export * as kdiffusion from './kdiffusion/index.ts';
export * as sde from './sde/index.ts';
export {
  bitsPerDim,
  chooseDifference,
  logLikelihood,
  type Likelihood,
  type LikelihoodOptions,
} from './sde/likelihood.ts';
