/** DPM-Solver-2 in sigma, in the manner of Karras et al. 2022: the midpoint rule in log sigma. Crowson, k-diffusion. */
import { InvalidArgumentError } from '../../engine/errors.ts';
import {
  ancestral as withNoise,
  checkAncestral,
  churned,
  type AncestralOptions,
  type RaiseOptions,
} from './noiseSplit.ts';
import type { NoiseLevel } from '../schedule/schedule.ts';
import type { Solver } from '../solver.ts';
import { LinearForm } from '../vec.ts';

/** The choice between the two methods of that name, and their noise. */
export interface Kdpm2Options extends Omit<RaiseOptions, 'drawsAlways'>, AncestralOptions {
  /** Step down further than asked and add noise, in place of churn; default false. */
  ancestral?: boolean;
}

/**
 * One step in the state x = x₀ + sigma·ε, its slope taken at the transition's stage or, with `level`, at the geometric
 * mean of both sigmas (of `from` and what is left without noise, when ancestral). Two evaluations, order 2; the last
 * step is Euler's.
 *
 * @throws InvalidArgumentError on eta or sChurn < 0; on the step, where there is neither stage nor `level`
 */
export function kdpm2({ ancestral = false, ...options }: Kdpm2Options = {}): Solver {
  if (ancestral) return withNoise(midpoint({ level: options.level }), checkAncestral('kdpm2', options));
  return midpoint(options);
}

function midpoint(options: RaiseOptions): Solver {
  const churn = churned(options);
  const between = (a: number, b: number): NoiseLevel => {
    if (options.level) return options.level(Math.sqrt(a * b));
    throw new InvalidArgumentError('kdpm2: expected a stage between the levels, got none; give one, or `level`');
  };
  return async (step) => {
    const { to, stages = [], denoise, signal } = step;
    const { x, at } = churn(step);
    let { x0, eps } = await denoise(x, at, signal);
    if (to.sigma > 0) {
      const middle = stages[0] ?? between(at.sigma, to.sigma);
      const half = LinearForm.of(x).plus(eps, middle.sigma - at.sigma);
      ({ x0, eps } = await denoise(half.materialise(), middle, signal));
    }
    const next = LinearForm.of(x).plus(eps, to.sigma - at.sigma);
    return { x: next.materialise(), x0 };
  };
}
