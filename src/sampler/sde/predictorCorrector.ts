/** Predictor–corrector sampling. Song et al. 2021, algorithms 1 to 5, https://arxiv.org/abs/2011.13456 */
import { ConfigError, InvalidArgumentError } from '../../engine/errors.ts';
import type { Denoiser } from '../denoiser.ts';
import type { NoiseLevel } from '../schedule.ts';
import type { NoiseSource, Solver, Transition } from '../solver.ts';
import { LinearForm, type Vec } from '../vec.ts';
import type { Sde } from './sde.ts';

/** Ways to go from one time to the next. */
export const PREDICTORS = ['reverse_diffusion', 'ancestral_sampling', 'euler_maruyama', 'none'] as const;
/** Ways to correct the distribution at one time. */
export const CORRECTORS = ['langevin', 'ald', 'none'] as const;

/** The choices of {@link predictorCorrector}. */
export interface PredictorCorrectorOptions {
  /** Default `reverse_diffusion`. */
  predictor?: (typeof PREDICTORS)[number];
  /** Default `langevin`. */
  corrector?: (typeof CORRECTORS)[number];
  /** Signal-to-noise ratio of a Langevin step, ≥ 0; default 0.16. */
  snr?: number;
  /** Corrections per prediction, ≥ 1; default 1. */
  correctorSteps?: number;
  /** Predict along the probability flow, half the score and no noise; default false. */
  probabilityFlow?: boolean;
  /** Leave the noise out of the very last move; default true. */
  denoise?: boolean;
  /** Told of every correction (the last at its time) and prediction, with and without its noise. */
  onMove?: (kind: 'corrector' | 'predictor', x: Vec, mean: Vec) => void;
}

/** A move is a mean and the deviation of the noise added to it. */
interface Move {
  mean: LinearForm;
  std: number;
}

/** ∇ log p(x) = −ε/sigma. */
async function scoreOf(denoise: Denoiser, x: Vec, at: NoiseLevel, signal?: AbortSignal): Promise<LinearForm> {
  return (await denoise(x, at, signal)).eps.scale(-1 / at.sigma);
}

/** One reverse step of the discretised process; probability flow halves the score. Appendix E, equations 47 to 49. */
function predict(sde: Sde, x: Vec, score: LinearForm, t: number, options: PredictorCorrectorOptions): Move {
  const { predictor = 'reverse_diffusion', probabilityFlow = false } = options;
  if (predictor === 'ancestral_sampling') {
    const { now, before } = sde.ancestral(t);
    if (sde.kind === 'vp') {
      const shrunk = LinearForm.of(x)
        .plus(score, now ** 2)
        .scale(1 / Math.sqrt(1 - now ** 2)); // equation 4
      return { mean: shrunk, std: now };
    }
    const gained = now ** 2 - before ** 2;
    return { mean: LinearForm.of(x).plus(score, gained), std: before * Math.sqrt(gained / now ** 2) }; // equation 47
  }
  const step = predictor === 'reverse_diffusion' ? sde.discrete(t) : eulerMaruyama(sde, t);
  const share = probabilityFlow ? 1 / 2 : 1;
  const mean = LinearForm.of(x, 1 - step.drift).plus(score, share * step.noise ** 2); // equation 46
  return { mean, std: probabilityFlow ? 0 : step.noise };
}

function eulerMaruyama(sde: Sde, t: number): { drift: number; noise: number } {
  return { drift: sde.drift(t) / sde.steps, noise: sde.diffusion(t) / Math.sqrt(sde.steps) };
}

/** The step size of a Langevin correction. Algorithms 4 and 5; norms are means over the batch, read back. */
async function langevinStep(
  sde: Sde,
  at: NoiseLevel,
  gradient: Vec,
  z: Vec,
  { corrector = 'langevin', snr = 0.16 }: PredictorCorrectorOptions,
): Promise<number> {
  const scale = 2 * sde.langevinScale(at.timestep);
  if (corrector === 'ald') return (snr * at.sigma) ** 2 * scale;
  const [noises, gradients] = [await z.space.norm(z), await gradient.space.norm(gradient)];
  const mean = (values: number[]): number => values.reduce((sum, v) => sum + v / values.length, 0);
  return ((snr * mean(noises)) / mean(gradients)) ** 2 * scale;
}

/**
 * A correction or several, then a prediction, at each time of {@link sdeTransitions}. Draws once per correction and once
 * per prediction (also where its noise is not used, as the authors do), none for `none`.
 * @throws ConfigError on an unknown name; InvalidArgumentError on snr < 0, correctorSteps < 1, ancestral on sub-VP
 */
