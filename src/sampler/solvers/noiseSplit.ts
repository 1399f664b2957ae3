/** How stochastic solvers divide a step between the deterministic flow and fresh noise; states are x = x₀ + sigma·ε. */
import { InvalidArgumentError } from '../../engine/errors.ts';
import type { NoiseLevel } from '../schedule/schedule.ts';
import type { Solver, StepInput } from '../solver.ts';
import { LinearForm, type Vec } from '../vec.ts';

/** Choices of every ancestral solver. */
export interface AncestralOptions {
  /** η ≥ 0: 0 is deterministic, 1 keeps the marginals of the full reverse diffusion; default 1. */
  eta?: number;
  /** Factor on every draw, ≥ 0; default 1. */
  sNoise?: number;
}

/**
 * Down by the flow to `down`, up again by noise of deviation `up`, so that down² + up² = to². Song et al. 2021
 * (Score-Based Generative Modeling), equation 47, scaled by η.
 */
export function ancestralStep(from: number, to: number, eta = 1): { down: number; up: number } {
  const up = Math.min(to, eta * Math.sqrt((to ** 2 * (from ** 2 - to ** 2)) / from ** 2));
  return { down: Math.sqrt(to ** 2 - up ** 2), up };
}

/** @throws InvalidArgumentError if η or the noise factor is negative or not finite. */
export function checkAncestral(who: string, { eta = 1, sNoise = 1 }: AncestralOptions): Required<AncestralOptions> {
  if (eta >= 0 && eta < Infinity && sNoise >= 0 && sNoise < Infinity) return { eta, sNoise };
  throw new InvalidArgumentError(`${who}: expected eta ≥ 0 and sNoise ≥ 0, got ${eta} and ${sNoise}; 1 is the default`);
}

/** How {@link ancestral} divides and draws. */
export interface AncestralSplit extends Required<AncestralOptions> {
  /** Default {@link ancestralStep}. */
  split?(from: number, to: number, eta: number): { down: number; up: number };
  /** When noise is drawn: at every step, in all but one to sigma 0, or where it counts; default `noisy`. */
  draws?: 'always' | 'noisy' | 'used';
}

/** A deterministic solver from each level to `down`, then noise of deviation `up`. */
export function ancestral(
  solver: Solver,
  { eta, sNoise, split = ancestralStep, draws = 'noisy' }: AncestralSplit,
): Solver {
  return async (step) => {
    const { from, to, noise } = step;
    const { down, up } = split(from.sigma, to.sigma, eta);
    const done = await solver({ ...step, to: { ...to, sigma: down } });
    if ((draws === 'noisy' && to.sigma === 0) || (draws === 'used' && eta === 0)) return done;
    const noisy = LinearForm.of(done.x).plus(noise(step.x), up * sNoise);
    return { ...done, x: noisy.materialise() };
  };
}

/** Noise put back before a step, as Karras et al. 2022, algorithm 2, names it. */
export interface ChurnOptions {
  /** S_churn ≥ 0: noise added over the whole run, in units of sigma; default 0. Noise is drawn where it is above 0. */
  sChurn?: number;
  /** No noise is added where sigma is below this; default 0. */
  sTmin?: number;
  /** No noise is added where sigma is above this; default ∞. */
  sTmax?: number;
  /** S_noise ≥ 0: standard deviation of the noise added; default 1. */
  sNoise?: number;
  /** N, among which sChurn is divided, ≥ 1; default the steps of the run. */
  numInferenceSteps?: number;
}

/** What solvers choose beside the noise. */
export interface RaiseOptions extends ChurnOptions {
  /** The level of a raised sigma, or of one between two steps; default that of the step, with another sigma. */
  level?: (sigma: number) => NoiseLevel;
  /** Draw at every step, also where nothing is added; default false. */
  drawsAlways?: boolean;
}

/** Raises x to a higher level of noise before a step, or leaves it. */
export type Churn = (step: StepInput) => { x: Vec; at: NoiseLevel };

/**
 * σ̂ = σ·(1 + γ), x̂ = x + √(σ̂² − σ²)·S_noise·z, γ = min(S_churn/N, √2 − 1). Karras et al. 2022, algorithm 2, lines
 * 4–6.
 * @throws InvalidArgumentError if a number is negative or not finite, or numInferenceSteps < 1
 */
export function churned({ sChurn = 0, sTmin = 0, sTmax = Infinity, sNoise = 1, ...options }: RaiseOptions): Churn {
  const { numInferenceSteps, level, drawsAlways = false } = options;
  const finite = sChurn < Infinity && sNoise < Infinity && (numInferenceSteps === undefined || numInferenceSteps >= 1);
  if (!(sChurn >= 0 && sTmin >= 0 && sTmax >= 0 && sNoise >= 0 && finite))
    throw new InvalidArgumentError(
      `churn: expected sChurn, sTmin, sTmax, sNoise ≥ 0 and numInferenceSteps ≥ 1, got ${sChurn}, ${sTmin}, ${sTmax}, ` +
        `${sNoise} and ${numInferenceSteps}; sChurn 0 turns it off`,
    );
  return ({ x, from, noise, transitions = [] }) => {
    const within = from.sigma >= sTmin && from.sigma <= sTmax;
    const gamma = within ? Math.min(sChurn / (numInferenceSteps ?? (transitions.length || 1)), Math.SQRT2 - 1) : 0;
    if (gamma === 0 && !drawsAlways) return { x, at: from };
    const sigma = from.sigma * (1 + gamma);
    const added = Math.sqrt(sigma ** 2 - from.sigma ** 2) * sNoise;
    const hat = LinearForm.of(x).plus(noise(x), added).materialise(); // line 6
    return { x: hat, at: level?.(sigma) ?? { ...from, sigma } };
  };
}
