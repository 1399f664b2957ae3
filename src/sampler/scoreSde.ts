/** The reverse-time SDE, by the two methods of diffusers. Song et al. 2021, https://arxiv.org/abs/2011.13456 */
import type { NoiseLevel } from './schedule.ts';
import type { Solver } from './solver.ts';
import { LinearForm, type Vec } from './vec.ts';

/** The choices of the predictor–corrector. */
export interface ScoreVeOptions {
  /** Signal-to-noise ratio of a correction, > 0; default 0.15. */
  snr?: number;
  /** Corrections before each prediction; default 1. */
  correctSteps?: number;
}

const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length;

/**
 * One step of a variance-exploding process: Langevin corrections (algorithm 4; each waits for two norms, and uses the
 * mean over the batch), then a reverse diffusion (algorithm 2), from the transition's stage if it has one. The network
 * is asked once for each, and noise is drawn.
 */
export function scoreVe({ snr = 0.15, correctSteps = 1 }: ScoreVeOptions = {}): Solver {
  return async ({ x: start, from, to, stages: [grid = from] = [], denoise, noise, signal }) => {
    let x: Vec = start;
    const score = async (): Promise<{ x0: LinearForm; score: LinearForm }> => {
      const { x0, eps } = await denoise(x, from, signal);
      return { x0, score: eps.scale(-1 / from.sigma) };
    };
    for (let i = 0; i < correctSteps; i++) {
      const gradient = (await score()).score.materialise();
      const z = noise(x);
      const [zNorm, gNorm] = [mean(await x.space.norm(z)), mean(await x.space.norm(gradient))];
      const step = 2 * ((snr * zNorm) / gNorm) ** 2;
      x = LinearForm.of(x)
        .plus(gradient, step)
        .plus(z, Math.sqrt(2 * step))
        .materialise();
    }
    const { x0, score: s } = await score();
    const variance = grid.sigma ** 2 - to.sigma ** 2;
    return { x: LinearForm.of(x).plus(s, variance).plus(noise(x), Math.sqrt(variance)).materialise(), x0 };
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
