/** Where DPM-Solver's steps begin and end, and what order each has. */
import { ConfigError, InvalidArgumentError } from '../../engine/errors.ts';
import type { NoiseLevel } from '../schedule/schedule.ts';
import { halfLogSnr, levelAt, type ContinuousSchedule } from './schedules.ts';

/** Spacings of times: uniform in λ, in t, or in √t. */
export const SKIP_TYPES = ['logSNR', 'time_uniform', 'time_quadratic'] as const;
/** One of {@link SKIP_TYPES}. */
export type SkipType = (typeof SKIP_TYPES)[number];

/** What a run covers. */
export interface TimeRange {
  /** Where it starts; default the schedule's end. */
  tStart?: number;
  /** Where it ends; default the schedule's first time. */
  tEnd?: number;
  /** Default `time_uniform`. */
  skipType?: SkipType;
}

/**
 * steps + 1 times from start to end. @throws InvalidArgumentError on steps < 1 or times ≤ 0; ConfigError on the type
 */
export function spacedTimes(schedule: ContinuousSchedule, steps: number, range: TimeRange = {}): number[] {
  const { tStart = schedule.end, tEnd = schedule.first, skipType = 'time_uniform' } = range;
  if (!Number.isInteger(steps) || steps < 1 || !(tStart > 0 && tEnd > 0))
    throw new InvalidArgumentError(
      `spacedTimes: expected steps ≥ 1 and times > 0, got ${steps}, ${tStart} and ${tEnd}; there is no noise at time 0`,
    );
  if (!SKIP_TYPES.includes(skipType))
    throw new ConfigError(`spacedTimes: expected one of ${SKIP_TYPES.join(', ')}, got ${String(skipType)}`, 'skipType');
  const between = (from: number, to: number): number[] =>
    Array.from({ length: steps + 1 }, (_, i) => from + (i / steps) * (to - from));
  if (skipType === 'time_uniform') return between(tStart, tEnd);
  if (skipType === 'time_quadratic') return between(Math.sqrt(tStart), Math.sqrt(tEnd)).map((root) => root ** 2);
  const lambda = (t: number): number => halfLogSnr(levelAt(schedule, t));
  return between(lambda(tStart), lambda(tEnd)).map((l) => schedule.timeOf(l));
}

/** Levels of the times of {@link spacedTimes}, for multistep solvers. */
export function spacedLevels(schedule: ContinuousSchedule, steps: number, range: TimeRange = {}): NoiseLevel[] {
  return spacedTimes(schedule, steps, range).map((t) => levelAt(schedule, t));
}

export { pairs as transitionsOf } from '../solver.ts';

/** One step of a singlestep solver: start, one or two stages inside, end; one fewer evaluations than levels. */
export type StagedStep = readonly NoiseLevel[];

/**
 * Steps of orders up to `order` that use `evaluations` in all: DPM-Solver-fast. The last steps have
 * lower orders where the division leaves a rest. @throws as {@link spacedTimes}
 */
export function fastSteps(
  schedule: ContinuousSchedule,
  evaluations: number,
  order: 1 | 2 | 3,
  range: TimeRange = {},
): StagedStep[] {
  const rest = evaluations % order;
  const full = (evaluations - rest) / order;
  const orders = Array<number>(full).fill(order);
  if (order === 3 && rest === 0) orders.splice(-1, 1, 2, 1);
  else if (rest > 0) orders.push(rest);
  const { skipType } = range;
  if (skipType === 'logSNR') return staged(schedule, spacedTimes(schedule, orders.length, range), orders, skipType);
  const times = spacedTimes(schedule, evaluations, range);
  let at = 0;
  return staged(schedule, [times[0], ...orders.map((o) => times[(at += o)])], orders, skipType);
}

/** ⌊evaluations/order⌋ steps, all of one order. @throws as {@link spacedTimes} */
export function fixedSteps(
  schedule: ContinuousSchedule,
  evaluations: number,
  order: 1 | 2 | 3,
  range: TimeRange = {},
): StagedStep[] {
  const steps = Math.floor(evaluations / order);
  return staged(schedule, spacedTimes(schedule, steps, range), Array<number>(steps).fill(order), range.skipType);
}

/** Stages divide each step as the spacing divides the run. */
function staged(
  schedule: ContinuousSchedule,
  times: readonly number[],
  orders: readonly number[],
  skipType?: SkipType,
): StagedStep[] {
  return orders.map((order, i) => spacedLevels(schedule, order, { tStart: times[i], tEnd: times[i + 1], skipType }));
}
