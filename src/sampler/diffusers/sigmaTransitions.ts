/** The steps of the schedulers that think in sigma: where they lie, by spacing and by the shape of the sigmas. */
import { InvalidArgumentError } from '../../engine/errors.ts';
import type { NoiseSchedule } from '../schedule/schedule.ts';
import type { SchedulerConfig } from './schedulerConfig.ts';
import {
  betaSigmas,
  exponentialSigmas,
  karrasSigmas,
  sigmaAt,
  timestepOf,
  trainingSigmas,
  veLevel,
  vpOfSigma,
} from '../schedule/sigmas.ts';
import { edmLevel } from '../parameterisation/edm.ts';
import { checkSigmas } from '../kdiffusion/sigmas.ts';
import { ancestralStep } from '../solvers/noiseSplit.ts';
import { pairs, type Transition } from '../solver.ts';
import {
  checkSteps,
  customTimesteps,
  roundHalfEven,
  skippedSteps,
  spacedTimesteps,
  type StepChoice,
} from '../schedule/timesteps.ts';

/** Timesteps and sigmas of a run, both falling; one sigma more, at the end. */
interface SigmaSteps {
  timesteps: number[];
  sigmas: number[];
}

const { fround } = Math;

function chosenSteps(choice: StepChoice): number {
  return choice.timesteps?.length ?? choice.numInferenceSteps ?? NaN;
}

/** As {@link spacedTimesteps}, but `linspace` is not rounded. */
function fractionalTimesteps(config: SchedulerConfig, choice: StepChoice): number[] {
  const { numTrainTimesteps: n, timestepSpacing, stepsOffset } = config;
  if (choice.timesteps) return customTimesteps(choice.timesteps, n);
  const steps = chosenSteps(choice);
  if (timestepSpacing !== 'linspace') return spacedTimesteps(steps, n, timestepSpacing, stepsOffset);
  checkSteps(steps);
  return Array.from({ length: steps }, (_, i) => fround((steps - 1 - i) * ((n - 1) / (steps - 1 || 1))));
}

/** How many timesteps at the noisy end have a smaller λ than the config wants. */
function clippedTimesteps(sigmas: Float64Array, lambdaMin: number): number {
  return sigmas.filter((sigma) => -Math.log(sigma) < lambdaMin).length;
}

/** Timesteps of DPM-Solver and its kin: one interval more than steps, the end of which is not a timestep. */
function dpmTimesteps(config: SchedulerConfig, choice: StepChoice, training: Float64Array): number[] {
  const { numTrainTimesteps: n, timestepSpacing, stepsOffset } = config;
  if (choice.timesteps) return customTimesteps(choice.timesteps, n);
  const steps = chosenSteps(choice);
  checkSteps(steps, n);
  const last = n - clippedTimesteps(training, config.lambdaMinClipped);
  const at = (rule: (i: number) => number): number[] => Array.from({ length: steps }, (_, i) => rule(i));
  if (timestepSpacing === 'linspace') return at((i) => roundHalfEven((steps - i) * ((last - 1) / steps)));
  if (timestepSpacing === 'leading') return at((i) => (steps - i) * Math.floor(last / (steps + 1)) + stepsOffset);
  const stride = last - (last - n / steps); // as numpy's arange has it, see spacedTimesteps
  return at((i) => roundHalfEven(last - i * stride) - 1).filter((t) => t >= 0);
}

/** Sigmas by the shape that the config asks for; undefined where none is asked for. */
export function shapedSigmas(config: SchedulerConfig, steps: number, lo: number, hi: number): number[] | undefined {
  const [min, max] = [config.sigmaMin ?? lo, config.sigmaMax ?? hi];
  if (config.useKarrasSigmas) return karrasSigmas(steps, min, max);
  if (config.useExponentialSigmas) return exponentialSigmas(steps, min, max);
  if (config.useBetaSigmas) return betaSigmas(steps, min, max);
  // Named after lambdas, but what is even is log sigma: so does the reference library.
  return config.useLuLambdas ? exponentialSigmas(steps, min, max) : undefined;
}

function refuseTimesteps(config: SchedulerConfig, choice: StepChoice): void {
  if (choice.timesteps)
    throw new InvalidArgumentError(
      `${config.className}: expected numInferenceSteps, got timesteps; this config places its steps by sigma`,
    );
}

