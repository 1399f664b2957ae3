/** Noise levels and preconditioning of Karras et al. 2022 and of consistency models. */
export { consistencyScalings, edmScalings, type Scalings } from './scalings.ts';
export {
  DISCRETIZATIONS,
  iddpmSigmas,
  sigmaGrid,
  vpBetas,
  vpSigma,
  type Discretization,
  type SigmaGridOptions,
} from './sigmaGrids.ts';
