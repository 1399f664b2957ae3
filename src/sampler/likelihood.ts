/**
 * Log-likelihood by the probability flow: log p(x) = log prior(z) + ∫ ∇·f dt along the path from x to z. Song et al.
 * 2021, appendix D.2, https://arxiv.org/abs/2011.13456; the divergence by Skilling–Hutchinson probes.
 */
import { InvalidArgumentError } from '../engine/errors.ts';
import type { Denoiser } from './denoiser.ts';
import { flowSlope } from './sde/probabilityFlow.ts';
import { rk45, type Rk45Options } from './sde/rk45.ts';
import type { Sde } from './sde/sde.ts';
import { LinearForm, type Vec } from './vec.ts';

/** What is needed. */
export interface LikelihoodOptions extends Rk45Options {
  /** The data, taken as x at time `end`. Not written to. */
  x: Vec;
  sde: Sde;
  denoiser: Denoiser;
  /** v with E[v·vᵀ] = 1, of x's shape: signs ±1, or normal; the same at all times. Averaging results averages probes. */
  probe: Vec;
  /** Where data stand, in [0, 1), with some noise; default 1e-5. */
  end?: number;
  /** Half distance of the central difference along the probe, > 0; default 1e-4: for f32 networks take 1e-2. */
  difference?: number;
}

/** What comes out. */
export interface Likelihood {
  /** log p(x) of each item, nats. */
  logLikelihood: number[];
  /** The latent at t = 1. */
  z: Vec;
  /** ODE slopes asked for; each asks the denoiser three times. */
  evaluations: number;
}

/** −log p/(D·ln 2) of each item of D elements, bits per dimension. */
export function bitsPerDim(logLikelihood: readonly number[], elements: number): number[] {
  return logLikelihood.map((l) => -l / (elements * Math.LN2));
}

/** log p(x). @throws InvalidArgumentError on a probe of another shape, end outside [0, 1), difference ≤ 0; as rk45 */
export async function logLikelihood(options: LikelihoodOptions): Promise<Likelihood> {
  const { x, sde, probe, end = 1e-5, difference = 1e-4 } = options;
  if (probe.length !== x.length || probe.batch !== x.batch || !(end >= 0 && end < 1 && difference > 0))
    throw new InvalidArgumentError(
      `logLikelihood: expected a probe of x's shape, end in [0, 1), difference > 0, got ${probe.length} of ${x.length} elements, ` +
        `${end}, ${difference}; draw the probe with the shape of x`,
    );
  x.space.beginRun();
  const slope = async (t: number, y: { x: Vec }): Promise<{ x: Vec; extra: number[] }> => {
    const at = (d: number): Promise<LinearForm> =>
      flowSlope(options, t, d === 0 ? y.x : LinearForm.of(y.x).plus(probe, d).materialise());
    const [ahead, behind] = [await at(difference), await at(-difference)];
    const along = ahead.minus(behind).scale(1 / (2 * difference)); // J·v to second order
    return { x: (await at(0)).materialise(), extra: await dots(along.materialise(), probe) };
  };
  const zeros = Array<number>(x.batch).fill(0);
  const { state, evaluations } = await rk45(slope, end, 1, { x, extra: zeros }, options);
  const size = x.length / x.batch;
  const variance = sde.priorStd ** 2;
  const norms = await state.x.space.norm(state.x);
  const result = norms.map(
    (n, b) => state.extra[b] - n ** 2 / (2 * variance) - (size / 2) * Math.log(2 * Math.PI * variance), // equation 39
  );
  return { logLikelihood: result, z: state.x, evaluations };
}

/** v·w of each item, on the host. */
async function dots(v: Vec, w: Vec): Promise<number[]> {
  const [a, b] = [await v.space.read(v), await w.space.read(w)];
  const size = a.length / v.batch;
  const out = Array<number>(v.batch).fill(0);
  for (let i = 0; i < a.length; i++) out[Math.floor(i / size)] += a[i] * b[i];
  return out;
}
