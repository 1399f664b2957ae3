/**
 * DPM-Solver++ from pictures of earlier steps, for x = x₀ + sigma·ε and λ = −log σ; one evaluation per step. Lu et al.
 * 2022, https://arxiv.org/abs/2211.01095; the SDE forms follow the k-diffusion code base. `sigmas` is the run's grid.
 */
import { ConfigError } from '../../engine/errors.ts';
import type { Solver } from '../solver.ts';
import { LinearForm } from '../vec.ts';
import { gridOf, lambdaOf } from './grid.ts';
import { checkAncestral, type AncestralOptions } from './noiseSplit.ts';

/** Second order, deterministic; first order at the start and in a step to sigma 0. Algorithm 2. @throws as gridOf */
export function dpmpp2m(sigmas: ArrayLike<number>): Solver {
  const grid = gridOf(sigmas, 'dpmpp2m');
  return async ({ x, from, to, denoise, history: [last], signal }) => {
    const i = grid({ from, to });
    const { x0 } = await denoise(x, from, signal);
    const now = x0.materialise();
    const ratio = to.sigma / from.sigma;
    let picture = LinearForm.of(now);
    if (last && to.sigma > 0) {
      const r = (lambdaOf(from.sigma) - lambdaOf(sigmas[i - 1])) / (lambdaOf(to.sigma) - lambdaOf(from.sigma));
      picture = picture.scale(1 + 1 / (2 * r)).minus(last, 1 / (2 * r));
    }
    const next = LinearForm.of(x, ratio).plus(picture, 1 - ratio);
    return { x: next.materialise(), x0: LinearForm.of(now), history: [now] };
  };
}

/** The choices of {@link dpmpp2mSde}. */
export interface Dpmpp2mSdeOptions extends AncestralOptions {
  /** How the slope of the picture enters: default `midpoint`. */
  solverType?: 'midpoint' | 'heun';
}

/**
 * Second order, stochastic: over h = λ' − λ the flow runs (1 + η)·h and noise refills 1 − e^(−2ηh). No draw in a step
 * to sigma 0, nor with η = 0. @throws InvalidArgumentError on eta < 0; ConfigError on another solver type; as gridOf
 */
export function dpmpp2mSde(sigmas: ArrayLike<number>, options: Dpmpp2mSdeOptions = {}): Solver {
  const grid = gridOf(sigmas, 'dpmpp2mSde');
  const { eta, sNoise } = checkAncestral('dpmpp2mSde', options);
  const { solverType = 'midpoint' } = options;
  if (solverType !== 'midpoint' && solverType !== 'heun')
    throw new ConfigError(`dpmpp2mSde: expected midpoint or heun, got ${String(solverType)}`, 'solverType');
  return async ({ x, from, to, denoise, noise, history: [last], signal }) => {
    const i = grid({ from, to });
    const { x0 } = await denoise(x, from, signal);
    const now = x0.materialise();
    if (to.sigma === 0) return { x: now, x0: LinearForm.of(now), history: [now] };
    const h = lambdaOf(to.sigma) - lambdaOf(from.sigma);
    const run = (1 + eta) * h;
    const gain = -Math.expm1(-run);
    let next = LinearForm.of(x, Math.exp(-run)).plus(now, gain);
    if (last) {
      const r = (lambdaOf(from.sigma) - lambdaOf(sigmas[i - 1])) / h;
      const slope = (solverType === 'heun' ? 1 - gain / run : gain / 2) / r;
      next = next.plus(now, slope).minus(last, slope);
    }
    if (eta > 0) next = next.plus(noise(x), to.sigma * Math.sqrt(-Math.expm1(-2 * eta * h)) * sNoise);
    return { x: next.materialise(), x0: LinearForm.of(now), history: [now] };
  };
}

/** The choices of {@link dpmpp3mSde}. */
export interface Dpmpp3mSdeOptions extends AncestralOptions {
  /** k-diffusion weighs the curvature by half, which makes eta 0 converge with order 2; true repeats that. Default false. */
  publishedThirdOrder?: boolean;
}

/**
 * Third order in the picture, stochastic as {@link dpmpp2mSde}; second and first order in the first steps.
 * @throws InvalidArgumentError on eta < 0; as gridOf
 */
export function dpmpp3mSde(sigmas: ArrayLike<number>, options: Dpmpp3mSdeOptions = {}): Solver {
  const grid = gridOf(sigmas, 'dpmpp3mSde');
  const { eta, sNoise } = checkAncestral('dpmpp3mSde', options);
  const curvature = options.publishedThirdOrder ? 1 : 2; // `second` is half of x₀″
  return async ({ x, from, to, denoise, noise, history: [last, older], signal }) => {
    const i = grid({ from, to });
    const { x0 } = await denoise(x, from, signal);
    const now = x0.materialise();
    const history = last ? [now, last] : [now];
    if (to.sigma === 0) return { x: now, x0: LinearForm.of(now), history };
    const span = (k: number): number => lambdaOf(sigmas[k + 1]) - lambdaOf(sigmas[k]);
    const h = span(i);
    const run = (1 + eta) * h;
    const phi2 = Math.expm1(-run) / run + 1;
    let next = LinearForm.of(x, Math.exp(-run)).plus(now, -Math.expm1(-run));
    if (last) {
      const r0 = span(i - 1) / h;
      let first = LinearForm.of(now, 1 / r0).minus(last, 1 / r0); // divided difference in units of h
      if (older) {
        const r1 = span(i - 2) / h;
        const second = first
          .minus(last, 1 / r1)
          .plus(older, 1 / r1)
          .scale(1 / (r0 + r1));
        first = first.plus(second, r0);
        next = next.minus(second, curvature * (phi2 / run - 1 / 2));
      }
      next = next.plus(first, phi2);
    }
    if (eta > 0) next = next.plus(noise(x), to.sigma * Math.sqrt(-Math.expm1(-2 * eta * h)) * sNoise);
    return { x: next.materialise(), x0: LinearForm.of(now), history };
  };
}
