/** How a network of unit scale becomes a denoiser: D = c_skip·x + c_out·F(c_in·x). */
import type { Parameterisation } from './denoiser.ts';
import { LinearForm } from '../vec.ts';

/** The three factors. */
export interface Scalings {
  cSkip: number;
  cOut: number;
  cIn: number;
}

/** Reads a network by its factors at each sigma; states are x₀ + sigma·ε. Karras et al. 2022, equation 7. */
export function scaledBy(scalings: (sigma: number) => Scalings): Parameterisation {
  const x0: Parameterisation['x0'] = (x, out, { sigma }) => {
    const { cSkip, cOut } = scalings(sigma);
    return LinearForm.of(x, cSkip).plus(out, cOut);
  };
  return {
    input: ({ sigma }) => scalings(sigma).cIn,
    x0,
    eps: (x, out, level) =>
      LinearForm.of(x)
        .minus(x0(x, out, level))
        .scale(1 / level.sigma),
  };
}

/** Karras et al. 2022, table 1, column EDM. sigma ≥ 0; sigmaData is the deviation of the data, default 0.5. */
export function edmScalings(sigma: number, sigmaData = 0.5): Scalings {
  const total = sigma ** 2 + sigmaData ** 2;
  return {
    cSkip: sigmaData ** 2 / total,
    cOut: (sigma * sigmaData) / Math.sqrt(total),
    cIn: 1 / Math.sqrt(total),
  };
}

/** The same so that D(x) = x at sigmaMin. Song et al. 2023 (Consistency Models), appendix C. */
export function consistencyScalings(sigma: number, sigmaData = 0.5, sigmaMin = 0.002): Scalings {
  const [total, beyond] = [sigma ** 2 + sigmaData ** 2, sigma - sigmaMin];
  return {
    cSkip: sigmaData ** 2 / (beyond ** 2 + sigmaData ** 2),
    cOut: (beyond * sigmaData) / Math.sqrt(total),
    cIn: 1 / Math.sqrt(total),
  };
}
