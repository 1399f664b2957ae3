/** DPM-Solver-fast: third-order steps for a fixed budget of evaluations. Lu et al. 2022, section 3.4. */
import { InvalidArgumentError } from '../../engine/errors.ts';
import type { Solver } from '../solver.ts';
import { dpm1, dpm2From, dpm3From, innerEps, type DpmStage } from './dpmSteps.ts';
import { gridOf, lambdaOf } from './grid.ts';
import { ancestralStep, checkAncestral, type AncestralOptions } from './noiseSplit.ts';
import type { SigmaRange } from './sigmas.ts';

/** A grid of sigmas and the order of each step. */
export interface DpmFastPlan {
  /** Uniform in log σ, from sigmaMax to sigmaMin > 0. */
  readonly sigmas: Float64Array;
  /** 1, 2 or 3; they add up to the evaluations. */
  readonly orders: readonly number[];
}

/** ⌊nfe/3⌋ + 1 steps, third order but for the last, which use what is left. @throws InvalidArgumentError if nfe < 3 */
export function dpmFastPlan(nfe: number, { sigmaMin, sigmaMax }: SigmaRange): DpmFastPlan {
  if (!Number.isInteger(nfe) || nfe < 3 || !(sigmaMin > 0 && sigmaMin < sigmaMax && sigmaMax < Infinity))
    throw new InvalidArgumentError(
      `dpmFastPlan: expected 3 or more evaluations and 0 < sigmaMin < sigmaMax, got ${nfe}, ${sigmaMin}, ${sigmaMax}`,
    );
  const steps = Math.floor(nfe / 3) + 1;
  const thirds = Array<number>(nfe % 3 === 0 ? steps - 2 : steps - 1).fill(3);
  const orders = nfe % 3 === 0 ? [...thirds, 2, 1] : [...thirds, nfe % 3];
  const [start, end] = [lambdaOf(sigmaMax), lambdaOf(sigmaMin)];
  const at = (i: number): number => Math.exp(-(start + (i / steps) * (end - start)));
  return { sigmas: Float64Array.from({ length: steps + 1 }, (_, i) => at(i)), orders };
}

/** Default eta 0; noise is drawn at every step when eta > 0. @throws InvalidArgumentError on eta < 0; as gridOf */
export function dpmFast({ sigmas, orders }: DpmFastPlan, options: AncestralOptions = {}): Solver {
  const grid = gridOf(sigmas, 'dpmFast');
  const { eta, sNoise } = checkAncestral('dpmFast', { eta: 0, ...options });
  const end = sigmas[sigmas.length - 1];
  return async ({ x, from, to, denoise, noise, signal }) => {
    const order = orders[grid({ from, to })];
    const { x0, eps } = await denoise(x, from, signal);
    const { down, up } = flowEnd(from.sigma, to.sigma, end, eta);
    const [start, stop] = [lambdaOf(from.sigma), lambdaOf(down)];
    const stage: DpmStage = { x, eps: eps.materialise(), from: start, to: stop, denoise, signal };
    const next =
      order === 1
        ? dpm1(stage)
        : order === 2
          ? dpm2From(stage, await innerEps(stage, 1 / 2), 1 / 2)
          : await dpm3From(stage, await innerEps(stage, 1 / 3));
    return { x: (eta > 0 ? next.plus(noise(x), up * sNoise) : next).materialise(), x0 };
  };
}

/** The ancestral split of a step, where the flow stops at the run's last sigma: no network looks below it. */
export function flowEnd(from: number, to: number, end: number, eta: number): { down: number; up: number } {
  if (eta === 0) return { down: to, up: 0 };
  const down = Math.max(ancestralStep(from, to, eta).down, end);
  return { down, up: Math.sqrt(Math.max(to ** 2 - down ** 2, 0)) };
}
