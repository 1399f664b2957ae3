/**
 * Parity with Analytic-DPM: its samplers on a mixture of Gaussians with exact noise prediction, and its trajectories.
 */
import type { Directory } from '../../../loading/directory.ts';
import * as a from '../../../sampler/analytic/index.ts';
import { clipped } from '../../../sampler/parameterisation/clip.ts';
import { ddim } from '../../../sampler/solvers/ddim.ts';
import { ddpm } from '../../../sampler/solvers/ddpm.ts';
import type { Denoiser } from '../../../sampler/parameterisation/denoiser.ts';
import { HostSpace, type HostVec } from '../../../sampler/hostVec.ts';
import { runSolver } from '../../../sampler/loop.ts';
import { NoiseSchedule, vpLevel } from '../../../sampler/schedule/schedule.ts';
import type { Solver, Transition } from '../../../sampler/solver.ts';
import { mixtureDenoiser, type Mixture } from './mixture.ts';
import { OriginalCase, type CaseResult } from './recorded.ts';

interface SamplerConfig {
  gmm: Mixture;
  N: number;
  betas: 'linear' | 'cosine';
  sampler: 'ddpm_ms_eps' | 'ddim_ms_eps' | 'ddpm_naive' | 'ddim_naive';
  kw: {
    sample_steps: number;
    eta?: number;
    steps_type?: string;
    clip_sigma_idx?: number;
    clip_pixel?: number;
    small_sigma?: boolean;
    clip_denoise?: boolean;
  };
}

/** ᾱ_n for n = 0 … N, ᾱ₀ = 1. */
function alphaBarsOf(name: 'linear' | 'cosine', n: number): number[] {
  const options = { numTrainTimesteps: n, precision: 'f64' } as const;
  const schedule =
    name === 'linear'
      ? new NoiseSchedule({ ...options, betaStart: 0.1 / n, betaEnd: 20 / n })
      : new NoiseSchedule({ ...options, betaSchedule: 'squaredcos_cap_v2' });
  return [1, ...schedule.alphasCumprod];
}

function stepsOf(type: string, alphaBar: number[], gamma: number[], count: number): number[] {
  const n = alphaBar.length - 1;
  if (type === 'linear') return a.linearTrajectory(n, count);
  if (type === 'quad_ddim') return a.quadraticTrajectory(n, count);
  if (type === 'dp_seg') return a.analyticTrajectory(alphaBar, gamma, count);
  return a.powerTrajectory(n, count, Number(type.replace('power', '').replace('_', '')));
}

/** The indices, the variances before and after clipping, what the model is given, and the end. */
export async function runAnalyticSampler(dir: Directory): Promise<CaseResult> {
  const recording = await OriginalCase.open<SamplerConfig>(dir);
  const { gmm, N, betas, sampler, kw } = recording.config;
  const alphaBar = alphaBarsOf(betas, N);
  const gamma = [NaN, ...recording.tensor('in.gamma').data];
  const steps = stepsOf(kw.steps_type ?? 'linear', alphaBar, gamma, kw.sample_steps).toReversed();
  const pairs = steps.map((r, i): [number, number] => [r, steps[i + 1] ?? 0]);
  const transitions = pairs.map(([r, s]): Transition => {
    // counted from 0, so that −1 is the picture, and the step from 0 is the last, without noise
    return { from: vpLevel(r - 1, alphaBar[r]), to: vpLevel(s - 1, alphaBar[s]) };
  });
  const naive = sampler.endsWith('naive');
  const mean = sampler.startsWith('ddpm') ? 'ddpm' : 'ddim';
  const clipBelow = steps.toReversed()[kw.clip_sigma_idx ?? 0] - 1;
  const options = { mean, eta: kw.eta, clipBelow, clipPixels: kw.clip_pixel } as const;
  const solvers: Record<SamplerConfig['sampler'], () => Solver> = {
    ddpm_naive: () => ddpm({ varianceType: kw.small_sigma ? 'fixed_small' : 'fixed_large' }),
    ddim_naive: () => ddim({ eta: kw.eta }),
    ddpm_ms_eps: () => a.analyticDpm((level) => gamma[level.timestep + 1], options),
    ddim_ms_eps: () => a.analyticDpm((level) => gamma[level.timestep + 1], options),
  };
  const asked: number[] = [];
  const exact = clipped(mixtureDenoiser(gmm));
  const denoiser: Denoiser = (x, level, signal) => {
    asked.push(...(x as HostVec).data);
    return exact(x, level, signal);
  };
  const start = recording.tensor('in.x_T');
  const space = new HostSpace('f64');
  const x = space.vec(start.data, start.shape[0]);
  let draw = 0;
  const count = recording.tensor('draws').shape[0];
  // DDIM draws at its last step too, times 0
  const noise = (): HostVec => space.vec(draw < count ? recording.item('draws', draw++) : start.data, x.batch);
  const final = await runSolver({ x, denoiser, solver: solvers[sampler](), transitions, noise });
  recording.same(
    'r',
    pairs.map(([r]) => r),
  );
  recording.same(
    's',
    pairs.map(([, s]) => s),
  );
  const free = transitions.map((step, i) => {
    if (step.to.sigma === 0) return 0;
    const small = (mean === 'ddpm' ? 1 : (kw.eta ?? 0) ** 2) * a.smallVariance(step);
    return naive ? small : a.analyticVariance(step, gamma[pairs[i][0]], options);
  });
  const limit = a.pixelVariance(kw.clip_pixel ?? 2);
  const kept = free.map((v, i) => (transitions[i].to.timestep < clipBelow ? Math.min(v, limit) : v));
  recording.compare('sigma2_before_pixel_clip', free);
  recording.compare('sigma2', kw.clip_sigma_idx ? kept : free);
  recording.compare('model_x', asked);
  recording.compare('final', (final as HostVec).data);
  if (draw !== count) recording.fail();
  return recording.result();
}

