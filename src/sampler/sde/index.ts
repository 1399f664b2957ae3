/** Sampling by stochastic differential equations, and along their probability flow. */
export { annealedLangevin, type AnnealedLangevinOptions } from './langevin.ts';
export {
  CORRECTORS,
  predictorCorrector,
  PREDICTORS,
  sdeTransitions,
  type PredictorCorrectorOptions,
} from './predictorCorrector.ts';
export { probabilityFlow, type FlowOptions } from './probabilityFlow.ts';
export { rk45, type OdeState, type Rk45Options } from './rk45.ts';
export { discreteIndex, subVpSde, veSde, vpSde, type Sde } from './sde.ts';
