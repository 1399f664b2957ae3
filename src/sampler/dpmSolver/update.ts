/**
 * The update shared by DPM-Solver (on ε) and DPM-Solver++ (on x₀): the linear part of the ODE is solved exactly, and the
 * model output m is a polynomial in λ = log(α/σ) over the step of length h:
 *
 *   x' = c·x − s·((e^k − 1)·m + ψ₂·D₁ + ψ₃·D₂), ψ₂ = (e^k − 1)/k − 1, ψ₃ = ψ₂/k − ½,
 *
 * with D₁ = h·m′ and D₂ = h²·m″. On ε: c = α'/α, s = σ', k = h (Lu et al. 2022, https://arxiv.org/abs/2206.00927,
 * equation 3.4); on x₀: c = σ'/σ, s = α', k = −h (Lu et al. 2022, https://arxiv.org/abs/2211.01095, equation 8).
 */
import { ConfigError } from '../../engine/errors.ts';
import type { Denoiser, Prediction } from '../denoiser.ts';
import type { NoiseLevel } from '../schedule.ts';
import { LinearForm, type Vec } from '../vec.ts';
import { halfLogSnr } from './schedules.ts';

/** The choices of every DPM-Solver. */
export interface DpmSolverOptions {
  /** What is a polynomial over a step: ε (`dpmsolver`) or x₀ (`dpmsolver++`); default `dpmsolver++`. */
  algorithmType?: 'dpmsolver' | 'dpmsolver++';
  /** Weight of D₁ where no D₂ is known: ½·(e^k − 1) (`dpmsolver`) or ψ₂ (`taylor`); default `dpmsolver`. */
  solverType?: 'dpmsolver' | 'taylor';
}

/** Both choices, made. @throws ConfigError on another word */
export function choices(options: DpmSolverOptions): Required<DpmSolverOptions> {
  const { algorithmType = 'dpmsolver++', solverType = 'dpmsolver' } = options;
  if (algorithmType !== 'dpmsolver' && algorithmType !== 'dpmsolver++')
    throw new ConfigError(
      `dpmSolver: expected dpmsolver or dpmsolver++, got ${String(algorithmType)}`,
      'algorithmType',
    );
  if (solverType !== 'dpmsolver' && solverType !== 'taylor')
    throw new ConfigError(`dpmSolver: expected dpmsolver or taylor, got ${String(solverType)}`, 'solverType');
  return { algorithmType, solverType };
}

/** What the method extrapolates, computed once. */
export function modelOutput({ x0, eps }: Prediction, { algorithmType }: DpmSolverOptions): Vec {
  return (algorithmType === 'dpmsolver' ? eps : x0).materialise();
}

/** Asks the denoiser at a form. */
export async function evaluate(
  form: LinearForm,
  at: NoiseLevel,
  denoise: Denoiser,
  options: DpmSolverOptions,
  signal?: AbortSignal,
): Promise<Vec> {
  return modelOutput(await denoise(form.materialise(), at, signal), options);
}

/** Weights of x, m, D₁ and D₂ in a step. */
interface Weights {
  x: number;
  m: number;
  d1: number;
  d2: number;
  /** ½·(e^k − 1), the weight of D₁ in the `dpmsolver` type of second order. */
  half: number;
}

function weights(from: NoiseLevel, to: NoiseLevel, { algorithmType }: DpmSolverOptions): Weights {
  const h = halfLogSnr(to) - halfLogSnr(from);
  const onEps = algorithmType === 'dpmsolver';
  const k = onEps ? h : -h;
  const s = onEps ? to.sigma : to.alpha;
  const psi2 = Math.expm1(k) / k - 1;
  return {
    x: onEps ? to.alpha / from.alpha : to.sigma / from.sigma,
    m: -s * Math.expm1(k),
    half: (-s * Math.expm1(k)) / 2,
    d1: -s * psi2,
    d2: -s * (psi2 / k - 1 / 2),
  };
}

/** First order: DDIM. */
export function firstOrder(x: Vec, m: Vec, from: NoiseLevel, to: NoiseLevel, options: DpmSolverOptions): LinearForm {
  const w = weights(from, to, options);
  return LinearForm.of(x, w.x).plus(m, w.m);
}

/** Second order from D₁. */
export function secondOrder(
  x: Vec,
  m: Vec,
  d1: LinearForm,
  from: NoiseLevel,
  to: NoiseLevel,
  options: DpmSolverOptions,
): LinearForm {
  const w = weights(from, to, options);
  return firstOrder(x, m, from, to, options).plus(d1, options.solverType === 'taylor' ? w.d1 : w.half);
}

/** ψ₂·D₁ and, where it is given, ψ₃·D₂, on top of the first order. */
export function taylorOrder(
  x: Vec,
  m: Vec,
  d1: LinearForm,
  d2: LinearForm | undefined,
  from: NoiseLevel,
  to: NoiseLevel,
  options: DpmSolverOptions,
): LinearForm {
  const w = weights(from, to, options);
  const next = firstOrder(x, m, from, to, options).plus(d1, w.d1);
  return d2 ? next.plus(d2, w.d2) : next;
}
