/** Analytic-DPM: optimal variances and trajectories. */
export {
  analyticDpm,
  analyticVariance,
  pictureVariance,
  pixelVariance,
  smallVariance,
  type AnalyticOptions,
  type GammaAt,
} from './analyticDpm.ts';
export {
  analyticCost,
  analyticTrajectory,
  cheapestPath,
  linearTrajectory,
  powerTrajectory,
  quadraticTrajectory,
  type EdgeCost,
} from './trajectories.ts';
