/** The steps of the schedulers that neither DDIM's spacing nor a table of sigmas describes. */
import { InvalidArgumentError } from '../../engine/errors.ts';
import { edmLevel } from '../parameterisation/edm.ts';
import { flowLevel, shiftSigma } from '../parameterisation/flowMatching.ts';
import { vpLevel, type NoiseSchedule } from '../schedule/schedule.ts';
import type { SchedulerConfig } from './schedulerConfig.ts';
import { linearLogAlpha } from '../sde/sde.ts';
import { exponentialSigmas, karrasSigmas, veLevel } from '../schedule/sigmas.ts';
import { shapedSigmas } from './sigmaTransitions.ts';
import { pairs, type Transition } from '../solver.ts';
import {
  checkSteps,
  MOST_STEPS,
  customTimesteps,
  skippedSteps,
  spacedTimesteps,
  strengthSteps,
  type StepChoice,
} from '../schedule/timesteps.ts';

type Steps = (config: SchedulerConfig, schedule: NoiseSchedule, choice: StepChoice) => Transition[];

function refuse(config: SchedulerConfig, what: string): never {
  throw new InvalidArgumentError(`${config.className}: expected numInferenceSteps, got ${what}; its steps are fixed`);
}

function countOf(
  config: SchedulerConfig,
  { numInferenceSteps = NaN, timesteps }: StepChoice,
  most = config.numTrainTimesteps,
): number {
  if (timesteps) refuse(config, 'timesteps');
  checkSteps(numInferenceSteps, most);
  return numInferenceSteps;
}

/** As {@link countOf}, where noise levels are continuous: there may be more steps than training had levels. */
const continuousCount = (config: SchedulerConfig, choice: StepChoice): number => countOf(config, choice, MOST_STEPS);

/** Even in log sigma, rising; one value is the smallest. */
const risingSigmas = (count: number, lo: number, hi: number): number[] =>
  count > 1 ? exponentialSigmas(count, lo, hi).reverse() : [lo];

const { fround } = Math;

/** EDM: sigmas of its own range and shape, to 0 or to the smallest. Karras et al. 2022, equation 5. */
export const edmTransitions: Steps = (config, _schedule, choice) => {
  const count = continuousCount(config, choice);
  const [lo, hi] = [config.sigmaMin ?? 0.002, config.sigmaMax ?? 80];
  const { sigmaSchedule, rho } = config;
  const sigmas = sigmaSchedule === 'karras' ? karrasSigmas(count, lo, hi, rho) : risingSigmas(count, lo, hi).reverse();
  const end = config.finalSigmasType === 'zero' ? 0 : lo;
  return pairs([...sigmas.map(fround).map(edmLevel), veLevel(-1, end)]);
};

/** Flow matching: even in sigma, shifted. Esser et al. 2024, section 5.3.2. */
export const flowTransitions: Steps = (config, _schedule, choice) => {
  const { shift, useDynamicShifting, numTrainTimesteps: n } = config;
  if (useDynamicShifting && choice.mu === undefined)
    throw new InvalidArgumentError(
      `${config.className}: expected mu with use_dynamic_shifting, got none; pass resolutionMu(tokens)`,
    );
  const shifted = (sigma: number): number =>
    shiftSigma(sigma, useDynamicShifting ? shiftOf(config, choice.mu!) : shift);
  // The reference library spaces its steps down to the smallest training sigma, which a fixed shift has moved already.
  const lowest = useDynamicShifting ? 1 / n : shiftSigma(1 / n, shift);
  const even = choice.sigmas ? checkSigmas(choice.sigmas) : evenSigmas(continuousCount(config, choice), lowest);
  const sigmas = stretched(even.map(shifted), config.shiftTerminal);
  const shaped = shapedSigmas(config, sigmas.length, sigmas[sigmas.length - 1], sigmas[0]) ?? sigmas;
  const levels = shaped.map((sigma) => flowLevel(fround(sigma), n));
  return pairs([...levels, { timestep: -1, alpha: 1, sigma: 0 }]);
};

