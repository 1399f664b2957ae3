/**
 * The variational bound of a trained network, and the losses it was trained with, on the host.
 * Nichol & Dhariwal 2021, https://arxiv.org/abs/2102.09672, sections 2.1, 3.1 and 3.3.
 */
import type { VarianceType } from '../solvers/ddpm.ts';
import type { PredictionType } from '../parameterisation/denoiser.ts';
import { InvalidArgumentError } from '../../engine/errors.ts';
import type { NoiseSchedule } from '../schedule/schedule.ts';
import { normalKl, pixelLogLikelihood, type BoundPrecision } from './bound.ts';
import { posteriorTables, type PosteriorTables } from './respacing.ts';

/** Pictures, noise or outputs on the host, items one after the other. */
export type Values = ArrayLike<number>;

/** A chain and what its network says. */
export interface BoundProcess {
  /** Of the steps that are taken, respaced or not. */
  schedule: NoiseSchedule;
  /** `fixed_small`, `fixed_large` or `learned_range`. */
  varianceType: VarianceType;
  /** `epsilon` or `sample`. */
  prediction: PredictionType;
  /** Rounding of the decoder's distribution function; default `f64`. */
  precision?: BoundPrecision;
}

/** What a network answers: x of all items, the place of each item in the chain → outputs, [C,…] or [2C,…] per item. */
export type BoundNetwork = (x: Float64Array, steps: readonly number[]) => Promise<Values> | Values;

/** p(x_(t−1) | x_t) as the network has it, elementwise. */
export interface ModelDistribution {
  mean: Float64Array;
  logVariance: Float64Array;
  /** The picture, clipped if that was asked for. */
  x0: Float64Array;
}

interface Tables extends PosteriorTables {
  betas: Float64Array;
  alphaBars: Float64Array;
}

const tablesOf = ({ schedule }: BoundProcess): Tables => ({
  ...posteriorTables(schedule),
  betas: schedule.betas,
  alphaBars: schedule.alphasCumprod,
});

/** √ᾱ·x₀ + √(1 − ᾱ)·ε, items at their own steps. Ho et al. 2020, equation 4. */
export function diffuse({ schedule }: BoundProcess, x0: Values, noise: Values, steps: readonly number[]): Float64Array {
  const size = x0.length / steps.length;
  return Float64Array.from({ length: x0.length }, (_, i) => {
    const alphaBar = schedule.alphasCumprod[steps[Math.floor(i / size)]];
    return Math.sqrt(alphaBar) * x0[i] + Math.sqrt(1 - alphaBar) * noise[i];
  });
}

/**
 * Mean and variance that an output stands for. Equations 9, 13 and 15.
 * @throws InvalidArgumentError for a kind of variance or prediction that has no bound here, or an output of another
 * size.
 */
export function modelDistribution(
  process: BoundProcess,
  x: Values,
  output: Values,
  steps: readonly number[],
  { clip }: { clip: boolean },
): ModelDistribution {
  const { varianceType, prediction } = process;
  const learned = varianceType === 'learned_range';
  const known = learned || varianceType === 'fixed_small' || varianceType === 'fixed_large';
  if (!known || (prediction !== 'epsilon' && prediction !== 'sample') || output.length !== (learned ? 2 : 1) * x.length)
    throw new InvalidArgumentError(
      `modelDistribution: expected ${learned ? 2 : 1}·${x.length} outputs of an ε or x₀ network with a fixed ` +
        `variance or a learned range, got ${output.length} of ${prediction} with ${varianceType}`,
    );
  const t = tablesOf(process);
  const size = x.length / steps.length;
  const out = {
    mean: new Float64Array(x.length),
    logVariance: new Float64Array(x.length),
    x0: new Float64Array(x.length),
  };
  for (let i = 0; i < x.length; i++) {
    const item = Math.floor(i / size);
    const step = steps[item];
    const at = (item * output.length) / steps.length + (i % size);
    const alphaBar = t.alphaBars[step];
    const said = output[at];
    const guess = prediction === 'sample' ? said : (x[i] - Math.sqrt(1 - alphaBar) * said) / Math.sqrt(alphaBar);
    const x0 = clip ? Math.min(Math.max(guess, -1), 1) : guess;
    const [small, large] = [t.logVarianceClipped[step], Math.log(t.betas[step])];
    const fraction = (output[at + size] + 1) / 2;
    out.x0[i] = x0;
    out.mean[i] = t.meanX0[step] * x0 + t.meanXt[step] * x[i];
    if (learned) out.logVariance[i] = fraction * large + (1 - fraction) * small;
    else out.logVariance[i] = varianceType === 'fixed_small' || step === 0 ? small : large;
  }
  return out;
}

/**
 * L_t of each item in bits per dimension: the KL to the posterior, or the decoder's −log P at step 0. Equations 4–6.
 */
