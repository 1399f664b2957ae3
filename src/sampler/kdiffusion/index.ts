/** Samplers of Karras et al. 2022 and of the k-diffusion code base, for states x = x₀ + sigma·ε. */
export { dpm2, dpm2Ancestral } from './dpm2.ts';
export { dpmAdaptive, type DpmAdaptiveOptions, type TrialEvent } from './dpmAdaptive.ts';
export { dpmFast, dpmFastPlan, type DpmFastPlan } from './dpmFast.ts';
export { dpmpp2m, dpmpp2mSde, dpmpp3mSde, type Dpmpp2mSdeOptions, type Dpmpp3mSdeOptions } from './dpmppMultistep.ts';
export { dpmpp2sAncestral, dpmppSde, type DpmppSdeOptions } from './dpmppSinglestep.ts';
export { euler, eulerAncestral } from './euler.ts';
export { cosineTime, DiscreteSigmas, fromVariancePreserving } from './external.ts';
export { heun } from './heun.ts';
export { lms, type LmsOptions } from './lms.ts';
export type { AncestralOptions, ChurnOptions } from './noiseSplit.ts';
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