/** What mu means. @throws InvalidArgumentError on a mu that is no shift */
function shiftOf({ className, timeShiftType }: SchedulerConfig, mu: number): number {
  const shift = timeShiftType === 'linear' ? mu : Math.exp(mu);
  if (shift > 0 && shift < Infinity) return shift;
  const range = timeShiftType === 'linear' ? 'above 0' : 'finite';
  throw new InvalidArgumentError(`${className}: expected mu ${range} with time_shift_type ${timeShiftType}, got ${mu}`);
}

/** 1 − sigma scaled, so that the last sigma is the one given. */
function stretched(sigmas: readonly number[], last: number | null): readonly number[] {
  if (last === null) return sigmas;
  const scale = (1 - sigmas[sigmas.length - 1]) / (1 - last);
  return sigmas.map((sigma) => 1 - (1 - sigma) / scale);
}

function evenSigmas(count: number, lowest: number): number[] {
  return Array.from({ length: count }, (_, i) => 1 - (i * (1 - lowest)) / (count - 1 || 1));
}

function checkSigmas(sigmas: readonly number[]): number[] {
  const ok = sigmas.every((sigma, i) => sigma > 0 && sigma <= 1 && (i === 0 || sigma < sigmas[i - 1]));
  if (!ok || sigmas.length === 0)
    throw new InvalidArgumentError(
      `sampler: expected sigmas in (0, 1], strictly falling, got [${sigmas.join(', ')}]; sort them, leave out 0`,
    );
  return [...sigmas];
}

/**
 * PNDM: DDIM's, and with Runge–Kutta three stages in each of the first three, two of them half a stride from either
 * end. Without it see {@link heunFirst}.
 * @throws InvalidArgumentError for fewer than four steps with Runge–Kutta.
 */
export function withRungeKutta(steps: Steps): Steps {
  return (config, schedule, choice) => {
    const transitions = steps(config, schedule, choice);
    const stride = Math.floor(config.numTrainTimesteps / transitions.length);
    if (config.skipPrkSteps) return heunFirst(transitions, schedule, stride, skippedSteps(transitions.length, choice));
    const half = Math.floor(stride / 2);
    if (transitions.length < 4)
      throw new InvalidArgumentError(
        `PNDMScheduler: expected numInferenceSteps ≥ 4, got ${transitions.length}; or set skip_prk_steps`,
      );
    return transitions.map(({ from, to }, i) => {
      if (i >= 3) return { from, to };
      const next = transitions[i + 1].from;
      const told = next.timestep + half;
      const stages = [{ ...schedule.at(from.timestep - half), timestep: told }, schedule.at(told), next];
      return { from, to: next, stages };
    });
  };
}

/**
 * The first step of PLMS is Heun's. Its strides are not always from one timestep to the next: the reference library
 * asks again at the next timestep, of a state one stride down, and then counts from one stride above that timestep. It
 * also lists the second timestep twice, so that a run that leaves steps out begins one step earlier than it counts.
 */
function heunFirst(transitions: Transition[], schedule: NoiseSchedule, stride: number, skipped: number): Transition[] {
  const listed = transitions.flatMap(({ from }, i) => (i === 1 ? [from, from] : [from]));
  const [from, to] = listed.slice(skipped);
  if (!from || !to) return transitions;
  const below = from.timestep - stride;
  const middle = below >= 0 ? schedule.at(below) : transitions[transitions.length - 1].to;
  const start = schedule.at(Math.min(to.timestep + stride, schedule.length - 1));
  const stages = [{ ...middle, timestep: to.timestep }, start];
  return transitions.map((own, i) => (i === skipped ? { from, to, stages } : own));
}

