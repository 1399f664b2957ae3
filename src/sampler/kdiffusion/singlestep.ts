/**
 * DPM-Solver and DPM-Solver++ with stages inside the step, as k-diffusion places them: x = x₀ + sigma·ε, λ = −log σ.
 */
import { InvalidArgumentError } from '../../engine/errors.ts';
import { dpmSolverSinglestep, type DpmSinglestepOptions } from '../exponential/dpmSolverSinglestep.ts';
import { ancestral, ancestralStep, checkAncestral, type AncestralOptions } from '../solvers/noiseSplit.ts';
import type { NoiseLevel } from '../schedule/schedule.ts';
import type { Solver } from '../solver.ts';
import { LinearForm, type Vec } from '../vec.ts';
import { gridOf, lambdaOf } from './grid.ts';
import { veLevel, type SigmaRange } from './sigmas.ts';

/** DPM-Solver as its authors published it. */
export const PUBLISHED = { algorithmType: 'dpmsolver', secondStage: 'full' } as const satisfies DpmSinglestepOptions;

/** The levels that divide a step into `order` parts, even in λ. */
export function evenStages(from: NoiseLevel, to: NoiseLevel, order: number): NoiseLevel[] {
  const [start, end] = [lambdaOf(from.sigma), lambdaOf(to.sigma)];
  return Array.from({ length: order - 1 }, (_, k) => veLevel(Math.exp(-(start + ((k + 1) / order) * (end - start)))));
}

/** A grid of sigmas and the order of each step. */
export interface DpmFastPlan {
  /** Uniform in log σ, from sigmaMax to sigmaMin > 0. */
  readonly sigmas: Float64Array;
  /** 1, 2 or 3; they add up to the evaluations. */
  readonly orders: readonly number[];
}

/**
 * ⌊nfe/3⌋ + 1 steps, third order but for the last, which use what is left. Lu et al. 2022, DPM-Solver-fast.
 * @throws InvalidArgumentError if nfe < 3
 */
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
  const split = flowEnd(sigmas[sigmas.length - 1]);
  const chosen = checkAncestral('dpmFast', { eta: 0, ...options });
  const solver = dpmSolverSinglestep(PUBLISHED);
  return (step) => {
    const order = orders[grid(step)];
    const staged: Solver = (s) => solver({ ...s, stages: evenStages(s.from, s.to, order) });
    return ancestral(staged, { ...chosen, split, draws: 'used' })(step);
  };
}

/** The ancestral split of a step, where the flow stops at the run's last sigma: no network looks below it. */
export function flowEnd(end: number): typeof ancestralStep {
  return (from, to, eta = 0) => {
    if (eta === 0) return { down: to, up: 0 };
    const down = Math.max(ancestralStep(from, to, eta).down, end);
    return { down, up: Math.sqrt(Math.max(to ** 2 - down ** 2, 0)) };
  };
}

/** Second order with the stage at half of λ, ancestral noise afterwards. Algorithm 1. @throws on eta < 0 */
export function dpmpp2sAncestral(options: AncestralOptions = {}): Solver {
  const solver = dpmSolverSinglestep();
  const staged: Solver = (s) => solver({ ...s, stages: s.to.sigma > 0 ? evenStages(s.from, s.to, 2) : [] });
  return ancestral(staged, checkAncestral('dpmpp2sAncestral', options));
}

/** The choices of {@link dpmppSde}. */
export interface DpmppSdeOptions extends AncestralOptions {
  /** Where in λ the stage stands, in (0, 1]; default ½. */
  r?: number;
}

/**
 * x·σ'/σ + (1 − σ'/σ)·x₀: the exact flow for a constant picture. Lu et al. 2022 (DPM-Solver++), its first order,
 * alpha = 1.
 */
function flow(x: Vec, picture: LinearForm, from: number, to: number): LinearForm {
  return LinearForm.of(x, to / from).plus(picture, 1 - to / from);
}

/**
 * The same with noise in the stage as well: two draws per step, none in a step to sigma 0, which is Euler's.
 * @throws InvalidArgumentError if eta < 0 or r is not in (0, 1]
 */
export function dpmppSde({ r = 1 / 2, ...options }: DpmppSdeOptions = {}): Solver {
  const { eta, sNoise } = checkAncestral('dpmppSde', options);
  if (!(r > 0 && r <= 1)) throw new InvalidArgumentError(`dpmppSde: expected r in (0, 1], got ${r}; ½ is the default`);
  return async ({ x, from, to, denoise, noise, signal }) => {
    const { x0 } = await denoise(x, from, signal);
    if (to.sigma === 0) return { x: x0.materialise(), x0 };
    const [start, end] = [lambdaOf(from.sigma), lambdaOf(to.sigma)];
    const middle = veLevel(Math.exp(-(start + r * (end - start))));
    const inner = ancestralStep(from.sigma, middle.sigma, eta);
    const stage = flow(x, x0, from.sigma, inner.down).plus(noise(x, middle), inner.up * sNoise);
    const { x0: second } = await denoise(stage.materialise(), middle, signal);
    const picture = x0.scale(1 - 1 / (2 * r)).plus(second, 1 / (2 * r));
    const outer = ancestralStep(from.sigma, to.sigma, eta);
    const next = flow(x, picture, from.sigma, outer.down).plus(noise(x), outer.up * sNoise);
    return { x: next.materialise(), x0 };
  };
}
