/** DPM-Solver and DPM-Solver++ of orders 1 to 3 with stages inside the step. */
import { InvalidArgumentError } from '../../engine/errors.ts';
import type { Denoiser } from '../denoiser.ts';
import type { NoiseLevel } from '../schedule.ts';
import type { Solver, Transition } from '../solver.ts';
import { LinearForm, type Vec } from '../vec.ts';
import { halfLogSnr } from './schedules.ts';
import type { StagedStep } from './timeSteps.ts';
import {
  choices,
  evaluate,
  firstOrder,
  modelOutput,
  secondOrder,
  taylorOrder,
  type DpmSolverOptions,
} from './update.ts';

/** A step with the model's output at its start. */
export interface Staged {
  readonly x: Vec;
  readonly m: Vec;
  readonly levels: StagedStep;
  readonly denoise: Denoiser;
  readonly options: DpmSolverOptions;
  readonly signal?: AbortSignal;
}

/** Where a level stands in the step, 0 at its start and 1 at its end, in λ. */
function fraction(level: NoiseLevel, levels: StagedStep): number {
  const [start, end] = [halfLogSnr(levels[0]), halfLogSnr(levels[levels.length - 1])];
  return (halfLogSnr(level) - start) / (end - start);
}

/** The model's output at the first stage, reached in first order. */
export function firstStage({ x, m, levels, denoise, options, signal }: Staged): Promise<Vec> {
  return evaluate(firstOrder(x, m, levels[0], levels[1], options), levels[1], denoise, options, signal);
}

/** Second order to the step's end from the first stage's output. DPM-Solver algorithm 4, DPM-Solver++ algorithm 1. */
export function singlestep2({ x, m, levels, options }: Staged, m1: Vec): LinearForm {
  const r1 = fraction(levels[1], levels);
  const d1 = LinearForm.of(m1, 1 / r1).minus(m, 1 / r1);
  return secondOrder(x, m, d1, levels[0], levels[levels.length - 1], options);
}

/** Third order; evaluates at the second stage. DPM-Solver algorithm 5 (and 2 with thirds). */
export async function singlestep3({ x, m, levels, denoise, options, signal }: Staged, m1: Vec): Promise<LinearForm> {
  const [start, first, second, end] = levels;
  const [r1, r2] = [fraction(first, levels), fraction(second, levels)];
  const slope1 = LinearForm.of(m1, 1 / r1).minus(m, 1 / r1);
  const inner = taylorOrder(x, m, slope1.scale(r2), undefined, start, second, options);
  const m2 = await evaluate(inner, second, denoise, options, signal);
  const slope2 = LinearForm.of(m2, 1 / r2).minus(m, 1 / r2);
  if (options.solverType !== 'taylor') return taylorOrder(x, m, slope2, undefined, start, end, options);
  const d1 = slope1.scale(r2 / (r2 - r1)).minus(slope2, r1 / (r2 - r1));
  const d2 = slope2.minus(slope1).scale(2 / (r2 - r1));
  return taylorOrder(x, m, d1, d2, start, end, options);
}

/**
 * Steps as planned by `fastSteps` or `fixedSteps`, one evaluation per level but the last. Run it over
 * {@link stagedTransitions}. @throws ConfigError on an unknown option; InvalidArgumentError (on the step) off the plan
 */
export function dpmSolverSinglestep(steps: readonly StagedStep[], options: DpmSolverOptions = {}): Solver {
  const chosen = choices(options);
  const plan = new Map(steps.map((levels) => [levels[0].timestep, levels]));
  return async ({ x, from, to, denoise, signal }) => {
    const levels = plan.get(from.timestep);
    if (!levels || levels[levels.length - 1].timestep !== to.timestep)
      throw new InvalidArgumentError(
        `dpmSolverSinglestep: expected a step of its plan, got ${from.timestep} → ${to.timestep}; ` +
          'run it over stagedTransitions(steps)',
      );
    const prediction = await denoise(x, from, signal);
    const step: Staged = { x, m: modelOutput(prediction, chosen), levels, denoise, options: chosen, signal };
    let next = firstOrder(x, step.m, from, to, chosen);
    if (levels.length === 3) next = singlestep2(step, await firstStage(step));
    if (levels.length === 4) next = await singlestep3(step, await firstStage(step));
    return { x: next.materialise(), x0: prediction.x0 };
  };
}

/** The transitions of a plan. */
export function stagedTransitions(steps: readonly StagedStep[]): Transition[] {
  return steps.map((levels) => ({ from: levels[0], to: levels[levels.length - 1] }));
}
