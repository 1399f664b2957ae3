/** Parity with the authors' DPM-Solver on a mixture of Gaussians with exact noise prediction. */
import type { Directory } from '../../../loading/directory.ts';
import { pairOf, guided } from '../../../sampler/guidance/guidance.ts';
import { parameterise, samplePrediction, type Denoiser } from '../../../sampler/parameterisation/denoiser.ts';
import * as dpm from '../../../sampler/dpmSolver/index.ts';
import { HostSpace, type HostVec } from '../../../sampler/hostVec.ts';
import { runSolver } from '../../../sampler/loop.ts';
import { NoiseSchedule, type NoiseLevel } from '../../../sampler/schedule/schedule.ts';
import type { Solver, Transition } from '../../../sampler/solver.ts';
import { LinearForm, type Vec } from '../../../sampler/vec.ts';
import { componentOf, mixtureDenoiser, perItem, score, type Mixture } from './mixture.ts';
import { OriginalCase, type CaseResult } from './recorded.ts';

interface ScheduleConfig {
  type: 'linear' | 'cosine' | 'discrete';
  b0?: number;
  b1?: number;
  betas?: 'linear' | 'scaled_linear' | 'cosine';
  N?: number;
}

interface SampleConfig {
  steps: number;
  order: 1 | 2 | 3;
  method: 'singlestep' | 'singlestep_fixed' | 'multistep' | 'adaptive';
  skip_type?: dpm.SkipType;
  t_start?: number;
  t_end?: number;
  solver_type?: 'dpmsolver' | 'taylor';
  lower_order_final?: boolean;
  denoise_to_zero?: boolean;
  atol?: number;
  rtol?: number;
}

interface Run {
  schedule: ScheduleConfig;
  algorithm_type: 'dpmsolver' | 'dpmsolver++';
  sample: SampleConfig;
  guidance_type?: 'classifier' | 'classifier-free';
  guidance_scale?: number;
  inverse?: boolean;
  x?: string;
  model_type?: 'noise' | 'x_start' | 'v' | 'score';
  solver_kw?: { dynamic_thresholding_ratio: number; thresholding_max_val: number };
}

interface RunsConfig {
  gmm: Mixture;
  defaults: Partial<Run>;
  runs: Record<string, Partial<Run>>;
}

const SCHEDULES = {
  linear: { betaSchedule: 'linear', betaStart: 1e-4, betaEnd: 0.02 },
  scaled_linear: { betaSchedule: 'scaled_linear', betaStart: 0.00085, betaEnd: 0.012 },
  cosine: { betaSchedule: 'squaredcos_cap_v2' },
} as const;

function scheduleOf({ type, b0, b1, betas = 'linear', N }: ScheduleConfig): dpm.ContinuousSchedule {
  if (type === 'linear') return dpm.linearVp(b0, b1);
  if (type === 'cosine') return dpm.cosineVp();
  return dpm.discreteVp(new NoiseSchedule({ ...SCHEDULES[betas], numTrainTimesteps: N, precision: 'f64' }));
}

/** The exact denoiser, asked as a network of another kind would answer. */
function modelOf(gmm: Mixture, type: Run['model_type'] = 'noise'): Denoiser {
  const exact = mixtureDenoiser(gmm);
  if (type === 'noise' || type === 'score') return exact;
  return async (x, level, signal) => {
    const { x0, eps } = await exact(x, level, signal);
    const v = LinearForm.of(eps, level.alpha).minus(x0, level.sigma);
    const out = (type === 'v' ? v : x0).materialise();
    return parameterise(() => out, type === 'v' ? 'v_prediction' : 'sample')(x, level, signal);
  };
}

