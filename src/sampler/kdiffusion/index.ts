/** Samplers of Karras et al. 2022 and of the k-diffusion code base, for states x = x₀ + sigma·ε. */
export type { LmsOptions } from '../solvers/lms.ts';
export type { AncestralOptions, ChurnOptions } from '../solvers/noiseSplit.ts';
export { dpmAdaptive, type DpmAdaptiveOptions, type TrialEvent } from './dpmAdaptive.ts';
export { cosineTime, DiscreteSigmas, fromVariancePreserving } from './external.ts';
export {
  exponentialSigmas,
  karrasSigmas,
  polyexponentialSigmas,
  veLevel,
  veTransitions,
  vpSigmas,
  type SigmaRange,
  type VpRange,
} from './sigmas.ts';
export {
  dpmFast,
  dpmFastPlan,
  dpmpp2sAncestral,
  dpmppSde,
  type DpmFastPlan,
  type DpmppSdeOptions,
} from './singlestep.ts';
export {
  dpm2,
  dpm2Ancestral,
  dpmpp2m,
  dpmpp2mSde,
  dpmpp3mSde,
  euler,
  eulerAncestral,
  heun,
  lms,
  type Dpmpp2mSdeOptions,
  type Dpmpp3mSdeOptions,
} from './solvers.ts';
