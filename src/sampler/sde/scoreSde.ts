/** The reverse-time SDE, by the two methods of diffusers. Song et al. 2021, https://arxiv.org/abs/2011.13456 */
import type { NoiseLevel } from '../schedule/schedule.ts';
import { langevinBySnr } from './langevin.ts';
import type { Solver } from '../solver.ts';
import { LinearForm, type Vec } from '../vec.ts';

/** The choices of the predictor–corrector. */
export interface ScoreVeOptions {
  /** Signal-to-noise ratio of a correction, > 0; default 0.15. */
  snr?: number;
  /** Corrections before each prediction; default 1. */
  correctSteps?: number;
}

/**
 * One step of a variance-exploding process: Langevin corrections (algorithm 4, with the norms' means over the batch),
 * then a reverse diffusion (algorithm 2), from the transition's stage if it has one. The network is asked once for
 * each, and noise is drawn.
 */
export function scoreVe({ snr = 0.15, correctSteps = 1 }: ScoreVeOptions = {}): Solver {
  return async ({ x: start, from, to, stages: [grid = from] = [], denoise, noise, signal }) => {
    let x: Vec = start;
    for (let i = 0; i < correctSteps; i++) {
      const { eps } = await denoise(x, from, signal);
      const move = langevinBySnr(x, eps, noise(x), from.sigma, snr, 2);
      x = move.mean.plus(move.noise).materialise();
    }
    const { x0, eps } = await denoise(x, from, signal);
    const variance = grid.sigma ** 2 - to.sigma ** 2;
    const mean = LinearForm.of(x).minus(eps, variance / from.sigma);
    return { x: mean.plus(noise(x), Math.sqrt(variance)).materialise(), x0 };
  };
}

/**
 * One step of Euler and Maruyama for a variance-preserving process, of length 1/steps; noise is drawn at every step.
 * @param beta β(t) at a level, equation 32
 */
export function scoreVp(beta: (level: NoiseLevel) => number): Solver {
  return async ({ x, from, denoise, noise, transitions = [], signal }) => {
    const { x0, eps } = await denoise(x, from, signal);
    const amount = beta(from) / (transitions.length || 1);
    const next = LinearForm.of(x, 1 + amount / 2).minus(eps, amount / from.sigma); // eq. 6, score = −ε/sigma
    return { x: next.plus(noise(x), Math.sqrt(amount)).materialise(), x0 };
  };
}