export function predictorCorrector(sde: Sde, options: PredictorCorrectorOptions = {}): Solver {
  check(sde, options);
  const { predictor = 'reverse_diffusion', corrector = 'langevin', correctorSteps = 1, denoise = true } = options;
  return async (step) => {
    const { from, to, noise, signal } = step;
    let { x } = step;
    let mean = LinearForm.of(x);
    const finish = (kind: 'corrector' | 'predictor', move: Move, z: Vec): void => {
      mean = move.mean;
      x = mean.plus(z, move.std).materialise();
      options.onMove?.(kind, x, mean.materialise());
    };
    for (let i = 0; corrector !== 'none' && i < correctorSteps; i++) {
      const gradient = (await scoreOf(step.denoise, x, from, signal)).materialise();
      const z = noise(x);
      const size = await langevinStep(sde, from, gradient, z, options);
      finish('corrector', { mean: LinearForm.of(x).plus(gradient, size), std: Math.sqrt(2 * size) }, z); // line 6
    }
    const start = x;
    const prediction = await step.denoise(start, from, signal);
    if (predictor !== 'none') {
      const score = prediction.eps.scale(-1 / from.sigma);
      finish('predictor', predict(sde, start, score, from.timestep, options), noise(start));
    } else {
      mean = LinearForm.of(x);
      options.onMove?.('predictor', x, x);
    }
    return { x: denoise && to.sigma === 0 ? mean.materialise() : x, x0: prediction.x0 };
  };
}

/**
 * N times from 1 to the process's end, and from there to the picture. Times are f32, as the authors' are. A network that
 * was trained on the N discrete steps is asked at their levels with `continuous` false.
 */
export function sdeTransitions(sde: Sde, end = sde.end, continuous = true): Transition[] {
  const times = Array.from({ length: sde.steps }, (_, i) =>
    Math.fround(sde.steps > 1 ? 1 + (i / (sde.steps - 1)) * (end - 1) : 1),
  );
  const levels = times.map((t) => (continuous ? sde.level(t) : sde.discreteLevel(t)));
  const picture: NoiseLevel = { timestep: 0, alpha: 1, sigma: 0 };
  return levels.map((from, i) => ({ from, to: levels[i + 1] ?? picture }));
}

/** The choices of {@link annealedLangevin}. */
export interface AnnealedLangevinOptions {
  /** Noise levels, falling. */
  sigmas: readonly number[];
  /** Steps at each level, ≥ 1. */
  stepsEach: number;
  /** Step size at the last level, > 0. */
  stepSize: number;
  noise: NoiseSource;
  denoiser: Denoiser;
  /** End with one step along the score without noise; default true. */
  denoise?: boolean;
  /** Told of the state after each step. */
  onStep?: (x: Vec) => void;
  signal?: AbortSignal;
}

/**
 * Annealed Langevin dynamics: x + ε·∇ log p + √(2ε)·z with ε = stepSize·(sigma/sigma_last)². Song & Ermon 2020,
 * https://arxiv.org/abs/2006.09011, algorithm 1. @throws InvalidArgumentError on an option outside its range
 */
export async function annealedLangevin(start: Vec, options: AnnealedLangevinOptions): Promise<Vec> {
  const { sigmas, stepsEach, stepSize, noise, denoiser, denoise = true, onStep, signal } = options;
  if (!(sigmas.length > 0 && sigmas.every((s) => s > 0) && stepsEach >= 1 && stepSize > 0))
    throw new InvalidArgumentError(
      `annealedLangevin: expected sigmas > 0, stepsEach ≥ 1, stepSize > 0, got ${sigmas.length} sigmas, ${stepsEach}, ` +
        `${stepSize}; see Song & Ermon 2020, section 3.3`,
    );
  const last = sigmas[sigmas.length - 1];
  start.space.beginRun();
  let x = start;
  for (const sigma of sigmas) {
    const at: NoiseLevel = { timestep: sigma, alpha: 1, sigma };
    const size = stepSize * (sigma / last) ** 2; // line 3
    for (let i = 0; i < stepsEach; i++) {
      const score = await scoreOf(denoiser, x, at, signal);
      x = LinearForm.of(x)
        .plus(score, size)
        .plus(noise(x), Math.sqrt(2 * size))
        .materialise(); // line 6
      onStep?.(x);
      x.space.endStep([x]);
    }
  }
  if (!denoise) return x;
  const score = await scoreOf(denoiser, x, { timestep: last, alpha: 1, sigma: last }, signal);
  x = LinearForm.of(x)
    .plus(score, last ** 2)
    .materialise();
  onStep?.(x);
  return x;
}

function check(sde: Sde, { predictor, corrector, snr = 0, correctorSteps = 1 }: PredictorCorrectorOptions): void {
  if (predictor !== undefined && !PREDICTORS.includes(predictor))
    throw new ConfigError(
      `predictorCorrector: expected one of ${PREDICTORS.join(', ')}, got ${predictor}`,
      'predictor',
    );
  if (corrector !== undefined && !CORRECTORS.includes(corrector))
    throw new ConfigError(
      `predictorCorrector: expected one of ${CORRECTORS.join(', ')}, got ${corrector}`,
      'corrector',
    );
  if (!(snr >= 0) || !(correctorSteps >= 1))
    throw new InvalidArgumentError(
      `predictorCorrector: expected snr ≥ 0 and correctorSteps ≥ 1, got ${snr} and ${correctorSteps}`,
    );
  if (predictor === 'ancestral_sampling' && sde.kind === 'subvp')
    throw new InvalidArgumentError(
      'predictorCorrector: expected a VE or VP process for ancestral_sampling, got sub-VP; use reverse_diffusion',
    );
}
