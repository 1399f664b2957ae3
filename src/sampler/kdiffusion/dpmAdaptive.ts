/**
 * DPM-Solver with steps chosen from the difference of two orders. Lu et al. 2022, appendix C; step control as in
 * Diffrax.
 */
import { InvalidArgumentError } from '../../engine/errors.ts';
import { runAdaptive, type AdaptiveMethod, type AdaptiveOptions } from '../adaptive.ts';
import { passStages, reach } from '../exponential/dpmSolverSinglestep.ts';
import { checkAncestral, type AncestralOptions } from '../solvers/noiseSplit.ts';
import { LinearForm, type Vec } from '../vec.ts';
import { lambdaOf } from './grid.ts';
import { veLevel, type SigmaRange } from './sigmas.ts';
import { evenStages, flowEnd, PUBLISHED } from './singlestep.ts';

export type { TrialEvent } from '../adaptive.ts';

/** What is needed and what may be chosen; the start is x₀ + sigmaMax·ε, and noise is needed when eta > 0. */
export interface DpmAdaptiveOptions extends AdaptiveOptions, SigmaRange, AncestralOptions {
  /** 2 or 3; default 3. */
  order?: 2 | 3;
  /** A trial is accepted when the factor proposed for its step is at least this, in (0, 1); default 0.81. */
  acceptSafety?: number;
  /** Gains of the step control, of the error, its sum and its change; defaults 0, 1 and 0. */
  pCoeff?: number;
  /** See {@link DpmAdaptiveOptions.pCoeff}. */
  iCoeff?: number;
  /** See {@link DpmAdaptiveOptions.pCoeff}. */
  dCoeff?: number;
}

/** Steps in λ this close to the end count as arrived. */
const ARRIVED = 1e-5;
/** Added to an error before it is inverted. */
const NO_ERROR = 1e-8;

/**
 * Runs from sigmaMax to sigmaMin. Default eta 0. Reads one norm per item back once a trial.
 * @returns the state at sigmaMin; the caller releases it
 * @throws InvalidArgumentError if an option is out of its range; AbortedError once the signal fires
 */
export async function dpmAdaptive(options: DpmAdaptiveOptions): Promise<Vec> {
  const { denoiser: denoise, sigmaMin, sigmaMax, order = 3, hInit = 0.05, signal } = options;
  const { eta, sNoise } = checkAncestral('dpmAdaptive', { eta: options.eta ?? 0, sNoise: options.sNoise });
  check(options);
  const end = lambdaOf(sigmaMin);
  const split = flowEnd(sigmaMin);
  return runAdaptive(options, {
    numbers: [lambdaOf(sigmaMax), hInit, 0, 0],
    done: ([at]) => !(at < end - ARRIVED),
    async trial(x, [at, h], noise) {
      const [from, to] = [at, Math.min(end, at + h)].map((lambda) => veLevel(Math.exp(-lambda)));
      const { down, up } = split(from.sigma, to.sigma, eta);
      const target = veLevel(down);
      const stages = evenStages(from, target, order);
      const passed = await passStages({ x, from, to: target, stages, denoise, noise, history: [], signal }, PUBLISHED);
      const fewer = { ...passed, seen: passed.seen.slice(0, order - 1) };
      const [low, high] = [fewer, passed].map((p) => reach(p, target, PUBLISHED));
      const added = (): LinearForm => LinearForm.of(noise(x), up * sNoise);
      return { low, high, noise: eta > 0 ? added : undefined, x0: passed.x0, at: from };
    },
    error: (items) => Math.sqrt(items.reduce((sum, e) => sum + e ** 2 / items.length, 0)),
    control: stepControl(end, eta > 0 ? 1.5 : order, options),
  });
}

/**
 * Proportional–integral–derivative control of the step in the inverse errors of this trial and of the last two accepted
 * ones. A step grows to 2.6 times at most; a trial whose factor is below `acceptSafety` is refused. Söderlind 2003.
 */
function stepControl(
  end: number,
  order: number,
  { pCoeff = 0, iCoeff = 1, dCoeff = 0, acceptSafety = 0.81 }: DpmAdaptiveOptions,
): AdaptiveMethod['control'] {
  const powers = [pCoeff + iCoeff + dCoeff, -(pCoeff + 2 * dCoeff), dCoeff].map((c) => c / order);
  return (error, [at, h, last, older]) => {
    const inverse = 1 / (error + NO_ERROR);
    const before = last > 0 ? [last, older] : [inverse, inverse];
    const factor = 1 + Math.atan([inverse, ...before].reduce((f, e, i) => f * e ** powers[i], 1) - 1);
    const accepted = factor >= acceptSafety;
    const numbers = accepted
      ? [Math.min(end, at + h), h * factor, inverse, before[0]]
      : [at, h * factor, before[0], before[1]];
    return { accepted, numbers };
  };
}

function check({ sigmaMin, sigmaMax, order = 3, rtol = 1, atol = 1, hInit = 1, ...rest }: DpmAdaptiveOptions): void {
  const { acceptSafety = 0.5, eta = 0, noise, generator } = rest;
  if (!(sigmaMin > 0 && sigmaMin < sigmaMax && sigmaMax < Infinity))
    throw new InvalidArgumentError(`dpmAdaptive: expected 0 < sigmaMin < sigmaMax, got ${sigmaMin}, ${sigmaMax}`);
  if (order !== 2 && order !== 3)
    throw new InvalidArgumentError(`dpmAdaptive: expected order 2 or 3, got ${String(order)}`);
  if (!(rtol > 0 && atol > 0 && hInit > 0 && acceptSafety > 0 && acceptSafety < 1))
    throw new InvalidArgumentError(
      `dpmAdaptive: expected rtol, atol, hInit > 0 and acceptSafety in (0, 1), got ${rtol}, ${atol}, ${hInit}, ` +
        `${acceptSafety}; leave them out for the defaults`,
    );
  if (eta > 0 && !noise && !generator)
    throw new InvalidArgumentError('dpmAdaptive: expected noise with eta > 0, got none; pass a generator');
}
