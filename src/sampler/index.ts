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
} from './classifierGuidance.ts';
export { brownianNoise, sigmaClock, snrClock, type BrownianClock, type BrownianOptions } from './brownianNoise.ts';
export { BrownianTree } from './brownianTree.ts';
export { clipped, consistentEps, thresholded } from './clip.ts';
export {
  consistency,
  consistencyBoundary,
  consistencyPreconditioning,
  type ConsistencyOptions,
} from './consistency.ts';
export {
  brightnessReplacement,
  consistencyEdit,
  maskReplacement,
  patchMeanReplacement,
  type ConsistencyEditOptions,
  type ItemShape,
  type Replacement,
} from './consistencyEdit.ts';
export { CounterGenerator, counterNormals, type CounterState } from './counterNormals.ts';
export { ddim, type DdimOptions } from './ddim.ts';
export { deis } from './deis.ts';
export { ddpm, VARIANCE_TYPES, type DdpmOptions, type VarianceType } from './ddpm.ts';
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
} from './denoiser.ts';
export { DPM_ALGORITHMS, type DpmAlgorithm } from './dpmCoefficients.ts';
export { dpmSolverMultistep, type DpmSolverOptions } from './dpmSolverMultistep.ts';
export { dpmSolverSinglestep } from './dpmSolverSinglestep.ts';
export { edmLevel, edmPreconditioning } from './edm.ts';
export { euler, type ChurnOptions } from './euler.ts';
export { eulerAncestral } from './eulerAncestral.ts';
export { flowLevel, flowPrediction, resolutionMu, shiftSigma, type ResolutionShift } from './flowMatching.ts';
export type { NormalGenerator } from './generator.ts';
export {
  guided,
  GUIDANCE_CONVENTIONS,
  pairOf,
  perStep,
  type GuidanceConvention,
  type GuidanceOptions,
  type GuidanceSchedule,
} from './guidance.ts';
export { heun } from './heun.ts';
export { HostSpace, HostVec } from './hostVec.ts';
export { inpainted, type InpaintingOptions } from './inpainting.ts';
export { kdpm2, type Kdpm2Options } from './kdpm2.ts';
export { karrasVe, type KarrasVeOptions } from './karrasVe.ts';
export { lms } from './lms.ts';
export { runSolver, type RunOptions, type SamplerState, type StepEvent } from './loop.ts';
export { PhiloxGenerator, type PhiloxOptions, type PhiloxState } from './philoxGenerator.ts';
export { ipndm, pndm } from './pndm.ts';
export { repaint, type RepaintOptions } from './repaint.ts';
export {
  Sampler,
  samplerFrom,
  type ImageOptions,
  type SampleOptions,
  type SolverOptions,
  type StepChoice,
} from './samplerFrom.ts';
export {
  BETA_SCHEDULES,
  NoiseSchedule,
  vpLevel,
  type BetaSchedule,
  type NoiseLevel,
  type ScheduleOptions,
} from './schedule.ts';
export {
  readSchedulerConfig,
  SCHEDULER_CLASSES,
  type SchedulerClass,
  type SchedulerConfig,
} from './schedulerConfig.ts';
export { scoreVe, scoreVp, type ScoreVeOptions } from './scoreSde.ts';
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
} from './sigmas.ts';
export type { NoiseSource, Solver, StepInput, StepOutput, Transition } from './solver.ts';
export { tcd, type TcdOptions } from './tcd.ts';
export { customTimesteps, spacedTimesteps, TIMESTEP_SPACINGS, type TimestepSpacing } from './timesteps.ts';
export { TorchGenerator, torchNoise, type GeneratorState } from './torchGenerator.ts';
export { uniPc, type UniPcOptions } from './uniPc.ts';
export { LinearForm, type BoxDirection, type HostValues, type Vec, type VecSpace } from './vec.ts';
/** Methods as their authors published them, each family under its own name; parity with the original code is tested. */
export * as analytic from './analytic/index.ts';
export * as dpmSolver from './dpmSolver/index.ts';
export * as edm from './edm/index.ts';
export * as consistencyModels from './consistencySamplers.ts';
export * as iddpm from './iddpm/index.ts';
export * as kdiffusion from './kdiffusion/index.ts';
export * as sde from './sde/index.ts';
export { bitsPerDim, chooseDifference, logLikelihood, type Likelihood, type LikelihoodOptions } from './likelihood.ts';
