/** DPM-Solver and DPM-Solver++ as their authors published them, on schedules in continuous time. */
export { dpmSolverAdaptive, type DpmSolverAdaptiveOptions } from './adaptive.ts';
export { classifierGuided, type LogProbGradient } from '../guidance/classifierGuidance.ts';
export { dpmSolverMultistep, type DpmMultistepOptions } from './multistep.ts';
export type { DpmSolverOptions } from './options.ts';
export { cosineVp, discreteVp, halfLogSnr, levelAt, linearVp, type ContinuousSchedule } from './schedules.ts';
export { dpmSolverSinglestep, stagedTransitions } from './singlestep.ts';
export {
  fastSteps,
  fixedSteps,
  SKIP_TYPES,
  spacedLevels,
  spacedTimes,
  transitionsOf,
  type SkipType,
  type StagedStep,
  type TimeRange,
} from './timeSteps.ts';
