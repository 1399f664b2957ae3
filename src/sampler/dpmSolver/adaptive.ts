/** DPM-Solver-12 and -23: steps in λ chosen from the difference of two orders. Lu et al. 2022, appendix C. */
import { InvalidArgumentError, throwIfAborted } from '../../engine/errors.ts';
import type { Denoiser } from '../denoiser.ts';
import type { Vec } from '../vec.ts';
import { halfLogSnr, levelAt, type ContinuousSchedule } from './schedules.ts';
import { firstStage, singlestep2, singlestep3, type Staged } from './singlestep.ts';
import type { StagedStep } from './timeSteps.ts';
import { choices, firstOrder, modelOutput, type DpmSolverOptions } from './update.ts';

/** What is needed and what may be chosen. */
export interface DpmSolverAdaptiveOptions extends DpmSolverOptions {
  /** The start, at the schedule's end or `tStart`. Not written to. */
  x: Vec;
  denoiser: Denoiser;
  schedule: ContinuousSchedule;
  /** Default the schedule's end. */
  tStart?: number;
  /** Default the schedule's first time. */
  tEnd?: number;
  /** 2 compares orders 1 and 2, 3 compares 2 and 3; default 3. */
  order?: 2 | 3;
  /** Absolute tolerance, > 0; default 0.0078, two 8-bit steps of a picture in −1 … 1. */
  atol?: number;
  /** Relative tolerance, > 0; default 0.05. */
  rtol?: number;
  /** First step in λ, > 0; default 0.05. */
  hInit?: number;
  signal?: AbortSignal;
}

/** The step aimed at, as a part of the one that would just be accepted; and a time this close to the end is the end. */
const [THETA, ARRIVED] = [0.9, 1e-5];

/**
 * Runs from tStart to tEnd; reads the state back once a trial, for its error.
 * @returns the state at tEnd; the caller releases it
 * @throws InvalidArgumentError if an option is out of its range; AbortedError once the signal fires
 */
export async function dpmSolverAdaptive(options: DpmSolverAdaptiveOptions): Promise<Vec> {
  const {
    x: start,
    denoiser: denoise,
    schedule,
    order = 3,
    atol = 0.0078,
    rtol = 0.05,
    hInit = 0.05,
    signal,
  } = options;
  const { tStart = schedule.end, tEnd = schedule.first } = options;
  if ((order !== 2 && order !== 3) || !(atol > 0 && rtol > 0 && hInit > 0 && tEnd > 0 && tEnd < tStart))
    throw new InvalidArgumentError(
      `dpmSolverAdaptive: expected order 2 or 3, atol, rtol, hInit > 0 and 0 < tEnd < tStart, got ${String(order)}, ` +
        `${atol}, ${rtol}, ${hInit}, ${tEnd}, ${tStart}; leave them out for the defaults`,
    );
  const chosen = choices(options);
  const end = halfLogSnr(levelAt(schedule, tEnd));
  start.space.beginRun();
  let [x, last, t, h] = [start, start, tStart, hInit];
  while (Math.abs(t - tEnd) > ARRIVED) {
    throwIfAborted(signal, 'dpmSolverAdaptive, before a step');
    const lambda = halfLogSnr(levelAt(schedule, t));
    const times = Array.from({ length: order + 1 }, (_, i) =>
      i === 0 ? t : schedule.timeOf(lambda + (i / order) * h),
    );
    const levels: StagedStep = times.map((time) => levelAt(schedule, time));
    const m = modelOutput(await denoise(x, levels[0], signal), chosen);
    const step: Staged = { x, m, levels, denoise, options: chosen, signal };
    const m1 = await firstStage(step);
    const low = (order === 2 ? firstOrder(x, m, levels[0], levels[2], chosen) : singlestep2(step, m1)).materialise();
    const high = (order === 2 ? singlestep2(step, m1) : await singlestep3(step, m1)).materialise();
    const error = await scaledError(low, high, last, atol, rtol);
    if (error <= 1) [x, last, t] = [high, low, times[order]];
    h = Math.min(THETA * h * error ** (-1 / order), end - halfLogSnr(levelAt(schedule, t)));
    start.space.endStep([x, last]);
  }
  return x;
}

/** Largest over the items of the RMS of (high − low)/max(atol, rtol·max(|low|, |before|)). Appendix C, equation C.2. */
async function scaledError(low: Vec, high: Vec, before: Vec, atol: number, rtol: number): Promise<number> {
  const [a, b, c] = await Promise.all([low, high, before].map((v) => v.space.read(v)));
  const size = a.length / low.batch;
  const sums = new Float64Array(low.batch);
  for (let i = 0; i < a.length; i++)
    sums[Math.floor(i / size)] +=
      ((b[i] - a[i]) / Math.max(atol, rtol * Math.max(Math.abs(a[i]), Math.abs(c[i])))) ** 2 / size;
  return Math.sqrt(Math.max(...sums));
}