/** iPNDM: sigma = sin²(πu/2) for u from 1 to 0, told as the angle of (alpha, sigma) in quarter turns. */
export const ipndmTransitions: Steps = (config, _schedule, choice) => {
  const count = continuousCount(config, choice);
  const levels = Array.from({ length: count + 1 }, (_, i) => {
    const sigma = Math.sin(((1 - i / count) * Math.PI) / 2) ** 2;
    const alpha = Math.sqrt(1 - sigma ** 2);
    return { timestep: (Math.atan2(sigma, alpha) / Math.PI) * 2, alpha, sigma };
  });
  return pairs(levels);
};

/**
 * LCM and TCD: some of the timesteps of the teacher's solver, spread over them; with `strength` over the less noisy of
 * them, or, of timesteps of the caller's own, the last. Luo et al. 2023, section 4.3.
 */
function distilledTimesteps(config: SchedulerConfig, choice: StepChoice): number[] {
  const { className, numTrainTimesteps: n } = config;
  const { strength = 1, originalInferenceSteps } = choice;
  const original = originalInferenceSteps ?? config.originalInferenceSteps;
  if (!Number.isInteger(original) || original < 1 || original > n)
    throw new InvalidArgumentError(
      `${className}: expected originalInferenceSteps (original_inference_steps) in 1 … ${n}, got ${original}`,
    );
  if (choice.timesteps)
    return customTimesteps(choice.timesteps, n).slice(-strengthSteps(choice.timesteps.length, strength));
  const count = countOf(config, choice);
  const all = className === 'TCDScheduler' && originalInferenceSteps !== undefined;
  const left = strengthSteps(all ? n : original, strength);
  if (count > original || count > left)
    throw new InvalidArgumentError(
      `${className}: expected numInferenceSteps ≤ original_inference_steps·strength, got ${count}, ${original} and ` +
        `${strength}; take fewer steps`,
    );
  const stride = Math.floor(n / original);
  const every = left / count;
  return Array.from({ length: count }, (_, i) => {
    const place = left - Math.floor(i * every); // 1 … left, from the noisiest
    return all ? place - 1 : place * stride - 1;
  });
}

/** LCM: the last step ends at x₀. */
export const lcmTransitions: Steps = (config, schedule, choice) =>
  pairs([...distilledTimesteps(config, choice).map((t) => schedule.at(t)), vpLevel(-1, 1)]);

/** TCD: the last step ends at timestep 0. */
export const tcdTransitions: Steps = (config, schedule, choice) =>
  pairs([...distilledTimesteps(config, choice), 0].map((t) => schedule.at(t)));

/** Consistency models: places on Karras's scale of N sigmas, from the largest; told 250·log(sigma). */
export const consistencyTransitions: Steps = (config, _schedule, choice) => {
  const { numTrainTimesteps: n, rho } = config;
  const [lo, hi] = [config.sigmaMin ?? 0.002, config.sigmaMax ?? 80];
  const places = choice.timesteps
    ? customTimesteps(choice.timesteps, n)
    : spacedTimesteps(choice.numInferenceSteps ?? NaN, n, 'leading');
  const scale = karrasSigmas(n, lo, hi, rho);
  const levels = [...places].reverse().map((place) => veLevel(250 * Math.log(scale[place]), scale[place]));
  return pairs([...levels, veLevel(-1, lo)]);
};

/** Karras VE: as the reference library has it, even in log sigma from sigma_max² to sigma_min²; told sigma itself. */
export const karrasVeTransitions: Steps = (config, _schedule, choice) => {
  const [lo, hi] = [config.sigmaMin ?? 0.02, config.sigmaMax ?? 100];
  const sigmas = exponentialSigmas(continuousCount(config, choice), lo ** 2, hi ** 2).map(fround);
  return pairs([...sigmas.map((sigma) => veLevel(sigma, sigma)), veLevel(-1, 0)]);
};

