/** How stochastic solvers divide a step between the deterministic flow and fresh noise. */
import { InvalidArgumentError } from '../../engine/errors.ts';
import type { NoiseLevel } from '../schedule.ts';
import type { StepInput } from '../solver.ts';
import { LinearForm, type Vec } from '../vec.ts';
import { veLevel } from './sigmas.ts';

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
export function ancestralStep(from: number, to: number, eta: number): { down: number; up: number } {
  const up = Math.min(to, eta * Math.sqrt((to ** 2 * (from ** 2 - to ** 2)) / from ** 2));
  return { down: Math.sqrt(to ** 2 - up ** 2), up };
}

/** What Karras et al. 2022, algorithm 2, calls S_churn … S_noise; a run with `sChurn` 0 is deterministic. */
export interface ChurnOptions {
  /** S_churn ≥ 0, over the whole run; default 0. */
  sChurn?: number;
  /** Noise is added where sigma lies in [sTmin, sTmax]; default 0 … ∞. */
  sTmin?: number;
  /** See {@link ChurnOptions.sTmin}. */
  sTmax?: number;
  /** Deviation of the added noise, ≥ 0; default 1. */
  sNoise?: number;
  /** N, the steps of the run; needed when sChurn > 0. */
  numInferenceSteps?: number;
}

/** Raises x to a higher level of noise before a step, or leaves it. */
export type Churn = (step: Pick<StepInput, 'x' | 'from' | 'noise'>) => { x: Vec; at: NoiseLevel };

/**
 * σ̂ = σ·(1 + γ), x̂ = x + √(σ̂² − σ²)·S_noise·z, γ = min(S_churn/N, √2 − 1). Karras et al. 2022, algorithm 2, lines 4–6.
 * @throws InvalidArgumentError if a number is negative, or sChurn > 0 without numInferenceSteps
 */
export function churned(options: ChurnOptions): Churn {
  const { sChurn = 0, sTmin = 0, sTmax = Infinity, sNoise = 1, numInferenceSteps = 0 } = options;
  if (!(sChurn >= 0 && sTmin >= 0 && sTmax >= 0 && sNoise >= 0) || (sChurn > 0 && !(numInferenceSteps >= 1)))
    throw new InvalidArgumentError(
      `churn: expected sChurn, sTmin, sTmax, sNoise ≥ 0 and numInferenceSteps ≥ 1 with sChurn, got ${sChurn}, ${sTmin}, ` +
        `${sTmax}, ${sNoise} and ${numInferenceSteps}; 0 turns it off`,
    );
  return ({ x, from, noise }) => {
    const within = from.sigma >= sTmin && from.sigma <= sTmax;
    const gamma = sChurn > 0 && within ? Math.min(sChurn / numInferenceSteps, Math.SQRT2 - 1) : 0;
    if (gamma === 0) return { x, at: from };
    const at = veLevel(from.sigma * (1 + gamma));
    const added = Math.sqrt(at.sigma ** 2 - from.sigma ** 2) * sNoise;
    return { x: LinearForm.of(x).plus(noise(x), added).materialise(), at };
  };
}

/** @throws InvalidArgumentError if η or the noise factor is negative or not finite. */
export function checkAncestral(who: string, { eta = 1, sNoise = 1 }: AncestralOptions): Required<AncestralOptions> {
  if (eta >= 0 && eta < Infinity && sNoise >= 0 && sNoise < Infinity) return { eta, sNoise };
  throw new InvalidArgumentError(`${who}: expected eta ≥ 0 and sNoise ≥ 0, got ${eta} and ${sNoise}; 1 is the default`);
}
