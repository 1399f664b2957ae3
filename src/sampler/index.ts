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
export { clipped, consistentEps, thresholded } from './clip.ts';
export { ddim, type DdimOptions } from './ddim.ts';
export { ddpm, VARIANCE_TYPES, type DdpmOptions, type VarianceType } from './ddpm.ts';
export {
  epsilonPrediction,
  parameterise,
  parameterisePair,
  PREDICTION_TYPES,
  samplePrediction,
  vPrediction,
  type Denoiser,
  type Network,
  type PairDenoiser,
  type PairNetwork,
  type Parameterisation,
  type Prediction,
  type PredictionType,
} from './denoiser.ts';
export { guided, pairOf, type GuidanceOptions } from './guidance.ts';
export { HostSpace, HostVec } from './hostVec.ts';
export { runSolver, type RunOptions, type SamplerState, type StepEvent } from './loop.ts';
export { Sampler, samplerFrom, type SampleOptions, type SolverOptions, type StepChoice } from './samplerFrom.ts';
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
export type { NoiseSource, Solver, StepInput, StepOutput, Transition } from './solver.ts';
export { customTimesteps, spacedTimesteps, TIMESTEP_SPACINGS, type TimestepSpacing } from './timesteps.ts';
export { TorchGenerator, torchNoise, type GeneratorState } from './torchGenerator.ts';
export { LinearForm, type HostValues, type Vec, type VecSpace } from './vec.ts';