/** RePaint: down, and every few steps some way back up, again and again. Lugmayr et al. 2022, section 4.2. */
export const repaintTransitions: Steps = (config, schedule, choice) => {
  const count = countOf(config, choice);
  const { jumpLength = 10, jumpNSample = 10 } = choice;
  if (![jumpLength, jumpNSample].every((n) => Number.isInteger(n) && n >= 1))
    throw new InvalidArgumentError(
      `RePaintScheduler: expected jumpLength and jumpNSample ≥ 1, got ${jumpLength} and ${jumpNSample}`,
    );
  const stride = Math.floor(config.numTrainTimesteps / count);
  const left = new Map<number, number>();
  for (let j = 0; j < count - jumpLength; j += jumpLength) left.set(j, jumpNSample - 1);
  const steps: Transition[] = [];
  for (let t = count - 1; t >= 0; t--) {
    steps.push({ from: schedule.at(t * stride), to: t > 0 ? schedule.at((t - 1) * stride) : vpLevel(-1, 1) });
    const jumps = left.get(t) ?? 0;
    if (jumps === 0) continue;
    left.set(t, jumps - 1);
    for (const top = t + jumpLength; t < top; t++)
      steps.push({ from: schedule.at(t * stride), to: schedule.at((t + 1) * stride) });
  }
  return steps;
};

/** Times evenly from 1 to the smallest that is sampled. */
function evenTimes(config: SchedulerConfig, choice: StepChoice): number[] {
  const count = continuousCount(config, choice);
  return Array.from({ length: count }, (_, i) => 1 - (i * (1 - config.samplingEps)) / (count - 1 || 1));
}

/**
 * Variance-exploding SDE: sigma(t) = sigma_min·(sigma_max/sigma_min)^t, which the network is told. The predictor's own
 * grid has as many sigmas as there are steps; where it stands on it is the stage. Song et al. 2021, appendix C.
 */
export const scoreVeTransitions: Steps = (config, _schedule, choice) => {
  const [lo, hi] = [config.sigmaMin ?? 0.01, config.sigmaMax ?? 1348];
  const times = evenTimes(config, choice);
  const grid = risingSigmas(times.length, lo, hi);
  return times.map((t) => {
    const sigma = lo * (hi / lo) ** t;
    const place = Math.floor(t * (times.length - 1));
    const to = veLevel(-1, place > 0 ? grid[place - 1] : 0);
    return { from: veLevel(sigma, sigma), stages: [veLevel(sigma, grid[place])], to };
  });
};

/** Variance-preserving SDE, told t·(N − 1). Song et al. 2021, equations 32 and 33. */
export const scoreVpTransitions: Steps = (config, _schedule, choice) => {
  const { betaMin, betaMax, numTrainTimesteps } = config;
  const levels = evenTimes(config, choice).map((t) => {
    const logAlpha = linearLogAlpha(t, betaMin, betaMax);
    return vpLevel(t * (numTrainTimesteps - 1), Math.exp(2 * logAlpha));
  });
  return pairs([...levels, vpLevel(-1, 1)]);
};

/** unCLIP: from the last training timestep to 0. */
export const unclipTransitions: Steps = (config, schedule, choice) => {
  const timesteps = spacedTimesteps(countOf(config, choice), config.numTrainTimesteps, 'linspace');
  return timesteps.map((t, i) => {
    const s = timesteps[i + 1] ?? -1;
    return { from: schedule.at(t), to: s >= 0 ? schedule.at(s) : vpLevel(-1, 1) };
  });
};

/** DDIM backwards: the network is told the noisier timestep, where the step ends. Song et al. 2021, section 4.3. */
export const inverseTransitions: Steps = (config, schedule, choice) => {
  const { numTrainTimesteps: n, timestepSpacing, stepsOffset, setAlphaToOne } = config;
  const count = countOf(config, choice);
  const stride = Math.floor(n / count);
  const clean = vpLevel(-1, setAlphaToOne ? 1 : schedule.alphasCumprod[0]);
  return spacedTimesteps(count, n, timestepSpacing, stepsOffset)
    .reverse()
    .map((t) => {
      const from = t - stride >= 0 ? schedule.at(t - stride) : clean;
      return { from: { ...from, timestep: t }, to: schedule.at(t) };
    });
};