export function boundTerms(
  process: BoundProcess,
  x0: Values,
  x: Values,
  p: ModelDistribution,
  steps: readonly number[],
): Float64Array {
  const t = tablesOf(process);
  return meanPerItem(x0.length, steps.length, (i, item) => {
    const step = steps[item];
    if (step === 0) return -pixelLogLikelihood(x0[i], p.mean[i], p.logVariance[i] / 2, process.precision) / Math.LN2;
    const truth = t.meanX0[step] * x0[i] + t.meanXt[step] * x[i];
    return normalKl(truth, t.logVarianceClipped[step], p.mean[i], p.logVariance[i]) / Math.LN2;
  });
}

/** Everything that {@link variationalBound} finds; bits per dimension, and mean squares. */
export interface Bound {
  /** Per item. */
  total: Float64Array;
  prior: Float64Array;
  /** Per step from the last to the first, an entry per item. */
  terms: Float64Array[];
  /** Mean square of x₀ − its estimate, as `terms`. */
  x0Mse: Float64Array[];
  /** Mean square of ε − its estimate from the (clipped) picture, as `terms`. */
  epsMse: Float64Array[];
}

/** What the bound is taken of. */
export interface BoundOptions extends BoundProcess {
  /** Pictures in −1 … 1, items one after the other. */
  x0: Values;
  batch: number;
  network: BoundNetwork;
  /** Standard normals, as many as x0 has; asked once per step, from the last to the first. */
  noise: () => Values;
  /** Whether estimates of the picture are kept in −1 … 1; default true. */
  clip?: boolean;
  onStep?: (done: number, of: number) => void;
}

/** The whole bound of some pictures, one evaluation per step of the chain. @throws as {@link modelDistribution} */
export async function variationalBound(options: BoundOptions): Promise<Bound> {
  const { x0, batch, network, noise, clip = true, schedule, onStep } = options;
  const T = schedule.length;
  const [terms, x0Mse, epsMse]: Float64Array[][] = [[], [], []];
  for (let step = T - 1; step >= 0; step--) {
    const steps = Array<number>(batch).fill(step);
    const eps = noise();
    const x = diffuse(options, x0, eps, steps);
    const p = modelDistribution(options, x, await network(x, steps), steps, { clip });
    terms.push(boundTerms(options, x0, x, p, steps));
    const alphaBar = schedule.alphasCumprod[step];
    x0Mse.push(meanPerItem(x0.length, batch, (i) => (p.x0[i] - x0[i]) ** 2));
    const seen = (i: number): number => (x[i] - Math.sqrt(alphaBar) * p.x0[i]) / Math.sqrt(1 - alphaBar);
    epsMse.push(meanPerItem(x0.length, batch, (i) => (seen(i) - eps[i]) ** 2));
    onStep?.(T - step, T);
  }
  const last = schedule.alphasCumprod[T - 1];
  const spread = Math.log(1 - last);
  const prior = meanPerItem(x0.length, batch, (i) => normalKl(Math.sqrt(last) * x0[i], spread, 0, 0) / Math.LN2);
  const total = prior.map((sum, b) => terms.reduce((s, term) => s + term[b], sum));
  return { total, prior, terms, x0Mse, epsMse };
}

/** Which loss a network was trained with. Section 3.1 and 3.3; `rescaled_kl` estimates the whole bound. */
export type BoundLoss = 'mse' | 'rescaled_mse' | 'rescaled_kl';

/** L_simple and L_vlb of each item, and the loss: their sum, or T·L_vlb alone. */
export interface TrainingLosses {
  loss: Float64Array;
  mse?: Float64Array;
  vb?: Float64Array;
}

/** Factor that makes up for the 1/1000 of the original L_vlb. */
const VB_SCALE = 1000;

/** Losses at one step per item; the picture is not clipped. @throws as {@link modelDistribution} */
export async function trainingLosses(
  process: BoundProcess & { network: BoundNetwork; loss: BoundLoss },
  x0: Values,
  noise: Values,
  steps: readonly number[],
): Promise<TrainingLosses> {
  const { network, loss, prediction, varianceType } = process;
  const T = process.schedule.length;
  const x = diffuse(process, x0, noise, steps);
  const output = await network(x, steps);
  const terms = () => boundTerms(process, x0, x, modelDistribution(process, x, output, steps, { clip: false }), steps);
  if (loss === 'rescaled_kl') return { loss: terms().map((v) => v * T) };
  const [size, stride] = [x0.length / steps.length, output.length / steps.length];
  const target = prediction === 'sample' ? x0 : noise;
  const said = (i: number, item: number): number => output[item * stride + (i % size)];
  const mse = meanPerItem(x0.length, steps.length, (i, item) => (target[i] - said(i, item)) ** 2);
  if (varianceType !== 'learned_range') return { loss: mse, mse };
  const vb = terms().map((v) => (loss === 'rescaled_mse' ? (v * T) / VB_SCALE : v));
  return { loss: mse.map((v, b) => v + vb[b]), mse, vb };
}

/** Means of f over the elements of each item. */
function meanPerItem(length: number, batch: number, f: (i: number, item: number) => number): Float64Array {
  const size = length / batch;
  const out = new Float64Array(batch);
  for (let i = 0; i < length; i++) out[Math.floor(i / size)] += f(i, Math.floor(i / size)) / size;
  return out;
}
