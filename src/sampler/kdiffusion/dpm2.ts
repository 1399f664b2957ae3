/** The midpoint method in log σ. Karras et al. 2022, algorithm 2, with the slope taken where DPM-Solver-2 takes it. */
import type { Denoiser, Prediction } from '../denoiser.ts';
import type { NoiseLevel } from '../schedule.ts';
import type { Solver } from '../solver.ts';
import { LinearForm, type Vec } from '../vec.ts';
import { ancestralStep, checkAncestral, churned, type AncestralOptions, type ChurnOptions } from './noiseSplit.ts';
import { veLevel } from './sigmas.ts';

/** x + (σ' − σ̂)·ε at √(σ̂·σ'); two evaluations, one in a step to sigma 0; order 2. @throws as churned */
export function dpm2(options: ChurnOptions = {}): Solver {
  const churn = churned(options);
  return async (step) => {
    const { x, at } = churn(step);
    const first = await step.denoise(x, at, step.signal);
    const next = await midpoint(x, first, at, step.to.sigma, step.denoise, step.signal);
    return { x: next.materialise(), x0: first.x0 };
  };
}

/** The same down to `down`, then noise of deviation `up`. @throws InvalidArgumentError if eta < 0 */
export function dpm2Ancestral(options: AncestralOptions = {}): Solver {
  const { eta, sNoise } = checkAncestral('dpm2Ancestral', options);
  return async ({ x, from, to, denoise, noise, signal }) => {
    const first = await denoise(x, from, signal);
    const { down, up } = ancestralStep(from.sigma, to.sigma, eta);
    const mean = await midpoint(x, first, from, down, denoise, signal);
    return { x: (down > 0 ? mean.plus(noise(x), up * sNoise) : mean).materialise(), x0: first.x0 };
  };
}

async function midpoint(
  x: Vec,
  { eps }: Prediction,
  from: NoiseLevel,
  to: number,
  denoise: Denoiser,
  signal?: AbortSignal,
): Promise<LinearForm> {
  if (to === 0) return LinearForm.of(x).plus(eps, -from.sigma);
  const middle = veLevel(Math.sqrt(from.sigma * to));
  const between = LinearForm.of(x)
    .plus(eps, middle.sigma - from.sigma)
    .materialise();
  const { eps: slope } = await denoise(between, middle, signal);
  return LinearForm.of(x).plus(slope, to - from.sigma);
}
