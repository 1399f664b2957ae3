/**
 * DPM-Solver of orders 1 to 3 for x = x₀ + sigma·ε and λ = −log σ. Lu et al. 2022, https://arxiv.org/abs/2206.00927,
 * algorithms 1 and 2 and equation 3.7, with alpha = 1.
 */
import type { Denoiser } from '../denoiser.ts';
import { LinearForm, type Vec } from '../vec.ts';
import { veLevel } from './sigmas.ts';

/** One step's evaluations, so that two orders may share them. */
export interface DpmStage {
  readonly x: Vec;
  /** ε at x. */
  readonly eps: Vec;
  /** λ at x. */
  readonly from: number;
  /** λ at the end. */
  readonly to: number;
  readonly denoise: Denoiser;
  readonly signal?: AbortSignal;
}

/** x − σ'·(e^h − 1)·ε, equation 3.7. */
export function dpm1({ x, eps, from, to }: DpmStage): LinearForm {
  return LinearForm.of(x).minus(eps, Math.exp(-to) * Math.expm1(to - from));
}

/** ε at λ + r·h, where the first-order step leads. */
export async function innerEps(stage: DpmStage, r: number): Promise<Vec> {
  const to = stage.from + r * (stage.to - stage.from);
  return evaluate(stage, dpm1({ ...stage, to }), to);
}

/** Second order from ε at λ + r·h. Algorithm 4 of the appendix; r = ½ is algorithm 1. */
export function dpm2From(stage: DpmStage, inner: Vec, r: number): LinearForm {
  const c = (Math.exp(-stage.to) * Math.expm1(stage.to - stage.from)) / (2 * r);
  return dpm1(stage).minus(inner, c).plus(stage.eps, c);
}

/** Third order from ε at λ + h/3; evaluates at λ + 2h/3. Algorithm 2. */
export async function dpm3From(stage: DpmStage, inner: Vec): Promise<LinearForm> {
  const { from, to, eps } = stage;
  const [r1, r2, h] = [1 / 3, 2 / 3, to - from];
  const bend = (rh: number): number => Math.expm1(rh) / rh - 1;
  const middle = from + r2 * h;
  const c2 = Math.exp(-middle) * (r2 / r1) * bend(r2 * h);
  const u = dpm1({ ...stage, to: middle })
    .minus(inner, c2)
    .plus(eps, c2);
  const second = await evaluate(stage, u, middle);
  const c3 = (Math.exp(-to) / r2) * bend(h);
  return dpm1(stage).minus(second, c3).plus(eps, c3);
}

async function evaluate({ denoise, signal }: DpmStage, u: LinearForm, lambda: number): Promise<Vec> {
  const { eps } = await denoise(u.materialise(), veLevel(Math.exp(-lambda)), signal);
  return eps.materialise();
}
