/** What a caller may say of the steps of a run, checked against what the class of the config knows. */
import { InvalidArgumentError } from '../../engine/errors.ts';
import type { NoiseSchedule } from '../schedule/schedule.ts';
import type { SchedulerConfig } from './schedulerConfig.ts';
import { METHODS } from './schedulerMethods.ts';
import type { Transition } from '../solver.ts';
import { skippedSteps, SPECIAL_CHOICES, type StepChoice } from '../schedule/timesteps.ts';

/**
 * The steps of a run. `start` and `strength` leave out none of them here: see {@link startOf}; LCM and TCD spread
 * theirs by `strength`.
 * @throws InvalidArgumentError for a choice that is not the class's, or out of range
 */
export function stepsOf(config: SchedulerConfig, schedule: NoiseSchedule, choice: StepChoice): Transition[] {
  const { takes = [], transitions } = METHODS[config.className];
  for (const key of SPECIAL_CHOICES) {
    if (choice[key] === undefined || takes.includes(key)) continue;
    const takers = Object.entries(METHODS).filter(([, m]) => m.takes?.includes(key));
    throw new InvalidArgumentError(
      `${config.className}: expected no ${key}, got ${String(choice[key])}; ` +
        `it belongs to ${takers.map(([c]) => c).join(', ')}`,
    );
  }
  const own = { timesteps: choice.timesteps, sigmas: choice.sigmas };
  for (const [key, values] of Object.entries(own)) {
    const steps = key === 'sigmas' && !takes.includes('mu') ? (values?.length ?? 0) - 1 : values?.length;
    if (values && choice.numInferenceSteps !== undefined && choice.numInferenceSteps !== steps)
      throw new InvalidArgumentError(
        `sampler: expected numInferenceSteps or ${key}, got ${choice.numInferenceSteps} and ` +
          `${values.length} ${key}; pass one of them`,
      );
  }
  if (own.timesteps && own.sigmas)
    throw new InvalidArgumentError('sampler: expected timesteps or sigmas, got both; pass one of them');
  return transitions(config, schedule, choice);
}

/**
 * How many of the transitions `start` or `strength` leaves out; where a transition is several of `numInferenceSteps`,
 * as with DPM-Solver singlestep, fewer than of these.
 * @throws InvalidArgumentError unless strength is in (0, 1] and leaves a step
 */
export function startOf(config: SchedulerConfig, transitions: readonly Transition[], choice: StepChoice): number {
  const { takes = [], sizeOf = () => 1 } = METHODS[config.className];
  const { start, strength } = takes.includes('originalInferenceSteps') ? { start: choice.start ?? 0 } : choice;
  const sizes = transitions.map(sizeOf);
  const steps = sizes.reduce((sum, size) => sum + size, 0);
  const skipped = skippedSteps(steps, { start, strength });
  let passed = 0;
  const first = sizes.findIndex((size) => (passed += size) > skipped);
  return skipped > 0 && skipped < steps ? first : skipped;
}
