/** Parity with score_sde and NCSNv2 where the score is exact: predictor–corrector, ODE, likelihood, Langevin. */
import type { Directory } from '../../../loading/directory.ts';
import { HostSpace, type HostVec } from '../../../sampler/hostVec.ts';
import { bitsPerDim, logLikelihood } from '../../../sampler/sde/likelihood.ts';
import { runSolver } from '../../../sampler/loop.ts';
import * as s from '../../../sampler/sde/index.ts';
import type { NoiseSource } from '../../../sampler/solver.ts';
import { f32Flow } from './f32Flow.ts';
import { logSumExp, logTerms, mixtureDenoiser, type Mixture } from './mixture.ts';
import { OriginalCase, type CaseResult } from './recorded.ts';

export interface SdeConfig {
  type: 've' | 'vp' | 'subvp';
  N: number;
  beta_min?: number;
  beta_max?: number;
  sigma_min?: number;
  sigma_max?: number;
}

/** The process that a recording names. */
export function sdeOf({ type, N, beta_min, beta_max, sigma_min, sigma_max }: SdeConfig): s.Sde {
  if (type === 've') return s.veSde(sigma_min, sigma_max, N);
  return (type === 'vp' ? s.vpSde : s.subVpSde)(beta_min, beta_max, N);
}

interface PcConfig {
  gmm: Mixture;
  sde: SdeConfig;
  predictor: NonNullable<s.PredictorCorrectorOptions['predictor']>;
  corrector: NonNullable<s.PredictorCorrectorOptions['corrector']>;
  snr: number;
  n_steps: number;
  denoise: boolean;
  probability_flow?: boolean;
  continuous: boolean;
  eps: number;
}

/** The recorded draws, one after the other. */
function drawsOf(recording: OriginalCase<unknown>, space: HostSpace, batch: number, from = 0): NoiseSource {
  let next = from;
  return () => space.vec(recording.item('draws', next++), batch);
}

/** Every state after a corrector and after a predictor, with and without noise, and the end. */
export async function runPredictorCorrector(dir: Directory): Promise<CaseResult> {
  const recording = await OriginalCase.open<PcConfig>(dir);
  const { gmm, predictor, corrector, snr, n_steps, denoise, probability_flow, eps, continuous, ...rest } =
    recording.config;
  const sde = sdeOf(rest.sde);
  const space = new HostSpace('f64');
  const batch = recording.tensor('out.final').shape[0];
  const x = space.vec(
    recording.item('draws', 0).map((z) => z * sde.priorStd),
    batch,
  );
  const seen = { corrector: [] as number[][][], predictor: [] as number[][][] };
  const solver = s.predictorCorrector(sde, {
    predictor,
    corrector,
    snr,
    correctorSteps: n_steps,
    probabilityFlow: probability_flow,
    denoise,
    onMove: (kind, at, mean) => void seen[kind].push([[...(at as HostVec).data], [...(mean as HostVec).data]]),
  });
  const transitions = s.sdeTransitions(sde, eps, continuous);
  const denoiser = mixtureDenoiser(gmm);
  const final = await runSolver({ x, denoiser, solver, transitions, noise: drawsOf(recording, space, batch, 1) });
  recording.compare('final', (final as HostVec).data);
  const times = transitions.map(({ from }) => from.timestep);
  recording.compare('t', times, 'F32');
  recording.same('nfe_reported', [sde.steps * (n_steps + 1)]);
  for (const kind of ['corrector', 'predictor'] as const) {
    const moves = seen[kind].filter((_, i) => kind === 'predictor' || i % n_steps === n_steps - 1);
    if (!recording.has(`out.after_${kind}`)) continue;
    recording.compare(
      `after_${kind}`,
      moves.flatMap(([at]) => at),
    );
    recording.compare(
      `after_${kind}_mean`,
      moves.flatMap(([, mean]) => mean),
    );
  }
  return recording.result();
}

interface OdeConfig {
  gmm: Mixture;
  sde: SdeConfig;
  denoise: boolean;
  eps: number;
}

