/** DPM-Solver-12 and -23: steps in λ chosen from the difference of two orders. Lu et al. 2022, appendix C. */
import { InvalidArgumentError } from '../../engine/errors.ts';
import { runAdaptive, type AdaptiveOptions } from '../adaptive.ts';
import { passStages, reach } from '../exponential/dpmSolverSinglestep.ts';
import type { Vec } from '../vec.ts';
import { choices, type DpmSolverOptions } from './options.ts';
import { halfLogSnr, levelAt, type ContinuousSchedule } from './schedules.ts';

/** What is needed and what may be chosen; the start is at the schedule's end or `tStart`. */
export interface DpmSolverAdaptiveOptions extends AdaptiveOptions, DpmSolverOptions {
  schedule: ContinuousSchedule;
  /** Default the schedule's end. */
  tStart?: number;
  /** Default the schedule's first time. */
  tEnd?: number;
  /** 2 compares orders 1 and 2, 3 compares 2 and 3; default 3. */
  order?: 2 | 3;
}

/** The step aimed at, as a part of the one that would just be accepted; and a time this close to the end is the end. */
const [THETA, ARRIVED] = [0.9, 1e-5];

/**
 * Runs from tStart to tEnd; reads one norm per item back once a trial, the largest of which is the error (equation
 * C.2).
 * @returns the state at tEnd; the caller releases it
 * @throws InvalidArgumentError if an option is out of its range; AbortedError once the signal fires
 */
export async function dpmSolverAdaptive(options: DpmSolverAdaptiveOptions): Promise<Vec> {
  const { denoiser: denoise, schedule, order = 3, atol = 1, rtol = 1, hInit = 0.05, signal } = options;
  const { tStart = schedule.end, tEnd = schedule.first } = options;
  if ((order !== 2 && order !== 3) || !(atol > 0 && rtol > 0 && hInit > 0 && tEnd > 0 && tEnd < tStart))
    throw new InvalidArgumentError(
      `dpmSolverAdaptive: expected order 2 or 3, atol, rtol, hInit > 0 and 0 < tEnd < tStart, got ${String(order)}, ` +
        `${atol}, ${rtol}, ${hInit}, ${tEnd}, ${tStart}; leave them out for the defaults`,
    );
  const chosen = choices(options);
  const lambdaAt = (t: number): number => halfLogSnr(levelAt(schedule, t));
  const end = lambdaAt(tEnd);
  const timeAfter = (t: number, h: number): number => schedule.timeOf(lambdaAt(t) + h);
  return runAdaptive(options, {
    numbers: [tStart, hInit],
    done: ([t]) => Math.abs(t - tEnd) <= ARRIVED,
    async trial(x, [t, h], noise) {
      const times = Array.from({ length: order }, (_, i) => timeAfter(t, ((i + 1) / order) * h));
      const [from, ...levels] = [t, ...times].map((time) => levelAt(schedule, time));
      const [to, stages] = [levels[order - 1], levels.slice(0, -1)];
      const passed = await passStages({ x, from, to, stages, denoise, noise, history: [], signal }, chosen);
      const fewer = { ...passed, seen: passed.seen.slice(0, order - 1) };
      return { low: reach(fewer, to, chosen), high: reach(passed, to, chosen), x0: passed.x0, at: from };
    },
    error: (items) => Math.max(...items),
    control(error, [t, h]) {
      const accepted = error <= 1;
      const now = accepted ? timeAfter(t, h) : t;
      return { accepted, numbers: [now, Math.min(THETA * h * error ** (-1 / order), end - lambdaAt(now))] };
    },
  });
}
