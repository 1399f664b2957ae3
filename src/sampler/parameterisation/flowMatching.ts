/** Flow matching on straight paths x = (1 − sigma)·x₀ + sigma·ε. Lipman et al. 2023; Esser et al. 2024 */
import { InvalidArgumentError } from '../../engine/errors.ts';
import type { Parameterisation } from './denoiser.ts';
import type { NoiseLevel } from '../schedule/schedule.ts';
import { LinearForm } from '../vec.ts';

/** The network outputs the velocity ε − x₀, with alpha + sigma = 1. */
export const flowPrediction: Parameterisation = {
  x0: (x, out, { sigma }) => LinearForm.of(x).minus(out, sigma),
  eps: (x, out, { alpha }) => LinearForm.of(x).plus(out, alpha),
};

/** A level of the straight path; the network is told N·sigma. */
export function flowLevel(sigma: number, numTrainTimesteps: number): NoiseLevel {
  return { timestep: sigma * numTrainTimesteps, alpha: 1 - sigma, sigma };
}

/**
 * sigma moved towards noise, for larger pictures: shift·sigma / (1 + (shift − 1)·sigma). Esser et al. 2024, eq. 23.
 * @throws InvalidArgumentError unless sigma is in [0, 1] and shift > 0
 */
export function shiftSigma(sigma: number, shift: number): number {
  if (!(sigma >= 0 && sigma <= 1 && shift > 0 && shift < Infinity))
    throw new InvalidArgumentError(`shiftSigma: expected sigma in [0, 1] and shift > 0, got ${sigma} and ${shift}`);
  return (shift * sigma) / (1 + (shift - 1) * sigma);
}

/** Where the shift of a model lies by the number of its tokens. */
export interface ResolutionShift {
  /** μ at baseImageSeqLen tokens; default 0.5. */
  baseShift?: number;
  /** μ at maxImageSeqLen tokens; default 1.15. */
  maxShift?: number;
  /** Default 256. */
  baseImageSeqLen?: number;
  /** Default 4096. */
  maxImageSeqLen?: number;
}

/**
 * μ = log of the shift for a picture of so many tokens, linear between two numbers of them.
 * @throws InvalidArgumentError unless tokens ≥ 1, the shifts are finite and baseImageSeqLen < maxImageSeqLen
 */
export function resolutionMu(tokens: number, options: ResolutionShift = {}): number {
  const { baseShift = 0.5, maxShift = 1.15, baseImageSeqLen = 256, maxImageSeqLen = 4096 } = options;
  const finite = [baseShift, maxShift, baseImageSeqLen, maxImageSeqLen].every(Number.isFinite);
  if (!(tokens >= 1 && tokens < Infinity && finite && baseImageSeqLen < maxImageSeqLen))
    throw new InvalidArgumentError(
      `resolutionMu: expected tokens ≥ 1, finite shifts and baseImageSeqLen < maxImageSeqLen, got ${tokens}, ` +
        `${baseShift}, ${maxShift}, ${baseImageSeqLen} and ${maxImageSeqLen}; see the scheduler's config`,
    );
  return baseShift + ((tokens - baseImageSeqLen) * (maxShift - baseShift)) / (maxImageSeqLen - baseImageSeqLen);
}
