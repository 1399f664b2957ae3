/** DPM-Solver and DPM-Solver++ of orders 1 to 3 with stages inside the step. */
import { InvalidArgumentError } from '../../engine/errors.ts';
import { dpmSolverSinglestep as singlestep } from '../exponential/dpmSolverSinglestep.ts';
import type { Solver, Transition } from '../solver.ts';
import { choices, type DpmSolverOptions } from './options.ts';
import type { StagedStep } from './timeSteps.ts';

/**
 * Steps as planned by `fastSteps` or `fixedSteps`, one evaluation per level but the last. Run it over
 * {@link stagedTransitions}. DPM-Solver algorithms 1 to 5, DPM-Solver++ algorithm 1.
 * @throws ConfigError on an unknown option; InvalidArgumentError (on the step) off the plan
 */
export function dpmSolverSinglestep(steps: readonly StagedStep[], options: DpmSolverOptions = {}): Solver {
  const solver = singlestep(choices(options));
  const plan = new Map(steps.map((levels) => [levels[0].timestep, levels]));
  return (step) => {
    const { from, to } = step;
    const levels = plan.get(from.timestep);
    if (!levels || levels[levels.length - 1].timestep !== to.timestep)
      throw new InvalidArgumentError(
        `dpmSolverSinglestep: expected a step of its plan, got ${from.timestep} → ${to.timestep}; ` +
          'run it over stagedTransitions(steps)',
      );
    return solver({ ...step, stages: levels.slice(1, -1) });
  };
}

/** The transitions of a plan. */
export function stagedTransitions(steps: readonly StagedStep[]): Transition[] {
  return steps.map((levels) => ({ from: levels[0], to: levels[levels.length - 1] }));
}
