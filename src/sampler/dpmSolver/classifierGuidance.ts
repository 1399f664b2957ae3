/** Classifier guidance. Dhariwal & Nichol 2021, https://arxiv.org/abs/2105.05233, algorithm 2. */
import { InvalidArgumentError } from '../../engine/errors.ts';
import { epsilonPrediction, parameterise, type Denoiser } from '../denoiser.ts';
import type { NoiseLevel } from '../schedule.ts';
import type { Vec } from '../vec.ts';

/** ∇ log p(class | x) at a level of noise, of x's shape; its result stays valid until the step ends. */
export type LogProbGradient = (x: Vec, level: NoiseLevel, signal?: AbortSignal) => Vec | Promise<Vec>;

/** The score form: ε − scale·sigma·∇ log p(class | x), and x₀ follows. @throws InvalidArgumentError on a scale not finite */
export function classifierGuided(denoiser: Denoiser, gradient: LogProbGradient, scale: number): Denoiser {
  if (!Number.isFinite(scale))
    throw new InvalidArgumentError(`classifierGuided: expected a finite scale, got ${scale}; 0 turns it off`);
  return async (x, level, signal) => {
    const { eps } = await denoiser(x, level, signal);
    const guided = eps.minus(await gradient(x, level, signal), scale * level.sigma).materialise();
    return parameterise(() => guided, epsilonPrediction)(x, level, signal);
  };
}
