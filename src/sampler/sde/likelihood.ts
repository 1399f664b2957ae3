/**
 * Log-likelihood by the probability flow: log p(x) = log prior(z) + ∫ ∇·f dt along the path from x to z. Song et al.
 * 2021, appendix D.2, https://arxiv.org/abs/2011.13456; the divergence by Skilling–Hutchinson probes.
 */
import { InvalidArgumentError } from '../../engine/errors.ts';
import type { Denoiser } from '../parameterisation/denoiser.ts';
import { flowSlope } from './probabilityFlow.ts';
import { rk45, type Rk45Options } from './rk45.ts';
import type { Sde } from './sde.ts';
import { LinearForm, type Vec } from '../vec.ts';

/** What is needed. */
export interface LikelihoodOptions extends Rk45Options {
  /** The data, taken as x at time `end`. Not written to. */
  x: Vec;
  sde: Sde;
  denoiser: Denoiser;
  /**
   * v with E[v·vᵀ] = 1, of x's shape: signs ±1, or normal; the same at all times. Averaging results averages probes.
   */
  probe: Vec;
  /** Where data stand, in [0, 1), with some noise; default 1e-5. */
  end?: number;
  /** Half distance d of the central difference along the probe, > 0; default 1e-4: see {@link chooseDifference}. */
  difference?: number;
  /** Estimate what the difference costs, by another at 2d: two more evaluations per slope. Default false. */
  showError?: boolean;
}

/** What comes out. */
export interface Likelihood {
  /** log p(x) of each item, nats. */
  logLikelihood: number[];
  /** The latent at t = 1. */
  z: Vec;
  /** ODE slopes asked for; each asks the denoiser three times, five with `showError`. */
  evaluations: number;
  /** With `showError`: ∫ |D(2d) − D(d)|/3 dt of each item, nats, of curvature and rounding in the differences D. */
  differenceError?: number[];
}

/** −log p/(D·ln 2) of each item of D elements, bits per dimension. */
export function bitsPerDim(logLikelihood: readonly number[], elements: number): number[] {
  return logLikelihood.map((l) => -l / (elements * Math.LN2));
}

/** log p(x). @throws InvalidArgumentError on a probe of another shape, end outside [0, 1), difference ≤ 0; as rk45 */
export async function logLikelihood(options: LikelihoodOptions): Promise<Likelihood> {
  const { x, sde, probe, end = 1e-5, difference = 1e-4, showError = false } = options;
  if (probe.length !== x.length || probe.batch !== x.batch || !(end >= 0 && end < 1 && difference > 0))
    throw new InvalidArgumentError(
      `logLikelihood: expected a probe of x's shape, end in [0, 1), difference > 0, got ${probe.length} of ${x.length} elements, ` +
        `${end}, ${difference}; draw the probe with the shape of x`,
    );
  x.space.beginRun();
  const slope = async (t: number, y: { x: Vec }): Promise<{ x: Vec; extra: number[] }> => {
    const extra = await divergence(options, t, y.x, difference);
    const wide = showError ? await divergence(options, t, y.x, 2 * difference) : [];
    const errors = wide.map((w, b) => Math.abs(w - extra[b]) / 3); // Richardson: D(2d) is off by 4 times as much
    return { x: (await flowSlope(options, t, y.x)).materialise(), extra: [...extra, ...errors] };
  };
  const zeros = Array<number>(x.batch * (showError ? 2 : 1)).fill(0);
  const { state, evaluations } = await rk45(slope, end, 1, { x, extra: zeros }, options);
  const size = x.length / x.batch;
  const variance = sde.priorStd ** 2;
  const norms = await state.x.space.norm(state.x);
  const result = norms.map(
    (n, b) => state.extra[b] - n ** 2 / (2 * variance) - (size / 2) * Math.log(2 * Math.PI * variance), // equation 39
  );
  const found = { logLikelihood: result, z: state.x, evaluations };
  return showError ? { ...found, differenceError: state.extra.slice(x.batch) } : found;
}

/** vᵀ·J·v of the flow's slope at x for each item, to second order in d: forward passes only. Equation 40, one probe. */
async function divergence(options: LikelihoodOptions, t: number, x: Vec, d: number): Promise<number[]> {
  const at = (by: number): Promise<LinearForm> =>
    flowSlope(options, t, LinearForm.of(x).plus(options.probe, by).materialise());
  const along = (await at(d)).minus(await at(-d)).scale(1 / (2 * d));
  return x.space.dot(along, options.probe);
}

/** Candidates for the half distance, from rounding's side to curvature's. */
const DIFFERENCES = [1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2];

/**
 * The half distance at which differences agree best with those at its neighbour, at time `end`: rounding falls with it,
 * curvature grows. `error` is that disagreement, the largest over items, in nats per unit of time.
 * @throws as the denoiser
 */
export async function chooseDifference(options: LikelihoodOptions): Promise<{ difference: number; error: number }> {
  let [best, before] = [{ difference: DIFFERENCES[0], error: Infinity }, [] as number[]];
  for (const [i, difference] of DIFFERENCES.entries()) {
    const now = await divergence(options, options.end ?? 1e-5, options.x, difference);
    const error = i > 0 ? Math.max(...now.map((d, b) => Math.abs(d - before[b]))) : Infinity;
    if (error < best.error) best = { difference, error };
    before = now;
  }
  return best;
}
