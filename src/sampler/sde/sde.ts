/**
 * Forward processes dx = f(t)·x dt + g(t) dw on t in (0, 1] and their discretisations. Song et al. 2021 (Score-Based
 * Generative Modeling through SDEs), https://arxiv.org/abs/2011.13456, section 3.4 and appendices B and C.
 */
import { InvalidArgumentError } from '../../engine/errors.ts';
import { vpLevel, type NoiseLevel } from '../schedule/schedule.ts';

/** A process with N discrete steps. */
export interface Sde {
  readonly kind: 've' | 'vp' | 'subvp';
  /** N. */
  readonly steps: number;
  /** Standard deviation of x at t = 1, which sampling starts from. */
  readonly priorStd: number;
  /** Smallest time to integrate to, where the authors end. */
  readonly end: number;
  /** Scale and noise of x at t; the timestep is t. */
  level(t: number): NoiseLevel;
  /** The level a network trained on the N discrete steps stands for at t. */
  discreteLevel(t: number): NoiseLevel;
  /** f(t): the drift as a factor of x. */
  drift(t: number): number;
  /** g(t). */
  diffusion(t: number): number;
  /** One discrete step x' = x + f·x + G·z at the index that t falls on. */
  discrete(t: number): { drift: number; noise: number };
  /** sigma of a discrete step and of the one before (VE), or √β and 0: what ancestral steps are made of. */
  ancestral(t: number): { now: number; before: number };
  /** 1 − β of the discrete step, 1 for VE: how far a Langevin step may go. */
  langevinScale(t: number): number;
}

/** The discrete step a time falls on: the product is rounded to f32, as where the models were trained. */
export function discreteIndex(t: number, steps: number): number {
  return Math.trunc(Math.fround(t * (steps - 1)));
}

function checkSteps(who: string, steps: number, ok: boolean, got: string): void {
  if (Number.isInteger(steps) && steps >= 1 && ok) return;
  throw new InvalidArgumentError(`${who}: expected steps ≥ 1 and 0 < smallest < largest, got ${steps} and ${got}`);
}

/** n values from a to b. */
function spaced(a: number, b: number, n: number): Float64Array {
  return Float64Array.from({ length: n }, (_, i) => (n > 1 ? a + (i / (n - 1)) * (b - a) : a));
}

/** Variance exploding: σ(t) = σ_min·(σ_max/σ_min)^t; equation 30. @throws InvalidArgumentError on a bad range */
export function veSde(sigmaMin = 0.01, sigmaMax = 50, steps = 1000): Sde {
  checkSteps('veSde', steps, sigmaMin > 0 && sigmaMin < sigmaMax, `${sigmaMin}, ${sigmaMax}`);
  const ratio = sigmaMax / sigmaMin;
  const sigma = (t: number): number => sigmaMin * ratio ** t;
  const grid = spaced(Math.log(sigmaMin), Math.log(sigmaMax), steps).map(Math.exp);
  const ancestral = (t: number): { now: number; before: number } => {
    const i = discreteIndex(t, steps);
    return { now: grid[i], before: i > 0 ? grid[i - 1] : 0 };
  };
  return {
    kind: 've',
    steps,
    priorStd: sigmaMax,
    end: 1e-5,
    level: (t) => ({ timestep: t, alpha: 1, sigma: sigma(t) }),
    discreteLevel(t) {
      const i = steps - 1 - Math.round(Math.fround((1 - t) * (steps - 1))); // such networks count from the largest
      return { timestep: t, alpha: 1, sigma: grid[i] };
    },
    drift: () => 0,
    diffusion: (t) => sigma(t) * Math.sqrt(2 * Math.log(ratio)),
    discrete(t) {
      const { now, before } = ancestral(t);
      return { drift: 0, noise: Math.sqrt(now ** 2 - before ** 2) }; // equation 8
    },
    ancestral,
    langevinScale: () => 1,
  };
}

/** log α(t) of both variance-preserving kinds, β linear in t. Equation 33. */
export function linearLogAlpha(t: number, betaMin: number, betaMax: number): number {
  return -(t ** 2 * (betaMax - betaMin)) / 4 - (t * betaMin) / 2;
}

/** Variance preserving, β(t) = β_min + t·(β_max − β_min); equation 32. @throws InvalidArgumentError on a bad range */
export function vpSde(betaMin = 0.1, betaMax = 20, steps = 1000): Sde {
  checkSteps('vpSde', steps, betaMin > 0 && betaMin < betaMax, `${betaMin}, ${betaMax}`);
  const beta = (t: number): number => betaMin + t * (betaMax - betaMin);
  const betas = spaced(betaMin / steps, betaMax / steps, steps);
  const betaAt = (t: number): number => betas[discreteIndex(t, steps)];
  let product = 1;
  const alphaBars = betas.map((b) => (product *= 1 - b));
  return {
    kind: 'vp',
    steps,
    priorStd: 1,
    end: 1e-3,
    level(t) {
      const log = linearLogAlpha(t, betaMin, betaMax);
      return { timestep: t, alpha: Math.exp(log), sigma: Math.sqrt(-Math.expm1(2 * log)) };
    },
    discreteLevel: (t) => vpLevel(t, alphaBars[discreteIndex(t, steps)]),
    drift: (t) => -beta(t) / 2,
    diffusion: (t) => Math.sqrt(beta(t)),
    discrete: (t) => ({ drift: Math.sqrt(1 - betaAt(t)) - 1, noise: Math.sqrt(betaAt(t)) }), // equation 10
    ancestral: (t) => ({ now: Math.sqrt(betaAt(t)), before: 0 }),
    langevinScale: (t) => 1 - betaAt(t),
  };
}

/** Sub-VP: the variance is the square of VP's; equation 34. @throws InvalidArgumentError on a bad range */
export function subVpSde(betaMin = 0.1, betaMax = 20, steps = 1000): Sde {
  const vp = vpSde(betaMin, betaMax, steps);
  const diffusion = (t: number): number =>
    vp.diffusion(t) * Math.sqrt(-Math.expm1(4 * linearLogAlpha(t, betaMin, betaMax))); // equation 12
  return {
    ...vp,
    kind: 'subvp',
    level(t) {
      const log = linearLogAlpha(t, betaMin, betaMax);
      return { timestep: t, alpha: Math.exp(log), sigma: -Math.expm1(2 * log) };
    },
    diffusion,
    discrete: (t) => ({ drift: vp.drift(t) / steps, noise: diffusion(t) / Math.sqrt(steps) }), // Euler–Maruyama
  };
}
