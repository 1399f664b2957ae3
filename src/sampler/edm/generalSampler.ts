/**
 * Sampling with any time steps, noise schedule, scaling, Euler or Heun, and churn: the general form that Karras et al.
 * 2022 compare methods in (https://arxiv.org/abs/2206.00364, algorithms 1 and 2, appendix C and D).
 */
import { InvalidArgumentError } from '../../engine/errors.ts';
import { runSolver, type RunOptions } from '../loop.ts';
import type { NoiseLevel } from '../schedule/schedule.ts';
import { veLevel } from '../schedule/sigmas.ts';
import { pairs, type Solver, type StepInput } from '../solver.ts';
import { LinearForm, type Vec } from '../vec.ts';
import type { Preconditioning } from './preconditioning.ts';
import { sigmaGrid, sigmaRange, vpBetas, vpSigma, type SigmaGridOptions } from './sigmaGrids.ts';

/** Ways in which sigma grows with time. */
export const SIGMA_SCHEDULES = ['linear', 'vp', 've'] as const;

/** The choices of {@link generalSampler}; those of the levels are {@link SigmaGridOptions}. */
export interface GeneralSamplerOptions
  extends
    SigmaGridOptions,
    Pick<RunOptions, 'x' | 'denoiser' | 'generator' | 'noise' | 'resume' | 'onStep' | 'signal'> {
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

/** s(t), its slope, and dx/dt with x₀ as believed at x: equation 4 with equation 81's scaling. */
function flowOf(options: GeneralSamplerOptions, { sigma, slope }: Schedule) {
  const level = options.network?.level ?? ((v: number) => veLevel(v, v));
  const scaled = options.scaling === 'vp';
  const s = (t: number): number => (scaled ? 1 / Math.sqrt(1 + sigma(t) ** 2) : 1);
  const sSlope = (t: number): number => (scaled ? -sigma(t) * slope(t) * s(t) ** 3 : 0);
  const derivative = async (x: Vec, t: number, { denoise, signal }: StepInput) => {
    const seen = scaled ? LinearForm.of(x, 1 / s(t)).materialise() : x;
    const { x0 } = await denoise(seen, level(sigma(t)), signal);
    const dx = LinearForm.of(x, slope(t) / sigma(t) + sSlope(t) / s(t)).minus(x0, (slope(t) * s(t)) / sigma(t));
    return { dx, x0 };
  };
  return { s, derivative };
}

/** Algorithm 2 with that flow; the timestep of a level is the time t. */
function generalSolver(options: GeneralSamplerOptions, schedule: Schedule): Solver {
  const { solver = 'heun', alpha = 1, sChurn = 0, sMin = 0, sMax = Infinity, sNoise = 1, numInferenceSteps } = options;
  const { sigma, time } = schedule;
  const round = options.network?.roundSigma ?? ((v: number) => v);
  const { s, derivative } = flowOf(options, schedule);
  return async (step) => {
    const { x, noise } = step;
    const [now, next] = [step.from.timestep, step.to.timestep];
    const churns = sMin <= sigma(now) && sigma(now) <= sMax;
    const gamma = churns ? Math.min(sChurn / numInferenceSteps, Math.SQRT2 - 1) : 0;
    const hat = time(round(sigma(now) * (1 + gamma)));
    const added = Math.sqrt(Math.max(sigma(hat) ** 2 - sigma(now) ** 2, 0));
    const xHat = LinearForm.of(x, s(hat) / s(now))
      .plus(noise(x), added * s(hat) * sNoise)
      .materialise(); // lines 5 and 6
    const h = next - hat;
    const { dx, x0 } = await derivative(xHat, hat, step); // line 7
    const along = (by: number): LinearForm => LinearForm.of(xHat).plus(dx, by);
    if (solver === 'euler' || next === 0) return { x: along(h).materialise(), x0 }; // line 8
    const second = await derivative(along(alpha * h).materialise(), hat + alpha * h, step); // line 10
    const there = along(h * (1 - 1 / (2 * alpha))).plus(second.dx, h / (2 * alpha)); // line 11
    return { x: there.materialise(), x0: second.x0 };
  };
}

/**
 * From noise to a picture.
 * @returns the state at t = 0
 * @throws InvalidArgumentError on fewer than 2 steps, an unknown name or an alpha outside (0, 1]; AbortedError
 */
export async function generalSampler(options: GeneralSamplerOptions): Promise<Vec> {
  check(options);
  const { x, network = { sigmaMin: 0, sigmaMax: Infinity, roundSigma: (v: number) => v } } = options;
  const grid = { ...options, sigmaMin: network.sigmaMin, sigmaMax: network.sigmaMax };
  const schedule = scheduleOf(options, sigmaRange(grid));
  const { s } = flowOf(options, schedule);
  const times = [...[...sigmaGrid(grid)].map((v) => schedule.time(network.roundSigma(v))), 0];
  const levels = times.map((t): NoiseLevel => ({ timestep: t, alpha: s(t), sigma: s(t) * schedule.sigma(t) }));
  const start = LinearForm.of(x, levels[0].sigma).materialise();
  try {
    const solver = generalSolver(options, schedule);
    return await runSolver({ ...options, x: start, solver, transitions: pairs(levels) });
  } finally {
    if (start !== x) x.space.release(start);
  }
}

function check({ solver = 'heun', schedule = 'linear', scaling = 'none', alpha = 1 }: GeneralSamplerOptions): void {
  const known = ['euler', 'heun'].includes(solver) && SIGMA_SCHEDULES.includes(schedule);
  if (known && ['none', 'vp'].includes(scaling) && alpha > 0 && alpha <= 1) return;
  throw new InvalidArgumentError(
    'generalSampler: expected solver euler or heun, schedule linear, vp or ve, scaling none or vp, alpha in (0, 1], ' +
      `got ${solver}, ${schedule}, ${scaling}, ${alpha}`,
  );
}
