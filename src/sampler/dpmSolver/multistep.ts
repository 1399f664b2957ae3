/** DPM-Solver and DPM-Solver++ from the model's outputs at earlier steps, over levels in continuous time. */
import { InvalidArgumentError } from '../../engine/errors.ts';
import { dpmSolverMultistep as multistep } from '../exponential/dpmSolverMultistep.ts';
import type { NoiseLevel } from '../schedule/schedule.ts';
import type { Solver } from '../solver.ts';
import { choices, type DpmSolverOptions } from './options.ts';
import { transitionsOf } from './timeSteps.ts';

/** The choices of {@link dpmSolverMultistep}. */
export interface DpmMultistepOptions extends DpmSolverOptions {
  /** 1, 2 or 3; default 2. */
  order?: 1 | 2 | 3;
  /** With fewer than 10 steps the last ones have lower orders, down to 1, for stability; default true. */
  lowerOrderFinal?: boolean;
  /** The authors' code halves D₂, which makes order 3 converge with order 2; true repeats that. Default false. */
  publishedThirdOrder?: boolean;
}

/**
 * Runs over the levels it is given (either direction in time); the first steps have the orders that their history
 * allows. One evaluation per step. DPM-Solver++ algorithm 2 and appendix B.
 * @throws InvalidArgumentError if the order is not 1, 2 or 3 or exceeds the steps; ConfigError on an unknown option
 */
export function dpmSolverMultistep(levels: readonly NoiseLevel[], options: DpmMultistepOptions = {}): Solver {
  const { order = 2, lowerOrderFinal, publishedThirdOrder } = options;
  const transitions = transitionsOf(levels);
  if (![1, 2, 3].includes(order) || transitions.length < order)
    throw new InvalidArgumentError(
      `dpmSolverMultistep: expected order 1, 2 or 3, ≤ steps, got ${order}, ${transitions.length} steps`,
    );
  const { algorithmType, solverType } = choices(options);
  const chosen = { algorithmType, solverType, solverOrder: order, lowerOrderFinal, publishedThirdOrder };
  const solver = multistep({ ...chosen, shortRun: 10 });
  return (step) => {
    const { from, to } = step;
    const index = levels.findIndex((level) => level.timestep === from.timestep);
    if (index < 0 || levels[index + 1]?.timestep !== to.timestep)
      throw new InvalidArgumentError(
        `dpmSolverMultistep: expected a step of its levels, got ${from.timestep} → ${to.timestep}; pass the run's levels`,
      );
    return solver({ ...step, index, transitions });
  };
}