/** Guidance towards component cond[b] of item b. */
function guidedModel(
  { guidance_type: type, guidance_scale: scale = 1, model_type }: Run,
  gmm: Mixture,
  cond: Float64Array,
) {
  const whole = modelOf(gmm, model_type);
  const one: Denoiser = async (x, level, signal) => {
    const { data, space, batch } = x as HostVec;
    const out = perItem(data, batch, (item, b) => {
      const s = score(componentOf(gmm, cond[b]), item, level);
      return s.map((si, i) => (item[i] + level.sigma ** 2 * si) / level.alpha);
    });
    return parameterise(() => space.vec(out, batch), samplePrediction)(x, level, signal);
  };
  if (type === 'classifier-free') return guided(pairOf(whole, one), scale);
  if (type !== 'classifier') return whole;
  const gradient = (x: Vec, level: NoiseLevel): Vec => {
    const { data, space, batch } = x as HostVec;
    const out = perItem(data, batch, (item, b) => {
      const all = score(gmm, item, level);
      return score(componentOf(gmm, cond[b]), item, level).map((s, i) => s - all[i]);
    });
    return space.vec(out, batch);
  };
  return dpm.classifierGuided(whole, gradient, scale);
}

/** Here the threshold is at least `max`, and items are divided by it. */
function thresholdedAt(
  denoiser: Denoiser,
  { dynamic_thresholding_ratio: ratio, thresholding_max_val: max }: NonNullable<Run['solver_kw']>,
): Denoiser {
  return async (x, level, signal) => {
    const { x0 } = await denoiser(x, level, signal);
    const kept = x.space.threshold(x0.scale(1 / max), ratio, Infinity);
    return parameterise(() => kept, samplePrediction)(x, level, signal);
  };
}

function planOf(run: Run, schedule: dpm.ContinuousSchedule): { solver: Solver; transitions: Transition[] } {
  const { steps, order, method, skip_type: skipType, t_start, t_end } = run.sample;
  const times = run.inverse ? { tStart: schedule.first, tEnd: schedule.end } : { tStart: t_start, tEnd: t_end };
  const options = { algorithmType: run.algorithm_type, solverType: run.sample.solver_type } as const;
  if (method === 'multistep') {
    const levels = dpm.spacedLevels(schedule, steps, { ...times, skipType });
    const { lower_order_final: lowerOrderFinal } = run.sample;
    const solver = dpm.dpmSolverMultistep(levels, { ...options, order, lowerOrderFinal, publishedThirdOrder: true });
    return { solver, transitions: dpm.transitionsOf(levels) };
  }
  const staged = (method === 'singlestep' ? dpm.fastSteps : dpm.fixedSteps)(schedule, steps, order, {
    ...times,
    skipType,
  });
  return { solver: dpm.dpmSolverSinglestep(staged, options), transitions: dpm.stagedTransitions(staged) };
}

/** Replays all runs of a case: states of every step, the end, the count and the labels of the evaluations. */
export async function runDpmSolver(dir: Directory): Promise<CaseResult> {
  const recording = await OriginalCase.open<RunsConfig>(dir);
  const { gmm, defaults, runs } = recording.config;
  const space = new HostSpace('f64');
  for (const [name, own] of Object.entries(runs)) {
    const run = { ...defaults, ...own } as Run;
    const schedule = scheduleOf(run.schedule);
    const labels: number[] = [];
    const guidedOne = guidedModel(run, gmm, recording.tensor('in.cond').data);
    const model = run.solver_kw ? thresholdedAt(guidedOne, run.solver_kw) : guidedOne;
    const denoiser: Denoiser = (x, level, signal) => {
      labels.push(level.timestep);
      return model(x, level, signal);
    };
    const start = recording.tensor(`in.${run.x ?? 'x_T'}`);
    const x = space.vec(start.data, start.shape[0]);
    const { t_start: tStart, t_end: tEnd = schedule.first, atol, rtol } = run.sample;
    let final: Vec;
    if (run.sample.method === 'adaptive') {
      const options = { algorithmType: run.algorithm_type, solverType: run.sample.solver_type } as const;
      const order = run.sample.order as 2 | 3;
      final = await dpm.dpmSolverAdaptive({ x, denoiser, schedule, tStart, tEnd, order, atol, rtol, ...options });
    } else {
      const states = run.sample.method === 'multistep' ? [...x.data] : [];
      const onStep = async ({ state }: { state(): Promise<{ x: number[] }> }): Promise<void> => {
        states.push(...(await state()).x);
      };
      final = await runSolver({ x, denoiser, onStep, ...planOf(run, schedule) });
      if (run.sample.denoise_to_zero) {
        final = (await denoiser(final, dpm.levelAt(schedule, tEnd))).x0.materialise();
        states.push(...(final as HostVec).data);
      }
      recording.compare(`${name}.x`, states);
    }
    recording.compare(`${name}.final`, (final as HostVec).data);
    recording.compare(`${name}.t_model`, labels);
    recording.same(`${name}.nfe`, [labels.length]);
  }
  return recording.result();
}

