/** Parity with closed forms of a mixture of Gaussians, with solutions of its flows, and with its likelihood. */
import type { Directory } from '../../../loading/directory.ts';
import { guided, pairOf } from '../../../sampler/guidance/guidance.ts';
import { parameterise, samplePrediction, type Denoiser } from '../../../sampler/parameterisation/denoiser.ts';
import { classifierGuided } from '../../../sampler/dpmSolver/index.ts';
import { HostSpace, type HostVec } from '../../../sampler/hostVec.ts';
import { logLikelihood } from '../../../sampler/sde/likelihood.ts';
import { probabilityFlow, veSde, vpSde, type Sde } from '../../../sampler/sde/index.ts';
import * as m from './mixture.ts';
import { OriginalCase, type CaseResult, type Recorded } from './recorded.ts';

interface ExactConfig {
  gmm: m.Mixture;
  beta_0: number;
  beta_1: number;
  times: number[];
  ode_times: number[];
  eps: number;
  cfg_scale: number;
  cls_scale: number;
  ve_sigmas: number[];
}

/** Tolerance at which flows are solved here. */
const FINE = 1e-11;
/** With a divergence by central differences, whose own error a finer tolerance would chase. */
const LIKELIHOOD = 1e-8;

/** Items of [N, D]. */
function rows({ data, shape }: Recorded): Float64Array[] {
  const size = data.length / shape[0];
  return Array.from({ length: shape[0] }, (_, i) => data.subarray(i * size, (i + 1) * size));
}

/** Item b from component classes[b] alone. */
function conditional(gmm: m.Mixture, classes: ArrayLike<number>): Denoiser {
  return async (x, level, signal) => {
    const { data, space, batch } = x as HostVec;
    const out = m.perItem(data, batch, (item, b) => {
      const s = m.score(m.componentOf(gmm, classes[b]), item, level);
      return s.map((si, i) => (item[i] + level.sigma ** 2 * si) / level.alpha);
    });
    return parameterise(() => space.vec(out, batch), samplePrediction)(x, level, signal);
  };
}

/** Densities and scores at each time, flows along all times, guided ones too, and likelihoods. */
export async function runExact(dir: Directory): Promise<CaseResult> {
  const recording = await OriginalCase.open<ExactConfig>(dir);
  const { gmm, beta_0, beta_1, times, ode_times, cfg_scale, cls_scale, ve_sigmas } = recording.config;
  const sde = vpSde(beta_0, beta_1, times.length);
  const points = rows(recording.tensor('in.x'));
  const levels = times.map((t) => sde.level(t));
  const dims = points[0].length;
  const clean = { alpha: 1, sigma: 0 };
  const table = (f: (x: Float64Array, at: { alpha: number; sigma: number }) => Iterable<number>): number[] =>
    levels.flatMap((at) => points.flatMap((x) => [...f(x, at)]));
  recording.compare(
    'alpha_t',
    levels.map((l) => l.alpha),
  );
  recording.compare(
    'sigma_t',
    levels.map((l) => l.sigma),
  );
  recording.compare(
    'beta_t',
    times.map((t) => -2 * sde.drift(t)),
  );
  recording.compare(
    'logp0',
    points.map((x) => m.logSumExp(m.logTerms(gmm, x, clean))),
  );
  recording.compare(
    'logp_t',
    table((x, at) => [m.logSumExp(m.logTerms(gmm, x, at))]),
  );
  recording.compare(
    'score_t',
    table((x, at) => m.score(gmm, x, at)),
  );
  recording.compare(
    'log_post0_t',
    table((x, at) => [m.logTerms(gmm, x, at)[0] - m.logSumExp(m.logTerms(gmm, x, at))]),
  );
  const unit = (i: number): Float64Array => Float64Array.from({ length: dims }, (_, j) => (i === j ? 1 : 0));
  const trace = (x: Float64Array, at: { alpha: number; sigma: number }): number =>
    Array.from({ length: dims }, (_, i) => m.scoreJacobian(gmm, x, unit(i), at)[i]).reduce((a, b) => a + b);
  recording.compare(
    'trace_jac_score_t',
    table((x, at) => [trace(x, at)]),
  );
  const mean = Array.from({ length: dims }, (_, i) => gmm.weights.reduce((sum, w, k) => sum + w * gmm.means[k][i], 0));
  recording.compare('data_mean', mean);
  const covariance = mean.flatMap((mi, i) =>
    mean.map((mj, j) =>
      gmm.weights.reduce(
        (sum, w, k) =>
          sum + w * ((gmm.means[k][i] - mi) * (gmm.means[k][j] - mj) + (i === j ? gmm.variances[k][i] : 0)),
        0,
      ),
    ),
  );
  recording.compare('data_cov', covariance);
  await compareFlows(recording, sde, ode_times, cfg_scale, cls_scale);
  const [largest, smallest] = [ve_sigmas[0], ve_sigmas[ve_sigmas.length - 1]];
  const ve = veSde(smallest, largest, ve_sigmas.length);
  const veTimes = ve_sigmas.map((sigma) => Math.log(sigma / smallest) / Math.log(largest / smallest));
  recording.compare(
    've_ode',
    await along(recording.tensor('in.x_T'), largest, ve, m.mixtureDenoiser(gmm), veTimes),
    'ODE',
  );
  await compareLikelihood(recording, sde);
  return recording.result();
}

