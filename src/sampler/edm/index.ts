/** Noise levels, preconditioning and sampling of Karras et al. 2022, and the preconditioning of consistency models. */
export { generalSampler, SIGMA_SCHEDULES, type GeneralSamplerOptions } from './generalSampler.ts';
export { edmPrecond, iddpmPrecond, vePrecond, vpPrecond, type Preconditioning } from './preconditioning.ts';
export { consistencyScalings, edmScalings, type Scalings } from '../parameterisation/scalings.ts';
export {
  DISCRETIZATIONS,
  iddpmSigmas,
  sigmaGrid,
  sigmaRange,
  vpBetas,
  vpSigma,
  type Discretization,
  type SigmaGridOptions,
} from './sigmaGrids.ts';
