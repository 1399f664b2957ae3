/** The samplers of consistency_models by their names: which levels are visited, and by which method. */
import { InvalidArgumentError } from '../../engine/index.ts';
import {
  consistencySigmas,
  consistencyTime,
  gridTransitions,
  rhoMidpoint,
  stochasticIterative,
} from '../../sampler/consistency/consistencySamplers.ts';
import type { Denoiser } from '../../sampler/parameterisation/denoiser.ts';
import { heun } from '../../sampler/solvers/heun.ts';
import { euler, eulerAncestral, veTransitions } from '../../sampler/kdiffusion/index.ts';
import type { Solver, Transition } from '../../sampler/solver.ts';
import { veLevel } from '../../sampler/schedule/sigmas.ts';
import { CONSISTENCY_SAMPLERS, type ConsistencyOptions, type ConsistencySampler } from './options.ts';

/** Levels and method of a run. */
export interface ConsistencyPlan {
  transitions: readonly Transition[];
  solver: Solver;
}

/** The grid that a call chooses places on. */
export interface ConsistencyGrid {
  steps: number;
  sigmaMin: number;
  sigmaMax: number;
  rho: number;
}

/** @throws InvalidArgumentError for a grid that is none */
export function gridOf(
  { numInferenceSteps: steps = 40, rho = 7, ...options }: ConsistencyOptions,
  own: { sigmaMin: number; sigmaMax: number },
): ConsistencyGrid {
  const { sigmaMin = own.sigmaMin, sigmaMax = own.sigmaMax } = options;
  const ok = Number.isInteger(steps) && steps >= 2 && steps <= 10_000 && rho > 0;
  if (ok && sigmaMin > 0 && sigmaMin < sigmaMax && sigmaMax < Infinity) return { steps, sigmaMin, sigmaMax, rho };
  throw new InvalidArgumentError(
    `generate: expected numInferenceSteps 2 … 10000, 0 < sigmaMin < sigmaMax and rho > 0, got ${steps}, ${sigmaMin}, ` +
      `${sigmaMax} and ${rho}; one step is sampler: 'onestep' on a grid of the steps it was trained with`,
  );
}

/** Steps between places on the grid. @throws InvalidArgumentError unless places rise within it, two or more */
export function stepsBetween(ts: readonly number[], grid: ConsistencyGrid): Transition[] {
  const ok = ts.every((t, i) => t >= 0 && t <= grid.steps - 1 && (i === 0 || t > ts[i - 1]));
  if (ok && ts.length >= 2) return gridTransitions(ts, grid);
  throw new InvalidArgumentError(
    `generate: expected two places ts or more, rising from 0 to ${grid.steps - 1}, got ${ts.join(', ') || 'none'}; ` +
      `for two calls of the network ts: [0, 22, 39] with 40 steps`,
  );
}

/** Every place of a grid. */
export const allPlaces = ({ steps }: ConsistencyGrid): number[] => Array.from({ length: steps }, (_, i) => i);

/** @throws InvalidArgumentError for a name, a number or places that do not fit */
export function planOf(
  sampler: ConsistencySampler,
  grid: ConsistencyGrid,
  options: ConsistencyOptions,
): ConsistencyPlan {
  const { steps, ...range } = grid;
  const along = (count: number): Transition[] => veTransitions(consistencySigmas(count, range));
  const { sChurn, sTmin, sTmax, sNoise } = options;
  const churn = { sChurn, sTmin, sTmax, sNoise, numInferenceSteps: steps };
  switch (sampler) {
    case 'onestep':
      return { transitions: [{ from: along(steps)[0].from, to: veLevel(0, 0) }], solver: jump };
    case 'multistep':
      return { transitions: stepsBetween(options.ts ?? [], grid), solver: stochasticIterative(grid) };
    case 'heun': {
      const level = (sigma: number) => veLevel(sigma, sigma);
      // A draw at every step, whether it counts or not.
      return { transitions: along(steps), solver: heun({ ...churn, level, drawsAlways: true }) };
    }
    case 'dpm':
      return { transitions: along(steps), solver: drawing(rhoMidpoint(churn)) };
    case 'ancestral':
      return { transitions: along(steps), solver: eulerAncestral() };
    case 'euler':
      return { transitions: along(steps), solver: euler() };
    case 'progdist': // one step more of the grid, and not the last, to 0
      return { transitions: along(steps + 1).slice(0, -1), solver: euler() };
    default:
      throw new InvalidArgumentError(
        `generate: expected sampler ${CONSISTENCY_SAMPLERS.join(', ')}, got ${String(sampler)}`,
      );
  }
}

/** Straight to the picture. */
const jump: Solver = async ({ x, from, denoise, signal }) => {
  const { x0 } = await denoise(x, from, signal);
  return { x: x0.materialise(), x0 };
};

/** One draw at every step: taken for nothing where the method makes none, so that generators stay in step. */
function drawing(solver: Solver): Solver {
  return async (step) => {
    let drawn = false;
    const noise: typeof step.noise = (like, to) => {
      drawn = true;
      return step.noise(like, to);
    };
    const done = await solver({ ...step, noise });
    if (!drawn) step.noise(step.x);
    return done;
  };
}

/** A denoiser that is told 250·ln sigma of each level. */
export function toldByLog(denoiser: Denoiser): Denoiser {
  return (x, level, signal) => denoiser(x, { ...level, timestep: consistencyTime(level.sigma) }, signal);
}
