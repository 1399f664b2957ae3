/**
 * DPM-Solver++ with a stage inside the step, for x = x₀ + sigma·ε and λ = −log σ. Lu et al. 2022,
 * https://arxiv.org/abs/2211.01095
 */
import { InvalidArgumentError } from '../../engine/errors.ts';
import type { Solver } from '../solver.ts';
import { LinearForm, type Vec } from '../vec.ts';
import { lambdaOf } from './grid.ts';
import { ancestralStep, checkAncestral, type AncestralOptions } from './noiseSplit.ts';
import { veLevel } from './sigmas.ts';

/** x·σ'/σ + (1 − σ'/σ)·x₀: the exact flow for a constant picture. Equation 9 with alpha = 1; σ' = 0 gives x₀. */
function flow(x: Vec, picture: Vec | LinearForm, from: number, to: number): LinearForm {
  return LinearForm.of(x, to / from).plus(picture, 1 - to / from);
}

/** Second order with the stage at half of λ, ancestral noise afterwards. Algorithm 1. @throws on eta < 0 */
export function dpmpp2sAncestral(options: AncestralOptions = {}): Solver {
  const { eta, sNoise } = checkAncestral('dpmpp2sAncestral', options);
  return async ({ x, from, to, denoise, noise, signal }) => {
    const { x0 } = await denoise(x, from, signal);
    const { down, up } = ancestralStep(from.sigma, to.sigma, eta);
    const middle = veLevel(Math.sqrt(from.sigma * down));
    const picture =
      down === 0 ? x0 : (await denoise(flow(x, x0, from.sigma, middle.sigma).materialise(), middle, signal)).x0;
    const mean = flow(x, picture, from.sigma, down);
    return { x: (to.sigma > 0 ? mean.plus(noise(x), up * sNoise) : mean).materialise(), x0 };
  };
}

/** The choices of {@link dpmppSde}. */
export interface DpmppSdeOptions extends AncestralOptions {
  /** Where in λ the stage stands, in (0, 1]; default ½. */
  r?: number;
}

/**
 * The same with noise in the stage as well: two draws per step, none in a step to sigma 0, which is Euler's.
 * @throws InvalidArgumentError if eta < 0 or r is not in (0, 1]
 */
export function dpmppSde({ r = 1 / 2, ...options }: DpmppSdeOptions = {}): Solver {
  const { eta, sNoise } = checkAncestral('dpmppSde', options);
  if (!(r > 0 && r <= 1)) throw new InvalidArgumentError(`dpmppSde: expected r in (0, 1], got ${r}; ½ is the default`);
  return async ({ x, from, to, denoise, noise, signal }) => {
    const { x0 } = await denoise(x, from, signal);
    if (to.sigma === 0) return { x: x0.materialise(), x0 };
    const [start, end] = [lambdaOf(from.sigma), lambdaOf(to.sigma)];
    const middle = veLevel(Math.exp(-(start + r * (end - start))));
    const inner = ancestralStep(from.sigma, middle.sigma, eta);
    const stage = flow(x, x0, from.sigma, inner.down).plus(noise(x), inner.up * sNoise);
    const { x0: second } = await denoise(stage.materialise(), middle, signal);
    const picture = x0.scale(1 - 1 / (2 * r)).plus(second, 1 / (2 * r));
    const outer = ancestralStep(from.sigma, to.sigma, eta);
    const next = flow(x, picture, from.sigma, outer.down).plus(noise(x), outer.up * sNoise);
    return { x: next.materialise(), x0 };
  };
}
