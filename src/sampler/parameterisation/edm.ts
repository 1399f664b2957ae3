/** The preconditioning of Karras et al. 2022, https://arxiv.org/abs/2206.00364, table 1. */
import { InvalidArgumentError } from '../../engine/errors.ts';
import type { Parameterisation } from './denoiser.ts';
import { edmScalings, scaledBy } from './scalings.ts';
import { veLevel } from '../schedule/sigmas.ts';
import type { NoiseLevel } from '../schedule/schedule.ts';

/**
 * D = c_skip·x + c_out·F(c_in·x, c_noise). Equation 7.
 * @param sigmaData standard deviation of the data, > 0
 * @param sign −1 for a network trained to output v
 * @throws InvalidArgumentError unless sigmaData > 0
 */
export function edmPreconditioning(sigmaData = 0.5, sign: 1 | -1 = 1): Parameterisation {
  if (!(sigmaData > 0 && sigmaData < Infinity))
    throw new InvalidArgumentError(`edmPreconditioning: expected sigmaData > 0, got ${sigmaData}; 0.5 is usual`);
  return scaledBy((sigma) => {
    const { cOut, ...rest } = edmScalings(sigma, sigmaData);
    return { ...rest, cOut: sign * cOut };
  });
}

/** The level of a sigma; the network is told c_noise = ¼·log(sigma). */
export function edmLevel(sigma: number): NoiseLevel {
  return veLevel(Math.log(sigma) / 4, sigma);
}
