/** Euler's method for dx/dσ = ε(x, σ), and its ancestral form. States are x = x₀ + sigma·ε throughout. */
import type { Solver } from '../solver.ts';
import { LinearForm } from '../vec.ts';
import { ancestralStep, checkAncestral, churned, type AncestralOptions, type ChurnOptions } from './noiseSplit.ts';

/** x + (σ' − σ̂)·ε, after churn; order 1. Karras et al. 2022, algorithm 2 without lines 9–11. @throws as churned */
export function euler(options: ChurnOptions = {}): Solver {
  const churn = churned(options);
  return async (step) => {
    const { x, at } = churn(step);
    const { x0, eps } = await step.denoise(x, at, step.signal);
    return {
      x: LinearForm.of(x)
        .plus(eps, step.to.sigma - at.sigma)
        .materialise(),
      x0,
    }; // line 8
  };
}

/** Euler down to `down`, then noise of deviation `up`; draws at every step but one to sigma 0. @throws on eta < 0 */
export function eulerAncestral(options: AncestralOptions = {}): Solver {
  const { eta, sNoise } = checkAncestral('eulerAncestral', options);
  return async ({ x, from, to, denoise, noise, signal }) => {
    const { x0, eps } = await denoise(x, from, signal);
    const { down, up } = ancestralStep(from.sigma, to.sigma, eta);
    const mean = LinearForm.of(x).plus(eps, down - from.sigma);
    return { x: (to.sigma > 0 ? mean.plus(noise(x), up * sNoise) : mean).materialise(), x0 };
  };
}
