/** Improved DDPM: shorter chains, and the variational bound of a trained network. */
export { normalKl, pixelLogLikelihood, type BoundPrecision } from './bound.ts';
export { gaussianProcess, namedSchedule, type GaussianProcess, type GaussianProcessConfig } from './process.ts';
export { posteriorTables, respacedSchedule, respacedTimesteps, type PosteriorTables } from './respacing.ts';
export {
  boundTerms,
  diffuse,
  modelDistribution,
  trainingLosses,
  variationalBound,
  type Bound,
  type BoundLoss,
  type BoundNetwork,
  type BoundOptions,
  type BoundProcess,
  type ModelDistribution,
  type TrainingLosses,
} from './variationalBound.ts';
