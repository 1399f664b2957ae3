/** Predictor–corrector sampling. Song et al. 2021, algorithms 1 to 5, https://arxiv.org/abs/2011.13456 */
import { ConfigError, InvalidArgumentError } from '../../engine/errors.ts';
import type { NoiseLevel } from '../schedule/schedule.ts';
import type { Solver, Transition } from '../solver.ts';
import { LinearForm, type Vec } from '../vec.ts';
import { langevinBySnr, langevinMove, type Move } from './langevin.ts';
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

/**
 * One reverse step of the discretised process; probability flow halves the score (appendix D.3). Appendices E and F.
 */
function predict(sde: Sde, x: Vec, score: LinearForm, z: Vec, t: number, options: PredictorCorrectorOptions): Move {
  const { predictor = 'reverse_diffusion', probabilityFlow = false } = options;
  const move = (mean: LinearForm, std: number): Move => ({ mean, noise: LinearForm.of(z, std) });
  if (predictor === 'ancestral_sampling') {
    const { now, before } = sde.ancestral(t);
    const gained = now ** 2 - before ** 2;
    const mean = LinearForm.of(x).plus(score, gained);
    if (sde.kind === 'vp') return move(mean.scale(1 / Math.sqrt(1 - now ** 2)), now); // equation 4
    return move(mean, before * Math.sqrt(gained / now ** 2)); // equation 47
  }
  const step = predictor === 'reverse_diffusion' ? sde.discrete(t) : eulerMaruyama(sde, t);
  const share = probabilityFlow ? 1 / 2 : 1;
  const mean = LinearForm.of(x, 1 - step.drift).plus(score, share * step.noise ** 2); // equation 46
  return move(mean, probabilityFlow ? 0 : step.noise);
}

function eulerMaruyama(sde: Sde, t: number): { drift: number; noise: number } {
  return { drift: sde.drift(t) / sde.steps, noise: sde.diffusion(t) / Math.sqrt(sde.steps) };
}

/** One correction, with a step by the ratio of norms or, for `ald`, by the level. Algorithms 4 and 5. */
function correct(
  sde: Sde,
  x: Vec,
  eps: LinearForm,
  z: Vec,
  { timestep, sigma }: NoiseLevel,
  { corrector = 'langevin', snr = 0.16 }: PredictorCorrectorOptions,
): Move {
  const scale = 2 * sde.langevinScale(timestep);
  if (corrector === 'ald') return langevinMove(x, eps, z, sigma, scale * (snr * sigma) ** 2);
  return langevinBySnr(x, eps, z, sigma, snr, scale);
}

/**
 * A correction or several, then a prediction, at each time of {@link sdeTransitions}. Draws once per correction and
 * once per prediction (also where its noise is not used, as the authors do), none for `none`.
 * @throws ConfigError on an unknown name; InvalidArgumentError on snr < 0, correctorSteps < 1, ancestral on sub-VP
 */
export function predictorCorrector(sde: Sde, options: PredictorCorrectorOptions = {}): Solver {
  check(sde, options);
  const { predictor = 'reverse_diffusion', corrector = 'langevin', correctorSteps = 1, denoise = true } = options;
  return async ({ from, to, noise, signal, ...step }) => {
    let { x } = step;
    let mean = LinearForm.of(x);
    const finish = (kind: 'corrector' | 'predictor', move: Move): void => {
      mean = move.mean;
      x = mean.plus(move.noise).materialise();
      options.onMove?.(kind, x, mean.materialise());
    };
    for (let i = 0; corrector !== 'none' && i < correctorSteps; i++) {
      const { eps } = await step.denoise(x, from, signal);
      finish('corrector', correct(sde, x, eps, noise(x), from, options));
    }
    const { eps, x0 } = await step.denoise(x, from, signal);
    if (predictor === 'none') {
      mean = LinearForm.of(x);
      options.onMove?.('predictor', x, x);
    } else {
      finish('predictor', predict(sde, x, eps.scale(-1 / from.sigma), noise(x), from.timestep, options));
    }
    return { x: denoise && to.sigma === 0 ? mean.materialise() : x, x0 };
  };
}

/**
 * N times from 1 to the process's end, and from there to the picture. Times are f32, as the authors' are. A network
 * that was trained on the N discrete steps is asked at their levels with `continuous` false.
 */
export function sdeTransitions(sde: Sde, end = sde.end, continuous = true): Transition[] {
  const times = Array.from({ length: sde.steps }, (_, i) =>
    Math.fround(sde.steps > 1 ? 1 + (i / (sde.steps - 1)) * (end - 1) : 1),
  );
  const levels = times.map((t) => (continuous ? sde.level(t) : sde.discreteLevel(t)));
  const picture: NoiseLevel = { timestep: 0, alpha: 1, sigma: 0 };
  return levels.map((from, i) => ({ from, to: levels[i + 1] ?? picture }));
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
