/** DPM-Solver-2 in sigma, in the manner of Karras et al. 2022: the midpoint rule in log sigma. Crowson, k-diffusion. */
import { InvalidArgumentError } from '../engine/errors.ts';
import { ancestralStep } from './eulerAncestral.ts';
import type { Solver } from './solver.ts';
import { LinearForm } from './vec.ts';

/** The choice between the two methods of that name. */
export interface Kdpm2Options {
  /** Step down further than asked and add noise; default false. */
  ancestral?: boolean;
}

/**
 * One step in the state x = x₀ + sigma·ε, its slope taken at the transition's stage, the geometric mean of both sigmas
 * (of `from` and what is left without noise, when ancestral). Two evaluations, order 2; the last step is Euler's.
 *
 * @throws InvalidArgumentError (on the step) if the transition has no stage and does not end at sigma 0
 */
export function kdpm2({ ancestral = false }: Kdpm2Options = {}): Solver {
  return async ({ x, from, to, stages = [], denoise, noise, signal }) => {
    const { down, up } = ancestral ? ancestralStep(from.sigma, to.sigma) : { down: to.sigma, up: 0 };
    const first = await denoise(x, from, signal);
    let { x0, eps } = first;
    if (to.sigma > 0) {
      const [middle] = stages;
      if (!middle) throw new InvalidArgumentError('kdpm2: expected a stage between the levels, got none; give one');
      const half = LinearForm.of(x).plus(eps, middle.sigma - from.sigma);
      ({ x0, eps } = await denoise(half.materialise(), middle, signal));
    }
    const next = LinearForm.of(x).plus(eps, down - from.sigma);
    return { x: (up > 0 ? next.plus(noise(x), up) : next).materialise(), x0 };
  };
}