interface ConvergenceConfig {
  gmm: Mixture;
  schedule: ScheduleConfig;
  t_end: number;
  skip_type: dpm.SkipType;
  steps: number[];
}

/** Ends and errors of every method over growing numbers of steps. */
export async function runDpmConvergence(dir: Directory): Promise<CaseResult> {
  const recording = await OriginalCase.open<ConvergenceConfig>(dir);
  const { gmm, steps, t_end, skip_type, schedule: config } = recording.config;
  const schedule = scheduleOf(config);
  const start = recording.tensor('in.x_T');
  const exact = recording.tensor('out.reference').data;
  const x = new HostSpace('f64').vec(start.data, start.shape[0]);
  for (const kind of ['n', 'pp'])
    for (const order of [1, 2, 3] as const)
      for (const method of ['sf', 'ms']) {
        const [finals, errors]: [number[], number[]] = [[], []];
        for (const n of steps) {
          const plan = planOf(
            {
              schedule: config,
              algorithm_type: kind === 'n' ? 'dpmsolver' : 'dpmsolver++',
              sample: {
                steps: n,
                order,
                skip_type,
                t_end,
                method: method === 'sf' ? 'singlestep_fixed' : 'multistep',
                lower_order_final: false,
              },
            },
            schedule,
          );
          const { data } = (await runSolver({ x, denoiser: mixtureDenoiser(gmm), ...plan })) as HostVec;
          finals.push(...data);
          errors.push(Math.max(...Array.from(data, (v, i) => Math.abs(v - exact[i]))));
        }
        recording.compare(`${kind}${order}.${method}.final`, finals);
        recording.compare(`${kind}${order}.${method}.max_error`, errors);
      }
  recording.ignore('reference'); // the exact solution, by which errors are measured here too
  return recording.result();
}

/** Where the recorded spacings end. */
const STEPS_END = 1e-3;

/** Every function of every schedule, and the three spacings. */
export async function runDpmSchedules(dir: Directory): Promise<CaseResult> {
  const recording = await OriginalCase.open<{ schedules: Record<string, ScheduleConfig> }>(dir);
  const [times, lambdas] = [recording.tensor('in.t').data, recording.tensor('in.lam').data];
  for (const [name, config] of Object.entries(recording.config.schedules)) {
    const schedule = scheduleOf(config);
    const levels = [...times].map((t) => dpm.levelAt(schedule, Math.min(t, schedule.end)));
    const log = [...times].map((t) => schedule.logAlpha(Math.min(t, schedule.end)));
    recording.compare(`${name}.log_alpha`, log);
    recording.compare(
      `${name}.std`,
      levels.map((l) => l.sigma),
    );
    recording.compare(`${name}.lambda`, levels.map(dpm.halfLogSnr));
    recording.compare(
      `${name}.inverse_lambda`,
      [...lambdas].map((l) => schedule.timeOf(l)),
    );
    recording.compare(`${name}.T_totalN`, [schedule.end, Math.round(1 / schedule.first)]);
    for (const skipType of dpm.SKIP_TYPES) {
      const n = recording.tensor(`out.${name}.steps.${skipType}`).data.length - 1;
      recording.compare(`${name}.steps.${skipType}`, dpm.spacedTimes(schedule, n, { skipType, tEnd: STEPS_END }));
    }
  }
  return recording.result();
}
