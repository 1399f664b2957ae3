/**
 * The solvers of the k-diffusion code base by its names: the methods of this library with the choices made there.
 * States are x = x₀ + sigma·ε, the network is told sigma, and noise is drawn where it counts. `sigmas` is the run's
 * grid.
 */
import { dpmSolverMultistep } from '../exponential/dpmSolverMultistep.ts';
import { euler as eulerStep } from '../solvers/euler.ts';
import { eulerAncestral as eulerAncestralStep } from '../solvers/eulerAncestral.ts';
import { heun as heunStep } from '../solvers/heun.ts';
import { kdpm2 } from '../solvers/kdpm2.ts';
import { lms as lmsStep, type LmsOptions } from '../solvers/lms.ts';
import { checkAncestral, type AncestralOptions, type ChurnOptions } from '../solvers/noiseSplit.ts';
import type { Solver } from '../solver.ts';
import { onGrid } from './grid.ts';
import { veLevel as level } from './sigmas.ts';

/** x + (σ' − σ̂)·ε, after churn; order 1. Karras et al. 2022, algorithm 2 without lines 9–11. @throws as churned */
export function euler(options: ChurnOptions = {}): Solver {
  return eulerStep({ ...options, askFirst: false, level });
}

/** Euler down to `down`, then noise of deviation `up`; draws at every step but one to sigma 0. @throws on eta < 0 */
export function eulerAncestral(options: AncestralOptions = {}): Solver {
  return eulerAncestralStep({ ...options, drawsAtEnd: false });
}

/**
 * Euler, corrected by the mean of both slopes; two evaluations, one in a step to sigma 0; order 2. @throws as churned
 */
export function heun(options: ChurnOptions = {}): Solver {
  return heunStep({ ...options, level });
}

/** x + (σ' − σ̂)·ε at √(σ̂·σ'); two evaluations, one in a step to sigma 0; order 2. @throws as churned */
export function dpm2(options: ChurnOptions = {}): Solver {
  return kdpm2({ ...options, level });
}

/** The same down to `down`, then noise of deviation `up`. @throws InvalidArgumentError if eta < 0 */
export function dpm2Ancestral(options: AncestralOptions = {}): Solver {
  return kdpm2({ ...options, ancestral: true, level });
}

/** Adams–Bashforth on a grid of any spacing. @throws InvalidArgumentError if the order is not in 1 … 6; as gridOf */
export function lms(sigmas: ArrayLike<number>, options: LmsOptions = {}): Solver {
  return onGrid(sigmas, 'lms', lmsStep(options));
}

/** DPM-Solver++(2M): second order; first order at the start and in a step to sigma 0. @throws as gridOf */
export function dpmpp2m(sigmas: ArrayLike<number>): Solver {
  return onGrid(sigmas, 'dpmpp2m', dpmSolverMultistep({ lowerOrderFinal: false }));
}

/** The choices of {@link dpmpp2mSde}. */
export interface Dpmpp2mSdeOptions extends AncestralOptions {
  /** How the slope of the picture enters: default `midpoint`. */
  solverType?: 'midpoint' | 'heun';
}

/**
 * Second order, stochastic: over h = λ' − λ the flow runs (1 + η)·h and noise refills 1 − e^(−2ηh). No draw in a step
 * to sigma 0, nor with η = 0. @throws InvalidArgumentError on eta < 0; ConfigError on another solver type; as gridOf
 */
export function dpmpp2mSde(sigmas: ArrayLike<number>, options: Dpmpp2mSdeOptions = {}): Solver {
  const { solverType } = options;
  const noise = checkAncestral('dpmpp2mSde', options);
  const solver = dpmSolverMultistep({ lowerOrderFinal: false, drawsAtEnd: false, solverType, ...noise });
  return onGrid(sigmas, 'dpmpp2mSde', solver);
}

/** The choices of {@link dpmpp3mSde}. */
export interface Dpmpp3mSdeOptions extends AncestralOptions {
  /**
   * k-diffusion weighs the curvature by half, which makes eta 0 converge with order 2; true repeats that. Default
   * false.
   */
  publishedThirdOrder?: boolean;
}

/**
 * Third order in the picture, stochastic as {@link dpmpp2mSde}; second and first order in the first steps.
 * @throws InvalidArgumentError on eta < 0; as gridOf
 */
export function dpmpp3mSde(sigmas: ArrayLike<number>, options: Dpmpp3mSdeOptions = {}): Solver {
  const { publishedThirdOrder } = options;
  const chosen = {
    solverOrder: 3,
    solverType: 'heun',
    publishedThirdOrder,
    ...checkAncestral('dpmpp3mSde', options),
  } as const;
  return onGrid(sigmas, 'dpmpp3mSde', dpmSolverMultistep({ ...chosen, lowerOrderFinal: false, drawsAtEnd: false }));
}
