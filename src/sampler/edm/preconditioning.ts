/**
 * How networks of other methods are seen as denoisers of x = x₀ + sigma·ε: D = c_skip·x + c_out·F(c_in·x, c_noise).
 * Karras et al. 2022, https://arxiv.org/abs/2206.00364, table 1. What the network is told, and the factors, are
 * computed in f32 operation by operation, as where the networks were trained.
 */
import { InvalidArgumentError } from '../../engine/errors.ts';
import type { Parameterisation } from '../parameterisation/denoiser.ts';
import type { NoiseLevel } from '../schedule/schedule.ts';
import { veLevel } from '../schedule/sigmas.ts';
import { scaledBy, type Scalings } from '../parameterisation/scalings.ts';

const f = Math.fround;

/** A way to see a network as a denoiser; also a {@link Parameterisation} for levels that `level` makes. */
export interface Preconditioning extends Parameterisation {
  /** Smallest and largest level that the network knows. */
  readonly sigmaMin: number;
  readonly sigmaMax: number;
  /** The level that the network knows which is nearest. */
  roundSigma(sigma: number): number;
  /** c_noise: what the network is told. */
  noiseLabel(sigma: number): number;
  /** c_skip, c_out, c_in; f32. */
  scalings(sigma: number): Scalings;
  /** sigma as a level whose timestep is c_noise. */
  level(sigma: number): NoiseLevel;
}

interface Rules {
  sigmaMin: number;
  sigmaMax: number;
  roundSigma?: (sigma: number) => number;
  noiseLabel: (sigma: number) => number;
  scalings: (sigma: number) => Scalings;
}

function preconditioning({ sigmaMin, sigmaMax, roundSigma = (s) => s, noiseLabel, scalings }: Rules): Preconditioning {
  const of = (sigma: number): Scalings => scalings(f(sigma));
  const label = (sigma: number): number => noiseLabel(f(sigma));
  return {
    sigmaMin,
    sigmaMax,
    roundSigma,
    noiseLabel: label,
    scalings: of,
    level: (sigma) => veLevel(label(sigma), sigma),
    ...scaledBy(of), // equation 7
  };
}

/** Networks trained to predict ε see x at variance 1. */
function epsScalings(sigma: number): Scalings {
  return { cSkip: 1, cOut: -sigma, cIn: f(1 / f(Math.sqrt(f(f(sigma * sigma) + 1)))) };
}

/** Column EDM: {@link edmScalings}, c_noise = ¼·log sigma. */
export function edmPrecond({ sigmaData = 0.5, sigmaMin = 0, sigmaMax = Infinity } = {}): Preconditioning {
  const data = f(sigmaData ** 2);
  return preconditioning({
    sigmaMin,
    sigmaMax,
    noiseLabel: (s) => f(f(Math.log(s)) / 4),
    scalings(s) {
      const total = f(f(s * s) + data);
      const norm = f(Math.sqrt(total));
      return { cSkip: f(data / total), cOut: f(f(s * f(sigmaData)) / norm), cIn: f(1 / norm) };
    },
  });
}

/** Column VE: the network outputs (x₀ − x)/sigma and is told log(sigma/2). */
export function vePrecond({ sigmaMin = 0.02, sigmaMax = 100 } = {}): Preconditioning {
  return preconditioning({
    sigmaMin,
    sigmaMax,
    noiseLabel: (s) => f(Math.log(f(0.5 * s))),
    scalings: (s) => ({ cSkip: 1, cOut: s, cIn: 1 }),
  });
}

/** Column VP: the network predicts ε and is told (M − 1)·t of the level. */
export function vpPrecond({ betaD = 19.9, betaMin = 0.1, M = 1000, epsilonT = 1e-5 } = {}): Preconditioning {
  const sigmaOf = (t: number): number => {
    const power = f(f(f(0.5 * betaD) * f(t * t)) + f(f(betaMin) * t));
    return f(Math.sqrt(f(f(Math.exp(power)) - 1)));
  };
  const timeOf = (s: number): number => {
    const log = f(Math.log(f(1 + f(s * s))));
    const root = f(Math.sqrt(f(f(betaMin ** 2) + f(f(2 * betaD) * log))));
    return f(f(root - f(betaMin)) / f(betaD));
  };
  return preconditioning({
    sigmaMin: sigmaOf(f(epsilonT)),
    sigmaMax: sigmaOf(1),
    noiseLabel: (s) => f((M - 1) * timeOf(s)),
    scalings: epsScalings,
  });
}

/**
 * Column iDDPM: the network predicts ε (a learned variance behind it is left out) and is told the index of the nearest
 * of the levels it was trained on.
 * @param u the levels, falling to u[M] = 0
 * @throws InvalidArgumentError on fewer than two levels
 */
export function iddpmPrecond(u: ArrayLike<number>): Preconditioning {
  const M = u.length - 1;
  if (M < 1) throw new InvalidArgumentError(`iddpmPrecond: expected two levels or more, got ${u.length}`);
  const indexOf = (sigma: number): number => {
    let best = 0;
    for (let j = 1; j <= M; j++) if (Math.abs(u[j] - sigma) < Math.abs(u[best] - sigma)) best = j;
    return best;
  };
  return preconditioning({
    sigmaMin: u[M - 1],
    sigmaMax: u[0],
    roundSigma: (s) => u[indexOf(f(s))],
    noiseLabel: (s) => M - 1 - indexOf(s),
    scalings: epsScalings,
  });
}
