/** Sampling from consistency models. Song et al. 2023, https://arxiv.org/abs/2303.01469; Luo et al. 2023 (LCM). */
import { InvalidArgumentError } from '../../engine/errors.ts';
import type { Denoiser, Parameterisation, Prediction } from '../parameterisation/denoiser.ts';
import { consistencyScalings, scaledBy } from '../parameterisation/scalings.ts';
import type { Solver } from '../solver.ts';

/** The choices that multistep sampling leaves. */
export interface ConsistencyOptions {
  /** sigma of what the model answers with, at which its boundary lies; default 0. */
  sigmaMin?: number;
  /** Standard deviation of the noise drawn; default 1. */
  sNoise?: number;
}

/**
 * One step of multistep consistency sampling (algorithm 1): all the way to x₀, and back up to `to` with new noise. It
 * is drawn unless the run has one step, or the step ends without noise.
 * @throws InvalidArgumentError if sigmaMin or sNoise is below 0 or not finite
 */
export function consistency({ sigmaMin = 0, sNoise = 1 }: ConsistencyOptions = {}): Solver {
  if (!(sigmaMin >= 0 && sigmaMin < Infinity && sNoise >= 0 && sNoise < Infinity))
    throw new InvalidArgumentError(`consistency: expected sigmaMin, sNoise ≥ 0, got ${sigmaMin} and ${sNoise}`);
  return async ({ x, from, to, denoise, noise, transitions = [], signal }) => {
    const { x0 } = await denoise(x, from, signal);
    if (transitions.length === 1 || to.sigma === 0) return { x: x0.materialise(), x0 };
    const spread = Math.sqrt(Math.max(to.sigma ** 2 - sigmaMin ** 2, 0));
    return {
      x: x0
        .scale(to.alpha)
        .plus(noise(x), sNoise * spread)
        .materialise(),
      x0,
    }; // x̂_τ = x + √(τ² − ε²)·z
  };
}

/**
 * c_skip and c_out at sigma, from sigmaMin, where the model is the identity. Song et al. 2023, appendix C.
 * @throws InvalidArgumentError unless sigmaData > 0 and sigmaMin ≥ 0
 */
export function consistencyPreconditioning(sigmaData = 0.5, sigmaMin = 0.002): Parameterisation {
  if (!(sigmaData > 0 && sigmaData < Infinity && sigmaMin >= 0 && sigmaMin < Infinity))
    throw new InvalidArgumentError(
      `consistencyPreconditioning: expected sigmaData > 0 and sigmaMin ≥ 0, got ${sigmaData} and ${sigmaMin}`,
    );
  return scaledBy((sigma) => consistencyScalings(sigma, sigmaData, sigmaMin));
}

/**
 * x₀ drawn to x near timestep 0: c_skip·x + c_out·x₀ with both from s = timestepScaling·timestep and 0.5.
 * Luo et al. 2023, https://arxiv.org/abs/2310.04378, section 4.1.
 * @throws InvalidArgumentError unless timestepScaling > 0
 */
export function consistencyBoundary(denoiser: Denoiser, timestepScaling = 10): Denoiser {
  if (!(timestepScaling > 0 && timestepScaling < Infinity))
    throw new InvalidArgumentError(`consistencyBoundary: expected timestepScaling > 0, got ${timestepScaling}`);
  return async (x, level, signal) => {
    const s = timestepScaling * level.timestep;
    const bend = (p: Prediction): Prediction => ({
      out: p.out,
      variance: p.variance,
      get x0() {
        return p.x0.scale(s / Math.hypot(s, 0.5)).plus(x, 0.25 / (s * s + 0.25));
      },
      get eps() {
        return p.eps;
      },
      reread: (...other) => bend(p.reread(...other)),
    });
    return bend(await denoiser(x, level, signal));
  };
}