/** Timesteps and sigmas of a run. `dpm`: spacing and rounding of DPM-Solver and its kin. */
function sigmaSteps(config: SchedulerConfig, schedule: NoiseSchedule, choice: StepChoice, dpm: boolean): SigmaSteps {
  const training = trainingSigmas(schedule);
  if (choice.sigmas) return ownSigmas(config, choice.sigmas, training);
  const end = config.finalSigmasType === 'zero' ? 0 : training[0];
  const timesteps = (dpm ? dpmTimesteps : fractionalTimesteps)(config, choice, training);
  const spaced = timesteps.map((t) => sigmaAt(training, t));
  // DPM-Solver stretches its shapes over all training timesteps, k-diffusion's kin over those that the spacing visits.
  const logLinear = config.interpolationType === 'log_linear';
  const [hi, lo] =
    dpm || logLinear ? [training[training.length - 1], training[0]] : [spaced[0], spaced[spaced.length - 1]];
  const shaped = shapedSigmas(config, timesteps.length, lo, hi);
  // As in the reference library: one more than there are steps, of which the last is the smallest of training, not 0.
  if (!shaped && logLinear) return { timesteps, sigmas: exponentialSigmas(timesteps.length + 1, lo, hi).map(fround) };
  if (!shaped) return { timesteps, sigmas: [...spaced, end].map(fround) };
  refuseTimesteps(config, choice);
  const whole = dpm || (config.className.startsWith('KDPM2') && config.useKarrasSigmas);
  const found = shaped.map((sigma) => timestepOf(training, sigma));
  return { timesteps: whole ? found.map(roundHalfEven) : found, sigmas: [...shaped, end].map(fround) };
}

/** Sigmas of the caller's own, the end included, and where they lie in training. */
function ownSigmas(config: SchedulerConfig, sigmas: readonly number[], training: Float64Array): SigmaSteps {
  checkSigmas(sigmas, config.className);
  const timesteps = sigmas.slice(0, -1).map((sigma) => timestepOf(training, sigma));
  return { timesteps, sigmas: sigmas.map(fround) };
}

/** Steps of a state x = x₀ + sigma·ε; the end is told timestep −1. */
export function veTransitions(config: SchedulerConfig, schedule: NoiseSchedule, choice: StepChoice): Transition[] {
  const { timesteps, sigmas } = sigmaSteps(config, schedule, choice, false);
  if (config.timestepType === 'continuous' && config.predictionType === 'v_prediction') {
    refuseTimesteps(config, choice);
    return pairs(sigmas.map((sigma, i) => (timesteps[i] === undefined ? veLevel(-1, sigma) : edmLevel(sigma))));
  }
  return pairs(sigmas.map((sigma, i) => veLevel(timesteps[i] ?? -1, sigma)));
}

/** As {@link veTransitions}, each with the geometric mean of its sigmas as a stage, for the midpoint rule. */
export function midpointTransitions(
  config: SchedulerConfig,
  schedule: NoiseSchedule,
  choice: StepChoice,
): Transition[] {
  const training = trainingSigmas(schedule);
  return veTransitions(config, schedule, choice).map(({ from, to }) => {
    if (to.sigma === 0) return { from, to };
    const ancestral = config.className === 'KDPM2AncestralDiscreteScheduler';
    const down = ancestral ? ancestralStep(from.sigma, to.sigma).down : to.sigma;
    const middle = fround(Math.sqrt(from.sigma * down));
    return { from, to, stages: [veLevel(timestepOf(training, middle), middle)] };
  });
}

/** Steps of a variance-preserving state at those sigmas. */
export function vpTransitions(config: SchedulerConfig, schedule: NoiseSchedule, choice: StepChoice): Transition[] {
  const { timesteps, sigmas } = sigmaSteps(config, schedule, choice, true);
  return pairs(sigmas.map((sigma, i) => vpOfSigma(timesteps[i] ?? -1, sigma)));
}

/**
 * As {@link vpTransitions}, gathered into singlestep steps of up to the solver's order. A run that starts within one of
 * these does what is left of it as a step of lower order.
 */
export function singlestepTransitions(
  config: SchedulerConfig,
  schedule: NoiseSchedule,
  choice: StepChoice,
): Transition[] {
  const { solverOrder: order, finalSigmasType } = config;
  const small = vpTransitions(config, schedule, choice);
  const lower = config.lowerOrderFinal || small.length % order !== 0 || finalSigmasType === 'zero';
  let skipped = skippedSteps(small.length, choice);
  const sizes = singlestepSizes(small.length, order, lower, finalSigmasType === 'zero').flatMap((size) => {
    const before = skipped;
    skipped -= size;
    return before > 0 && before < size ? [before, size - before] : [size];
  });
  return sizes.map((size) => {
    const group = small.splice(0, size);
    const stages = group.slice(1).map(({ from }) => from);
    return { from: group[0].from, to: group[size - 1].to, stages };
  });
}

/**
 * Orders of the steps: all full, or the last ones lower and the very last 1. Lu et al. 2022, DPM-Solver-fast. A step to
 * no noise is infinitely long in λ, where only order 1 has an answer.
 */
function singlestepSizes(count: number, order: number, lowerAtEnd: boolean, toZero: boolean): number[] {
  const full = (n: number): number[] => new Array<number>(n).fill(order);
  const rest = count % order;
  if (!lowerAtEnd || order === 1) return full(Math.floor(count / order));
  if (rest > 0) return [...full(Math.floor(count / order)), ...(toZero ? new Array<number>(rest).fill(1) : [rest])];
  return [...full(count / order - 1), order - 1, 1];
}
