/** Parity with k-diffusion's samplers and sigma grids on a mixture of Gaussians with exact denoiser. */
import type { Directory } from '../../../loading/directory.ts';
import type { Denoiser } from '../../../sampler/parameterisation/denoiser.ts';
import { HostSpace, type HostVec } from '../../../sampler/hostVec.ts';
import * as k from '../../../sampler/kdiffusion/index.ts';
import { runSolver } from '../../../sampler/loop.ts';
import type { NoiseSource, Solver } from '../../../sampler/solver.ts';
import { mixtureDenoiser, type Mixture } from './mixture.ts';
import { OriginalCase, type CaseResult } from './recorded.ts';

interface SigmaConfig {
  type: 'karras' | 'exponential' | 'polyexponential' | 'vp';
  n: number;
  sigma_min: number;
  sigma_max: number;
  rho?: number;
  beta_d?: number;
  beta_min?: number;
  eps_s?: number;
}

interface Run {
  sampler: string;
  noise: boolean;
  sigmas?: SigmaConfig;
  sigma_min?: number;
  sigma_max?: number;
  n?: number;
  kw?: Record<string, number | string>;
}

interface SamplerConfig {
  gmm: Mixture;
  sigmas: SigmaConfig;
  runs: Record<string, Run>;
}

const NAMES: Readonly<Record<string, string>> = {
  eta: 'eta',
  s_noise: 'sNoise',
  s_churn: 'sChurn',
  s_tmin: 'sTmin',
  s_tmax: 'sTmax',
  r: 'r',
  order: 'order',
  solver_type: 'solverType',
  rtol: 'rtol',
  atol: 'atol',
  pcoeff: 'pCoeff',
  icoeff: 'iCoeff',
  dcoeff: 'dCoeff',
  accept_safety: 'acceptSafety',
  h_init: 'hInit',
};

/** An option that the solver does not know would change the result unseen. */
function optionsOf(kw: Run['kw'] = {}): Record<string, never> {
  return Object.fromEntries(
    Object.entries(kw).map(([name, value]) => {
      if (NAMES[name]) return [NAMES[name], value];
      throw new Error(`k-diffusion case: expected one of ${Object.keys(NAMES).join(', ')}, got ${name}`);
    }),
  ) as Record<string, never>;
}

function sigmasOf({ type, n, sigma_min: sigmaMin, sigma_max: sigmaMax, rho, ...vp }: SigmaConfig): Float64Array {
  if (type === 'karras') return k.karrasSigmas(n, { sigmaMin, sigmaMax, rho });
  if (type === 'exponential') return k.exponentialSigmas(n, { sigmaMin, sigmaMax });
  if (type === 'polyexponential') return k.polyexponentialSigmas(n, { sigmaMin, sigmaMax, rho });
  return k.vpSigmas(n, { betaD: vp.beta_d, betaMin: vp.beta_min, epsS: vp.eps_s });
}

/** By the name of `sample_…`; made from the run's sigmas and options. */
const SOLVERS: Readonly<Record<string, (sigmas: Float64Array, options: Record<string, never>) => Solver>> = {
  euler: (s, o) => k.euler({ ...o, numInferenceSteps: s.length - 1 }),
  heun: (s, o) => k.heun({ ...o, numInferenceSteps: s.length - 1 }),
  dpm_2: (s, o) => k.dpm2({ ...o, numInferenceSteps: s.length - 1 }),
  euler_ancestral: (_s, o) => k.eulerAncestral(o),
  dpm_2_ancestral: (_s, o) => k.dpm2Ancestral(o),
  dpmpp_2s_ancestral: (_s, o) => k.dpmpp2sAncestral(o),
  dpmpp_sde: (_s, o) => k.dpmppSde(o),
  lms: (s, o) => k.lms(s, o),
  dpmpp_2m: (s) => k.dpmpp2m(s),
  dpmpp_2m_sde: (s, o) => k.dpmpp2mSde(s, o),
  dpmpp_3m_sde: (s, o) => k.dpmpp3mSde(s, { ...o, publishedThirdOrder: true }),
};

/** These draw once a step in the original even where they add nothing; here only where they use it. */
const DRAWS_EVERY_STEP = ['euler', 'heun', 'dpm_2'];

interface Trace {
  /** sigma of every evaluation. */
  sigmas: number[];
  /** First state and picture of every step. */
  x: number[];
  denoised: number[];
}

