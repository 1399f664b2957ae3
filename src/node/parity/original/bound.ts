/** Parity with Improved DDPM's single steps: forward process, posterior, model distribution, and the bound's terms. */
import type { Directory } from '../../../loading/directory.ts';
import { normalKl, pixelLogLikelihood } from '../../../sampler/iddpm/bound.ts';
import { posteriorTables } from '../../../sampler/iddpm/respacing.ts';
import { OriginalCase, type CaseResult } from './recorded.ts';
import { namedSchedule } from './tables.ts';

interface Variant {
  learn_sigma: boolean;
  noise_schedule: 'linear' | 'cosine';
  predict_xstart?: boolean;
  sigma_small?: boolean;
}

interface StepsConfig {
  T: number;
  variants: Record<string, Variant>;
}

type Case = OriginalCase<StepsConfig>;

/** Means of each item. */
function meanOf(values: readonly number[], batch: number): number[] {
  const size = values.length / batch;
  return Array.from({ length: batch }, (_, b) =>
    values.slice(b * size, (b + 1) * size).reduce((sum, v) => sum + v / size, 0),
  );
}

/** Everything about one variant on the given model output. */
function compareVariant(recording: Case, name: string, variant: Variant): void {
  const schedule = namedSchedule(variant.noise_schedule, recording.config.T);
  const { betas, alphasCumprod } = schedule;
  const tables = posteriorTables(schedule);
  const timesteps = [...recording.tensor('in.t').data];
  const [x0, noise] = [recording.tensor('in.x0'), recording.tensor('in.noise').data];
  const size = x0.data.length / timesteps.length;
  const output = recording.tensor('in.model_out').data;
  const large = betas.map((beta, t) => (t === 0 ? tables.variance[1] : beta));
  const keys = ['q_sample', 'q_post_mean', 'p_pred_xstart', 'p_mean', 'p_variance', 'p_log_variance'] as const;
  const out = Object.fromEntries(keys.map((key) => [key, [] as number[]])) as Record<(typeof keys)[number], number[]>;
  const [bound, prior]: [number[], number[]] = [[], []];
  x0.data.forEach((pixel, i) => {
    const b = Math.floor(i / size);
    const t = timesteps[b];
    const alphaBar = alphasCumprod[t];
    const x = Math.sqrt(alphaBar) * pixel + Math.sqrt(1 - alphaBar) * noise[i];
    const [predicted, u] = [output[b * 2 * size + (i % size)], output[b * 2 * size + size + (i % size)]];
    const guess = variant.predict_xstart ? predicted : (x - Math.sqrt(1 - alphaBar) * predicted) / Math.sqrt(alphaBar);
    const picture = Math.min(Math.max(guess, -1), 1);
    const fraction = (u + 1) / 2;
    const learned = fraction * Math.log(betas[t]) + (1 - fraction) * tables.logVarianceClipped[t];
    const fixed = variant.sigma_small ? tables.logVarianceClipped[t] : Math.log(large[t]);
    const logVariance = variant.learn_sigma ? learned : fixed;
    const mean = tables.meanX0[t] * picture + tables.meanXt[t] * x;
    const truth = tables.meanX0[t] * pixel + tables.meanXt[t] * x;
    out.q_sample.push(x);
    out.q_post_mean.push(truth);
    out.p_pred_xstart.push(picture);
    out.p_mean.push(mean);
    out.p_variance.push(!variant.learn_sigma && variant.sigma_small ? tables.variance[t] : Math.exp(logVariance));
    out.p_log_variance.push(logVariance);
    const kl = normalKl(truth, tables.logVarianceClipped[t], mean, logVariance);
    bound.push((t === 0 ? -pixelLogLikelihood(pixel, mean, logVariance / 2, 'f32') : kl) / Math.LN2);
    const last = alphasCumprod[alphasCumprod.length - 1];
    prior.push(normalKl(Math.sqrt(last) * pixel, Math.log(1 - last), 0, 0) / Math.LN2);
  });
  for (const key of keys) recording.compare(`${name}.${key}`, out[key]);
  const at = (table: Float64Array): number[] => timesteps.map((t) => table[t]);
  recording.compare(`${name}.q_post_var`, at(tables.variance));
  recording.compare(`${name}.q_post_logvar`, at(tables.logVarianceClipped));
  recording.compare(`${name}.vb`, meanOf(bound, timesteps.length), 'F32_SUM');
  recording.compare(`${name}.prior_bpd`, meanOf(prior, timesteps.length), 'F32_SUM');
}

/** All variants, and the two functions by themselves. */
export async function runIddpmSteps(dir: Directory): Promise<CaseResult> {
  const recording = await OriginalCase.open<StepsConfig>(dir);
  for (const [name, variant] of Object.entries(recording.config.variants)) compareVariant(recording, name, variant);
  const [mean, logScale] = [recording.tensor('in.dgl.mean').data, recording.tensor('in.dgl.log_scale').data];
  const pixels = [...recording.tensor('in.dgl.x').data];
  recording.compare(
    'dgl',
    pixels.map((x, i) => pixelLogLikelihood(x, mean[i], logScale[i], 'f32')),
  );
  const [m1, m2, v1, v2] = ['m1', 'm2', 'lv1', 'lv2'].map((key) => recording.tensor(`in.kl.${key}`).data);
  recording.compare(
    'normal_kl',
    m1.map((m, i) => normalKl(m, v1[i], m2[i], v2[i])),
  );
  return recording.result();
}