/** States of a flow at each of falling times, from noise times `scale`. */
async function along(start: Recorded, scale: number, sde: Sde, denoiser: Denoiser, times: number[]): Promise<number[]> {
  let x = new HostSpace('f64').vec(
    start.data.map((z) => z * scale),
    start.shape[0],
  );
  const states = [...x.data];
  for (let i = 1; i < times.length; i++) {
    const options = { x, sde, denoiser, from: times[i - 1], to: times[i], rtol: FINE, atol: FINE };
    x = (await probabilityFlow(options)).x as HostVec;
    states.push(...x.data);
  }
  return states;
}

async function compareFlows(
  recording: OriginalCase<ExactConfig>,
  sde: Sde,
  times: number[],
  cfgScale: number,
  clsScale: number,
): Promise<void> {
  const { gmm } = recording.config;
  const [start, classes] = [recording.tensor('in.x_T'), recording.tensor('in.cls').data];
  const whole = m.mixtureDenoiser(gmm);
  const one = conditional(gmm, classes);
  const byClassifier = classifierGuided(
    whole,
    (x, level) => {
      const { data, space, batch } = x as HostVec;
      const gradient = m.perItem(data, batch, (item, b) => {
        const all = m.score(gmm, item, level);
        return m.score(m.componentOf(gmm, classes[b]), item, level).map((s, i) => s - all[i]);
      });
      return space.vec(gradient, batch);
    },
    clsScale,
  );
  recording.compare('vp_ode', await along(start, 1, sde, whole, times), 'ODE');
  recording.compare('vp_ode_cfg', await along(start, 1, sde, guided(pairOf(whole, one), cfgScale), times), 'ODE');
  recording.compare('vp_ode_cls', await along(start, 1, sde, byClassifier, times), 'ODE');
}

/** The divergence exactly, as the mean over unit probes times √D. */
async function compareLikelihood(recording: OriginalCase<ExactConfig>, sde: Sde): Promise<void> {
  const { gmm, eps: end } = recording.config;
  const count = recording.tensor('out.ll_exact').shape[0];
  const points = rows(recording.tensor('in.x')).slice(0, count);
  const dims = points[0].length;
  const space = new HostSpace('f64');
  const x = space.vec(
    points.flatMap((p) => [...p]),
    count,
  );
  const delta = Array<number>(count).fill(0);
  let z: HostVec = x;
  const tails = (v: HostVec): number[] =>
    points.map((_, b) =>
      m.logSumExp([
        -(v.data.subarray(b * dims, (b + 1) * dims) as Float64Array).reduce((s, q) => s + q * q, 0) / 2 -
          (dims / 2) * Math.log(2 * Math.PI),
      ]),
    );
  for (let i = 0; i < dims; i++) {
    const probe = space.vec(
      Float64Array.from({ length: x.length }, (_, j) => (j % dims === i ? 1 : 0)),
      count,
    );
    const found = await logLikelihood({
      x,
      sde,
      denoiser: m.mixtureDenoiser(gmm),
      probe,
      end,
      rtol: LIKELIHOOD,
      atol: LIKELIHOOD,
    });
    z = found.z as HostVec;
    const prior = tails(z);
    found.logLikelihood.forEach((l, b) => (delta[b] += l - prior[b]));
  }
  const prior = tails(z);
  const last = sde.level(1);
  const exactPrior = points.map((_, b) =>
    m.logSumExp(m.logTerms(gmm, z.data.subarray(b * dims, (b + 1) * dims), last)),
  );
  recording.compare('ll_z', z.data, 'LIKELIHOOD');
  recording.compare('ll_delta_logp', delta, 'LIKELIHOOD');
  recording.compare(
    'll_normal_prior',
    delta.map((d, b) => d + prior[b]),
    'LIKELIHOOD',
  );
  recording.compare(
    'll_true_prior',
    delta.map((d, b) => d + exactPrior[b]),
    'LIKELIHOOD',
  );
  recording.compare(
    'll_exact',
    points.map((p) => m.logSumExp(m.logTerms(gmm, p, sde.level(end)))),
  );
}

interface LikelihoodConfig {
  gmm: m.Mixture;
  sigma_min: number;
  sigma_max: number;
}

/** k-diffusion's log-likelihood: the variance-exploding flow from sigma_min to sigma_max. */
export async function runKDiffusionLikelihood(dir: Directory): Promise<CaseResult> {
  const recording = await OriginalCase.open<LikelihoodConfig>(dir);
  const { gmm, sigma_min, sigma_max } = recording.config;
  const { data, shape } = recording.tensor('in.x');
  const space = new HostSpace('f64');
  const x = space.vec(data, shape[0]);
  const probe = space.vec(
    recording.item('draws', 0).map((bit) => 2 * bit - 1),
    shape[0],
  );
  const sde = veSde(sigma_min, sigma_max);
  const found = await logLikelihood({
    x,
    sde,
    denoiser: m.mixtureDenoiser(gmm),
    probe,
    end: 0,
    rtol: LIKELIHOOD,
    atol: LIKELIHOOD,
  });
  recording.compare('log_likelihood', found.logLikelihood);
  const at = { alpha: 1, sigma: sigma_min };
  recording.compare(
    'exact_logp_sigma_min',
    rows({ data, shape, dtype: 'F64' }).map((p) => m.logSumExp(m.logTerms(gmm, p, at))),
  );
  return recording.result();
}