/** Records what is asked of a denoiser. */
function traced(denoise: Denoiser, trace: Trace): { denoise: Denoiser; nextStep(): void } {
  let first = true;
  return {
    nextStep: () => void (first = true),
    denoise: async (x, level, signal) => {
      trace.sigmas.push(level.sigma);
      const prediction = await denoise(x, level, signal);
      if (first) {
        trace.x.push(...(x as HostVec).data);
        trace.denoised.push(...(prediction.x0.materialise() as HostVec).data);
      }
      first = false;
      return prediction;
    },
  };
}

/**
 * Replays the runs of a case: final state, states and pictures of every step, sigma of every evaluation, sigma grid.
 */
export async function runKDiffusionSampler(dir: Directory): Promise<CaseResult> {
  const recording = await OriginalCase.open<SamplerConfig>(dir);
  const { gmm, runs } = recording.config;
  const start = recording.tensor('in.noise');
  const space = new HostSpace('f64');
  let draws = 0;
  for (const [name, run] of Object.entries(runs)) {
    const isGrid = run.sampler !== 'dpm_fast' && run.sampler !== 'dpm_adaptive';
    const range = { sigmaMin: run.sigma_min ?? 0, sigmaMax: run.sigma_max ?? 0 };
    const plan = isGrid ? undefined : k.dpmFastPlan(run.n ?? 3, range);
    const sigmas = plan?.sigmas ?? sigmasOf(run.sigmas ?? recording.config.sigmas);
    const x = space.vec(
      start.data.map((v) => v * sigmas[0]),
      start.shape[0],
    );
    const trace: Trace = { sigmas: [], x: [], denoised: [] };
    const { denoise, nextStep } = traced(mixtureDenoiser(gmm), trace);
    let step = 0;
    const noise: NoiseSource = () => {
      const i = DRAWS_EVERY_STEP.includes(run.sampler) ? step : draws++;
      return space.vec(recording.item('draws', i), x.batch);
    };
    const options = optionsOf(run.kw);
    if (run.sampler === 'dpm_adaptive') {
      await adaptive(recording, name, { ...range, ...options, x, denoiser: denoise, noise }, trace, nextStep);
      continue;
    }
    const solver = plan ? k.dpmFast(plan, options) : SOLVERS[run.sampler](sigmas, options);
    const transitions = k.veTransitions(sigmas);
    const onStep = (): void => {
      step++;
      nextStep();
    };
    const final = await runSolver({ x, denoiser: denoise, solver, transitions, noise, onStep });
    recording.compare(`${name}.final`, (final as HostVec).data);
    recording.compare(`${name}.x`, trace.x);
    recording.compare(`${name}.denoised`, trace.denoised);
    recording.compare(`${name}.model_sigma`, trace.sigmas);
    if (recording.has(`out.${name}.sigmas`)) recording.compare(`${name}.sigmas`, sigmas);
    if (recording.has(`out.${name}.noise_sampler_args`)) {
      // nothing here depends on the pairs of sigmas that the original's noise source is told
      recording.ignore(`${name}.noise_sampler_args`);
    }
    if (!DRAWS_EVERY_STEP.includes(run.sampler) && draws !== (run.noise ? recording.tensor('draws').shape[0] : 0))
      recording.fail();
  }
  return recording.result();
}

async function adaptive(
  recording: OriginalCase<SamplerConfig>,
  name: string,
  options: k.DpmAdaptiveOptions,
  trace: Trace,
  nextStep: () => void,
): Promise<void> {
  const [after, counts]: [number[], { accepted: number; refused: number }] = [[], { accepted: 0, refused: 0 }];
  const final = await k.dpmAdaptive({
    ...options,
    onTrial: ({ x, accepted }) => {
      after.push(...(x as HostVec).data);
      counts[accepted ? 'accepted' : 'refused']++;
      nextStep();
    },
  });
  const { accepted, refused } = counts;
  recording.compare(`${name}.final`, (final as HostVec).data);
  recording.compare(`${name}.x`, after);
  recording.compare(`${name}.denoised`, trace.denoised);
  recording.compare(`${name}.model_sigma`, trace.sigmas);
  recording.same(`${name}.steps_nfe_accept_reject`, [accepted + refused, trace.sigmas.length, accepted, refused]);
  if (recording.has(`out.${name}.noise_sampler_args`)) recording.ignore(`${name}.noise_sampler_args`);
}

/** The named grids of sigmas. */
export async function runKDiffusionSigmas(dir: Directory): Promise<CaseResult> {
  const recording = await OriginalCase.open<{ schedules: SigmaConfig[] }>(dir);
  recording.config.schedules.forEach((schedule, i) => recording.compare(`${i}`, sigmasOf(schedule)));
  return recording.result();
}