/** The probability flow from noise to pictures. */
export async function runSdeOde(dir: Directory): Promise<CaseResult> {
  const recording = await OriginalCase.open<OdeConfig>(dir);
  const { gmm, denoise, eps, ...rest } = recording.config;
  const sde = sdeOf(rest.sde);
  const start = recording.tensor('in.z');
  const x = new HostSpace('f64').vec(start.data, start.shape[0]);
  const denoiser = mixtureDenoiser(gmm);
  const { beta_min, beta_max } = rest.sde;
  const flow =
    beta_min !== undefined && beta_max !== undefined
      ? await f32Flow(x, sde, gmm, { beta_min, beta_max }, eps)
      : await s.probabilityFlow({ x, sde, denoiser, to: eps });
  let final = flow.x as HostVec;
  if (denoise) {
    const solver = s.predictorCorrector(sde, { corrector: 'none' });
    const transitions = [{ from: sde.level(eps), to: { timestep: 0, alpha: 1, sigma: 0 } }];
    final = (await runSolver({ x: final, denoiser, solver, transitions, noise: () => x })) as HostVec;
  }
  recording.compare('x', final.data);
  recording.same('nfe', [flow.evaluations]);
  return recording.result();
}

interface LikelihoodConfig {
  gmm: Mixture;
  sde: SdeConfig;
  inverse_scaler: 'identity' | 'uncenter';
  rtol: number;
  atol: number;
  eps: number;
}

/** Bits per dimension of each probe, latents, and the exact density. */
export async function runSdeLikelihood(dir: Directory): Promise<CaseResult> {
  const recording = await OriginalCase.open<LikelihoodConfig>(dir);
  const { gmm, rtol, atol, eps: end, inverse_scaler, ...rest } = recording.config;
  const sde = sdeOf(rest.sde);
  const space = new HostSpace('f64');
  const { data, shape } = recording.tensor('in.data');
  const [batch, size] = [shape[0], data.length / shape[0]];
  const x = space.vec(data, batch);
  const denoiser = mixtureDenoiser(gmm);
  const offset = inverse_scaler === 'identity' ? 8 : 7; // 7 − inverse_scaler(−1): the width of an 8-bit step, in bits
  const [bpd, z, counts]: [number[], number[], number[]] = [[], [], []];
  for (let p = 0; p < recording.tensor('in.probe').shape[0]; p++) {
    const probe = space.vec(recording.item('in.probe', p), batch);
    const found = await logLikelihood({ x, sde, denoiser, probe, end, rtol, atol });
    bpd.push(...bitsPerDim(found.logLikelihood, size).map((b) => b + offset));
    z.push(...(found.z as HostVec).data);
    counts.push(found.evaluations);
  }
  recording.compare('bpd', bpd);
  recording.compare('z', z);
  recording.same('nfe', counts);
  const exact = Array.from({ length: batch }, (_, b) =>
    logSumExp(logTerms(gmm, data.subarray(b * size, (b + 1) * size), sde.level(end))),
  );
  recording.compare('exact_logp_eps', exact);
  return recording.result();
}

interface AldConfig {
  gmm: Mixture;
  sigma_begin: number;
  sigma_end: number;
  num_classes: number;
  n_steps_each: number;
  step_lr: number;
  denoise: boolean;
}

/** Every state of annealed Langevin dynamics. */
export async function runAnnealedLangevin(dir: Directory): Promise<CaseResult> {
  const recording = await OriginalCase.open<AldConfig>(dir);
  const { gmm, sigma_begin, sigma_end, num_classes: n, n_steps_each, step_lr, denoise } = recording.config;
  const ratio = Math.log(sigma_end / sigma_begin);
  const sigmas = Array.from({ length: n }, (_, i) => sigma_begin * Math.exp((i / (n - 1)) * ratio));
  const space = new HostSpace('f64');
  const start = recording.tensor('in.x');
  const images: number[] = [];
  await s.annealedLangevin(space.vec(start.data, start.shape[0]), {
    sigmas,
    stepsEach: n_steps_each,
    stepSize: step_lr,
    denoise,
    denoiser: mixtureDenoiser(gmm),
    noise: drawsOf(recording, space, start.shape[0]),
    onMove: (x) => void images.push(...(x as HostVec).data),
  });
  recording.compare('sigmas', sigmas);
  recording.compare('images', images);
  return recording.result();
}
