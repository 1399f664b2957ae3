/**
 * The samplers of consistency_models that no other code has. Song et al. 2023, https://arxiv.org/abs/2303.01469; its
 * Euler, Heun and ancestral ones are those of k-diffusion. States are x = x₀ + sigma·ε.
 */
import { churned, type ChurnOptions } from '../solvers/noiseSplit.ts';
import type { NoiseLevel } from '../schedule/schedule.ts';
import { karrasSigmas, veLevel } from '../schedule/sigmas.ts';
import type { Solver, Transition } from '../solver.ts';
import { LinearForm } from '../vec.ts';

const f = Math.fround;

/** Half-way on the grid of Karras et al. 2022 with ρ = 3. */
const MIDPOINT_RHO = 3;

/** What the networks are told of a level of noise: 250·ln sigma, computed in f32. */
export function consistencyTime(sigma: number): number {
  return f(250 * f(Math.log(f(sigma + 1e-44)))); // 1e-44: sigma may be 0
}

/**
 * The grid of Karras et al. 2022, equation 5, and 0 behind it, computed in f32 operation by operation: consistency
 * models were trained at these very levels, whose first is off by 2·10⁻⁷ of the exact one.
 */
export function consistencySigmas(count: number, { sigmaMin = 0.002, sigmaMax = 80, rho = 7 } = {}): Float64Array {
  const [hi, lo] = [sigmaMax ** (1 / rho), sigmaMin ** (1 / rho)];
  const step = f(1 / (count - 1));
  const ramp = (i: number): number => (2 * i < count ? f(step * i) : f(1 - step * (count - 1 - i)));
  return Float64Array.from({ length: count + 1 }, (_, i) =>
    i === count ? 0 : f(f(f(ramp(i) * f(lo - hi)) + f(hi)) ** rho),
  );
}

/**
 * The midpoint method with the slope of the middle, ((σ̂^⅓ + σ′^⅓)/2)³; two evaluations in every step, the one to sigma
 * 0 too; order 2. "DPM" in the original code.
 */
export function rhoMidpoint(options: ChurnOptions = {}): Solver {
  const churn = churned({ ...options, level: levelOf });
  return async (step) => {
    const { to, denoise, signal } = step;
    const { x, at } = churn(step);
    const { x0, eps } = await denoise(x, at, signal);
    const root = (at.sigma ** (1 / MIDPOINT_RHO) + to.sigma ** (1 / MIDPOINT_RHO)) / 2;
    const middle = levelOf(root ** MIDPOINT_RHO);
    const between = LinearForm.of(x)
      .plus(eps, middle.sigma - at.sigma)
      .materialise();
    const { eps: slope } = await denoise(between, middle, signal);
    return {
      x: LinearForm.of(x)
        .plus(slope, to.sigma - at.sigma)
        .materialise(),
      x0,
    };
  };
}

/** To x₀ and back up by √(σ′² − sigmaMin²) of new noise, in every step. Song et al. 2023, algorithm 1. */
export function stochasticIterative({ sigmaMin = 0.002 }: { sigmaMin?: number } = {}): Solver {
  return async ({ x, from, to, denoise, noise, signal }) => {
    const { x0 } = await denoise(x, from, signal);
    const spread = Math.sqrt(Math.max(to.sigma ** 2 - sigmaMin ** 2, 0));
    return { x: x0.plus(noise(x), spread).materialise(), x0 };
  };
}

/**
 * Steps between the places `ts` on Karras's grid of `steps` sigmas (2022); sigmas of places beyond its ends are
 * clamped.
 */
export function gridTransitions(
  ts: readonly number[],
  { steps = 40, sigmaMin = 0.002, sigmaMax = 80, rho = 7 } = {},
): Transition[] {
  const grid = karrasSigmas(steps, sigmaMin, sigmaMax, rho);
  const [hi, lo] = [sigmaMax ** (1 / rho), sigmaMin ** (1 / rho)];
  const at = (t: number): number => grid[t] ?? (hi + (t / (steps - 1)) * (lo - hi)) ** rho;
  return ts.slice(1).map((t, i) => ({
    from: levelOf(at(ts[i])),
    to: levelOf(Math.min(Math.max(at(t), sigmaMin), sigmaMax)),
  }));
}

const levelOf = (sigma: number): NoiseLevel => veLevel(sigma, sigma);
