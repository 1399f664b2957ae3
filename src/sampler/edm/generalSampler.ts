/**
 * Sampling with any time steps, noise schedule, scaling, Euler or Heun, and churn: the general form that Karras et al.
 * 2022 compare methods in (https://arxiv.org/abs/2206.00364, algorithms 1 and 2, appendix C and D).
 */
import { InvalidArgumentError } from '../../engine/errors.ts';
import type { Denoiser } from '../denoiser.ts';
import type { NoiseLevel } from '../schedule.ts';
import { veLevel } from '../sigmas.ts';
import type { NoiseSource } from '../solver.ts';
import { LinearForm, type Vec } from '../vec.ts';
import type { Preconditioning } from './preconditioning.ts';
import { sigmaGrid, sigmaRange, vpBetas, vpSigma, type SigmaGridOptions } from './sigmaGrids.ts';

/** Ways in which sigma grows with time. */
export const SIGMA_SCHEDULES = ['linear', 'vp', 've'] as const;

/** The choices of {@link generalSampler}; those of the levels are {@link SigmaGridOptions}. */
export interface GeneralSamplerOptions extends SigmaGridOptions {
  /** Noise of variance 1, [B, C, …]. Not written to. */
  x: Vec;
  /** Asked at x/s(t) and sigma(t). */
  denoiser: Denoiser;
  /** Drawn once per step, also where nothing is added. */
  noise: NoiseSource;
  /** What the network knows of levels; by default every level as it is. */
  network?: Pick<Preconditioning, 'sigmaMin' | 'sigmaMax' | 'roundSigma'> & Partial<Pick<Preconditioning, 'level'>>;
  /** Default `heun`. */
  solver?: 'euler' | 'heun';
  /** sigma(t); default `linear`, sigma = t. */
  schedule?: (typeof SIGMA_SCHEDULES)[number];
  /** s(t), by which the state is scaled: 1, or 1/√(1 + sigma²). Default `none`. */
  scaling?: 'none' | 'vp';
  /** Where in a step the second slope is taken, in (0, 1]: 1 is Heun's, ½ the midpoint's, ⅔ Ralston's. Default 1. */
  alpha?: number;
  /** How much noise the steps add and take away together; default 0. */
  sChurn?: number;
  /** Levels at which noise is added; default 0 … ∞. */
  sMin?: number;
  sMax?: number;
  /** Factor on the noise added; default 1. */
  sNoise?: number;
  signal?: AbortSignal;
}

interface Schedule {
  sigma(t: number): number;
  slope(t: number): number;
  time(sigma: number): number;
}

function scheduleOf({ schedule = 'linear', epsilonS }: GeneralSamplerOptions, range: [number, number]): Schedule {
  if (schedule === 'linear') return { sigma: (t) => t, slope: () => 1, time: (sigma) => sigma };
  if (schedule === 've') return { sigma: Math.sqrt, slope: (t) => 0.5 / Math.sqrt(t), time: (sigma) => sigma ** 2 };
  const { betaD, betaMin } = vpBetas(...range, epsilonS);
  const sigma = (t: number): number => vpSigma(t, betaD, betaMin);
  return {
    sigma,
    slope: (t) => 0.5 * (betaMin + betaD * t) * (sigma(t) + 1 / sigma(t)),
    time: (s) => (Math.sqrt(betaMin ** 2 + 2 * betaD * Math.log1p(s ** 2)) - betaMin) / betaD,
  };
}

/**
 * From noise to a picture.
 * @returns the state at t = 0
 * @throws InvalidArgumentError on fewer than 2 steps, an unknown name or an alpha outside (0, 1]; AbortedError
 */
export async function generalSampler(options: GeneralSamplerOptions): Promise<Vec> {
  const { x: start, denoiser, noise, solver = 'heun', scaling = 'none', alpha = 1, signal } = options;
  const { sChurn = 0, sMin = 0, sMax = Infinity, sNoise = 1, numInferenceSteps: steps } = options;
  check(options);
  const { roundSigma = (s: number) => s, level, ...limits } = options.network ?? { sigmaMin: 0, sigmaMax: Infinity };
  const grid = { ...options, sigmaMin: limits.sigmaMin, sigmaMax: limits.sigmaMax };
  const { sigma, slope, time } = scheduleOf(options, sigmaRange(grid));
  const scaled = scaling === 'vp';
  const s = (t: number): number => (scaled ? 1 / Math.sqrt(1 + sigma(t) ** 2) : 1);
  const sSlope = (t: number): number => (scaled ? -sigma(t) * slope(t) * s(t) ** 3 : 0);
  /** dx/dt, equation 4 with equation 81's scaling. */
  const derivative = async (x: Vec, t: number): Promise<LinearForm> => {
    const seen = scaled ? LinearForm.of(x, 1 / s(t)).materialise() : x;
    const at: NoiseLevel = (level ?? ((v) => veLevel(v, v)))(sigma(t));
    const { x0 } = await denoiser(seen, at, signal);
    return LinearForm.of(x, slope(t) / sigma(t) + sSlope(t) / s(t)).minus(x0, (slope(t) * s(t)) / sigma(t));
  };

  const times = [...[...sigmaGrid(grid)].map((v) => time(roundSigma(v))), 0];
  start.space.beginRun();
  let x = LinearForm.of(start, sigma(times[0]) * s(times[0])).materialise();
  for (let i = 0; i < steps; i++) {
    const [now, next] = [times[i], times[i + 1]];
    const churned = sMin <= sigma(now) && sigma(now) <= sMax;
    const gamma = churned ? Math.min(sChurn / steps, Math.SQRT2 - 1) : 0;
    const hat = time(roundSigma(sigma(now) * (1 + gamma)));
    const added = Math.sqrt(Math.max(sigma(hat) ** 2 - sigma(now) ** 2, 0));
    const xHat = LinearForm.of(x, s(hat) / s(now))
      .plus(noise(x), added * s(hat) * sNoise)
      .materialise(); // algorithm 2, lines 5 and 6
    const h = next - hat;
    const first = (await derivative(xHat, hat)).materialise(); // line 7
    if (solver === 'euler' || i === steps - 1) {
      x = LinearForm.of(xHat).plus(first, h).materialise(); // line 8
    } else {
      const inner = LinearForm.of(xHat)
        .plus(first, alpha * h)
        .materialise();
      const second = await derivative(inner, hat + alpha * h); // line 10
      x = LinearForm.of(xHat)
        .plus(first, h * (1 - 1 / (2 * alpha)))
        .plus(second, h / (2 * alpha))
        .materialise(); // line 11
    }
    x.space.endStep([x]);
  }
  return x;
}

function check({ solver = 'heun', schedule = 'linear', scaling = 'none', alpha = 1 }: GeneralSamplerOptions): void {
  const known = ['euler', 'heun'].includes(solver) && SIGMA_SCHEDULES.includes(schedule);
  if (known && ['none', 'vp'].includes(scaling) && alpha > 0 && alpha <= 1) return;
  throw new InvalidArgumentError(
    'generalSampler: expected solver euler or heun, schedule linear, vp or ve, scaling none or vp, alpha in (0, 1], ' +
      `got ${solver}, ${schedule}, ${scaling}, ${alpha}`,
  );
}