interface TrajectoryConfig {
  N: number;
  Ks: number[];
  n_bad: number;
  M: number;
  nelbo_Ks: number[];
}

/** From here on a recorded cost is infinite. */
const INFINITE = 1e30;
/** What the recording puts where estimates are poor, and what its bound starts from. */
const [POOR_GAMMA, BOUND] = [1.003, 1.25];

/** Trajectories, their costs, the variances of single steps, and the paths of cheapest bound. */
export async function runAnalyticTrajectories(dir: Directory): Promise<CaseResult> {
  const recording = await OriginalCase.open<TrajectoryConfig>(dir);
  const { N, Ks, n_bad, M, nelbo_Ks } = recording.config;
  for (const name of ['linear', 'cosine'] as const) {
    const alphaBar = alphaBarsOf(name, N);
    const gamma = [NaN, ...recording.tensor(`in.gamma_${name}`).data];
    const poor = gamma.map((g, n) => (n > N - n_bad ? POOR_GAMMA : g));
    for (const K of Ks) {
      for (const type of ['linear', 'power2_', 'quad_ddim', 'dp_seg'])
        recording.same(`${name}.${type}${K}`, stepsOf(type, alphaBar, gamma, K));
      recording.same(`${name}.dp_seg_bad${K}`, stepsOf('dp_seg', alphaBar, poor, K));
    }
    const cost = a.analyticCost(alphaBar, gamma);
    const F = recording.tensor(`out.${name}.F`).data;
    const costs = F.map((want, i) => (want >= INFINITE ? want : cost(Math.floor(i / N) + 1, (i % N) + 1)));
    recording.compare(`${name}.F`, costs);
    const singles = Array.from({ length: N }, (_, k): Transition => {
      return { from: vpLevel(k, alphaBar[k + 1]), to: vpLevel(k - 1, alphaBar[k]) };
    });
    recording.compare(
      `${name}.cov_x0_clamped`,
      singles.map(({ from }, k) => a.pictureVariance(from, gamma[k + 1])),
    );
    recording.compare(`${name}.sigma2_small`, singles.map(a.smallVariance));
    recording.compare(
      `${name}.sigma2_star`,
      singles.map((step, k) => a.analyticVariance(step, gamma[k + 1], {})),
    );
  }
  const F = recording.tensor('in.nelbo_F').data;
  for (const K of nelbo_Ks) {
    const found = a.cheapestPath(0, M, K, (s, r) => F[s * (M + 1) + r]);
    recording.same(`nelbo.path${K}`, found.path);
    recording.compare(`nelbo.value${K}`, [BOUND + found.cost]);
  }
  return recording.result();
}
