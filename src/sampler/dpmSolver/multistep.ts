/** DPM-Solver and DPM-Solver++ from the model's outputs at earlier steps: one evaluation per step. */
import { InvalidArgumentError } from '../../engine/errors.ts';
import type { NoiseLevel } from '../schedule.ts';
import type { Solver } from '../solver.ts';
import { LinearForm, type Vec } from '../vec.ts';
import { halfLogSnr } from './schedules.ts';
import { choices, firstOrder, modelOutput, secondOrder, taylorOrder, type DpmSolverOptions } from './update.ts';

/** The choices of {@link dpmSolverMultistep}. */
export interface DpmMultistepOptions extends DpmSolverOptions {
  /** 1, 2 or 3; default 2. */
  order?: 1 | 2 | 3;
  /** With fewer than 10 steps the last ones have lower orders, down to 1, for stability; default true. */
  lowerOrderFinal?: boolean;
  /** The authors' code halves D₂, which makes order 3 converge with order 2; true repeats that. Default false. */
  publishedThirdOrder?: boolean;
}

/** From this many steps on the last ones keep their order. */
const FEW = 10;

/**
 * Runs over the levels it is given (either direction in time); the first steps have the orders that their history
 * allows. DPM-Solver++ algorithm 2 and appendix B.
 * @throws InvalidArgumentError if the order is not 1, 2 or 3 or exceeds the steps; ConfigError on an unknown option
 */
export function dpmSolverMultistep(levels: readonly NoiseLevel[], options: DpmMultistepOptions = {}): Solver {
  const { order = 2, lowerOrderFinal = true, publishedThirdOrder = false } = options;
  const chosen = choices(options);
  const steps = levels.length - 1;
  if (![1, 2, 3].includes(order) || steps < order)
    throw new InvalidArgumentError(
      `dpmSolverMultistep: expected order 1, 2 or 3, ≤ steps, got ${order}, ${steps} steps`,
    );
  const lambdas = levels.map(halfLogSnr);
  return async ({ x, from, to, denoise, history, signal }) => {
    const i = levels.findIndex((level) => level.timestep === from.timestep);
    if (i < 0 || levels[i + 1]?.timestep !== to.timestep)
      throw new InvalidArgumentError(
        `dpmSolverMultistep: expected a step of its levels, got ${from.timestep} → ${to.timestep}; pass the run's levels`,
      );
    const prediction = await denoise(x, from, signal);
    const outputs: Vec[] = [modelOutput(prediction, chosen), ...history];
    const [m, m1, m2] = outputs;
    const most = lowerOrderFinal && steps < FEW ? Math.min(order, steps - i) : order;
    const use = Math.min(most, outputs.length);
    const ratio = (k: number): number => (lambdas[i - k] - lambdas[i - k - 1]) / (lambdas[i + 1] - lambdas[i]);
    let next = firstOrder(x, m, from, to, chosen);
    if (use > 1) {
      const r0 = ratio(0);
      const slope = LinearForm.of(m, 1 / r0).minus(m1, 1 / r0);
      if (use === 2) next = secondOrder(x, m, slope, from, to, chosen);
      else {
        const r1 = ratio(1);
        const bend = slope.minus(m1, 1 / r1).plus(m2, 1 / r1); // r0 + r1 times half of D₂
        const d2 = bend.scale((publishedThirdOrder ? 1 : 2) / (r0 + r1));
        next = taylorOrder(x, m, slope.plus(bend, r0 / (r0 + r1)), d2, from, to, chosen);
      }
    }
    return { x: next.materialise(), x0: prediction.x0, history: outputs.slice(0, order - 1) };
  };
}
