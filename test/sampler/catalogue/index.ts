/**
 * Every sampler that is offered, each as one short run that a host and a GPU space can make: what stops and goes, what
 * is computed where, and how many dispatches it costs are tested over this list.
 */
import type { SolverCase } from './case.ts';
import { families } from './families.ts';
import { schedulers } from './schedulers.ts';

export { toyNetwork, type RunExtras, type SolverCase } from './case.ts';

/** Every sampler. */
export const SOLVER_CASES: readonly SolverCase[] = [...schedulers, ...families];
