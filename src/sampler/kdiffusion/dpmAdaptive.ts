/** DPM-Solver with steps chosen from the difference of two orders. Lu et al. 2022, appendix C; step control as in Diffrax. */
import { InvalidArgumentError, throwIfAborted } from '../../engine/errors.ts';
import type { Denoiser } from '../denoiser.ts';
import type { NoiseSource } from '../solver.ts';
import type { LinearForm, Vec } from '../vec.ts';
import { dpm1, dpm2From, dpm3From, innerEps, type DpmStage } from './dpmSteps.ts';
import { flowEnd } from './dpmFast.ts';
import { lambdaOf } from './grid.ts';
import { checkAncestral, type AncestralOptions } from './noiseSplit.ts';
import { veLevel, type SigmaRange } from './sigmas.ts';

/** What is told after each trial step. */
export interface TrialEvent {
  /** The state, unchanged where the trial was refused. */
  x: Vec;
  /** The picture as believed before the trial; valid until the next one. */
  x0: LinearForm;
  accepted: boolean;
}

/** What is needed and what may be chosen. */
export interface DpmAdaptiveOptions extends SigmaRange, AncestralOptions {
  /** The start, x₀ + sigmaMax·ε. Not written to. */
  x: Vec;
  denoiser: Denoiser;
  /** Needed when eta > 0. */
  noise?: NoiseSource;
  /** 2 or 3; default 3. */
  order?: 2 | 3;
  /** Relative tolerance, > 0; default 0.05. */
  rtol?: number;
  /** Absolute tolerance, > 0; default 0.0078, two 8-bit steps of a picture in −1 … 1. */
  atol?: number;
  /** First step in λ = −log σ, > 0; default 0.05. */
  hInit?: number;
  /** A trial is accepted when the factor proposed for its step is at least this, in (0, 1); default 0.81. */
  acceptSafety?: number;
  /** Gains of the step control, of the error, its sum and its change; defaults 0, 1 and 0. */
  pCoeff?: number;
  /** See {@link DpmAdaptiveOptions.pCoeff}. */
  iCoeff?: number;
  /** See {@link DpmAdaptiveOptions.pCoeff}. */
  dCoeff?: number;
  onTrial?: (event: TrialEvent) => void | Promise<void>;
  signal?: AbortSignal;
}

/** Steps in λ this close to the end count as arrived. */
const ARRIVED = 1e-5;
/** Added to an error before it is inverted. */
const NO_ERROR = 1e-8;

/**
 * Runs from sigmaMax to sigmaMin. Default eta 0. Reads the state back once a trial, for its error.
 * @returns the state at sigmaMin; the caller releases it
 * @throws InvalidArgumentError if an option is out of its range; AbortedError once the signal fires
 */
export async function dpmAdaptive(options: DpmAdaptiveOptions): Promise<Vec> {
  const { x: start, denoiser: denoise, sigmaMin, sigmaMax, noise, order = 3, signal } = options;
  const { rtol = 0.05, atol = 0.0078, hInit = 0.05, acceptSafety = 0.81, onTrial } = options;
  const { eta, sNoise } = checkAncestral('dpmAdaptive', { eta: options.eta ?? 0, sNoise: options.sNoise });
  check(options);
  const control = stepControl(hInit, eta > 0 ? 1.5 : order, acceptSafety, options);
  const end = lambdaOf(sigmaMin);
  start.space.beginRun();
  let [x, last, at] = [start, start, lambdaOf(sigmaMax)];
  while (at < end - ARRIVED) {
    throwIfAborted(signal, 'dpmAdaptive, before a step');
    const next = Math.min(end, at + control.h);
    const { down, up } = flowEnd(Math.exp(-at), Math.exp(-next), sigmaMin, eta);
    const { x0, eps } = await denoise(x, veLevel(Math.exp(-at)), signal);
    const stage: DpmStage = { x, eps: eps.materialise(), from: at, to: lambdaOf(down), denoise, signal };
    const inner = await innerEps(stage, 1 / order);
    const low = (order === 2 ? dpm1(stage) : dpm2From(stage, inner, 1 / 3)).materialise();
    const high = order === 2 ? dpm2From(stage, inner, 1 / 2) : await dpm3From(stage, inner);
    const accepted = control.propose(await scaledError(low, high.materialise(), last, atol, rtol));
    if (accepted) {
      last = low;
      x = (eta > 0 && noise ? high.plus(noise(x), up * sNoise) : high).materialise();
      at = next;
    }
    await onTrial?.({ x, x0, accepted });
    start.space.endStep([x, last]);
  }
  return x;
}

/** RMS over all elements of (low − high) / max(atol, rtol·max(|low|, |before|)). Lu et al. 2022, appendix C. */
async function scaledError(low: Vec, high: Vec, before: Vec, atol: number, rtol: number): Promise<number> {
  const [a, b, c] = await Promise.all([low, high, before].map((v) => v.space.read(v)));
  let sum = 0;
  for (let i = 0; i < a.length; i++)
    sum += ((a[i] - b[i]) / Math.max(atol, rtol * Math.max(Math.abs(a[i]), Math.abs(c[i])))) ** 2;
  return Math.sqrt(sum / a.length);
}

/** The gains of {@link DpmAdaptiveOptions}; integral control alone by default. */
type Gains = Pick<DpmAdaptiveOptions, 'pCoeff' | 'iCoeff' | 'dCoeff'>;

/**
 * Proportional–integral–derivative control of the step in the inverse errors of this trial and of the last two accepted
 * ones. A step grows to 2.6 times at most; a trial whose factor is below `safety` is refused. Söderlind 2003.
 */
function stepControl(
  first: number,
  order: number,
  safety: number,
  { pCoeff = 0, iCoeff = 1, dCoeff = 0 }: Gains,
): { h: number; propose(error: number): boolean } {
  const powers = [pCoeff + iCoeff + dCoeff, -(pCoeff + 2 * dCoeff), dCoeff].map((c) => c / order);
  let before: [number, number] | undefined;
  return {
    h: first,
    propose(error) {
      const inverse = 1 / (error + NO_ERROR);
      before ??= [inverse, inverse];
      const factor = 1 + Math.atan([inverse, ...before].reduce((f, e, i) => f * e ** powers[i], 1) - 1);
      const accepted = factor >= safety;
      if (accepted) before = [inverse, before[0]];
      this.h *= factor;
      return accepted;
    },
  };
}

function check({ sigmaMin, sigmaMax, order = 3, rtol = 1, atol = 1, hInit = 1, ...rest }: DpmAdaptiveOptions): void {
  const { acceptSafety = 0.5, eta = 0, noise } = rest;
  if (!(sigmaMin > 0 && sigmaMin < sigmaMax && sigmaMax < Infinity))
    throw new InvalidArgumentError(`dpmAdaptive: expected 0 < sigmaMin < sigmaMax, got ${sigmaMin}, ${sigmaMax}`);
  if (order !== 2 && order !== 3)
    throw new InvalidArgumentError(`dpmAdaptive: expected order 2 or 3, got ${String(order)}`);
  if (!(rtol > 0 && atol > 0 && hInit > 0 && acceptSafety > 0 && acceptSafety < 1))
    throw new InvalidArgumentError(
      `dpmAdaptive: expected rtol, atol, hInit > 0 and acceptSafety in (0, 1), got ${rtol}, ${atol}, ${hInit}, ` +
        `${acceptSafety}; leave them out for the defaults`,
    );
  if (eta > 0 && !noise)
    throw new InvalidArgumentError('dpmAdaptive: expected noise with eta > 0, got none; pass a noise source');
}
