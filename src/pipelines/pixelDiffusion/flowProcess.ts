/** The continuous process that a scheduler's noise levels are points of: what the probability flow runs along. */
import { UnsupportedError } from '../../engine/index.ts';
import { scorePrediction, type Parameterisation, type PredictionType, type Sampler } from '../../sampler/index.ts';
import { veSde, type Sde } from '../../sampler/sde/sde.ts';
import type { NoiseSchedule } from '../../sampler/schedule/schedule.ts';

/** A process, and the network's place in it. */
export interface FlowProcess {
  sde: Sde;
  /** The least noise that the network knows. */
  end: number;
  /** What the network's output means, for levels whose timestep is what it is told. */
  reads: PredictionType | Parameterisation;
}

/** Schedulers whose networks were trained on a table of β. */
const DISCRETE: ReadonlySet<string> = new Set([
  ...['DDPMScheduler', 'DDIMScheduler', 'PNDMScheduler', 'UniPCMultistepScheduler', 'DEISMultistepScheduler'],
  ...['DPMSolverMultistepScheduler', 'DPMSolverSinglestepScheduler', 'LMSDiscreteScheduler', 'HeunDiscreteScheduler'],
  ...['EulerDiscreteScheduler', 'EulerAncestralDiscreteScheduler', 'KDPM2DiscreteScheduler'],
]);

/** The process of a scheduler. @throws UnsupportedError for one without a flow here */
export function flowProcess({ config, schedule }: Sampler): FlowProcess {
  const { className, sigmaMin, sigmaMax, numTrainTimesteps } = config;
  if (className === 'ScoreSdeVeScheduler' || className === 'KarrasVeScheduler') {
    const sde = veSde(sigmaMin ?? 0.01, sigmaMax ?? 1348, numTrainTimesteps);
    const level = (t: number) => {
      const at = sde.level(t);
      return { ...at, timestep: at.sigma };
    };
    return { sde: { ...sde, level }, end: sde.end, reads: scorePrediction };
  }
  if (DISCRETE.has(className)) {
    return { sde: discreteSde(schedule), end: 1 / schedule.length, reads: config.predictionType };
  }
  throw new UnsupportedError(
    `likelihood: expected a scheduler with a table of β or a variance-exploding one, got ${className}`,
  );
}

/**
 * The variance-preserving process through a table: log ᾱ is a cubic Hermite spline over t = (i + 1)/N, so that β(t) =
 * −d log ᾱ/dt is continuous; networks are told t·N − 1. Song et al. 2021, appendix B.
 * @throws UnsupportedError where the table has fewer than two entries or ends in pure noise
 */
export function discreteSde(schedule: NoiseSchedule): Sde {
  const { betas, alphasCumprod, length: n } = schedule;
  const logs = alphasCumprod.map(Math.log);
  if (n < 2 || !Number.isFinite(logs[n - 1])) {
    throw new UnsupportedError(`likelihood: expected two timesteps or more, and some signal in the last, got ${n}`);
  }
  // Through three points at the ends too: else β would bend there, within one timestep, unseen by long steps of an ODE.
  const slope = (i: number) => {
    const [first, last] = [Math.max(0, Math.min(n - 3, i - 1)), Math.min(n - 1, Math.max(2, i + 1))];
    if (n < 3) return logs[1] - logs[0];
    const bend = logs[last] - 2 * logs[first + 1] + logs[first];
    return (logs[last] - logs[first]) / 2 + (i - first - 1) * bend;
  };
  const indexOf = (t: number) => Math.min(n - 1, Math.max(0, t * n - 1));
  /** log ᾱ and its derivative by t. */
  const at = (t: number): [number, number] => {
    const place = indexOf(t);
    const i = Math.min(n - 2, Math.floor(place));
    const [u, y0, y1, m0, m1] = [place - i, logs[i], logs[i + 1], slope(i), slope(i + 1)];
    const d = y1 - y0;
    const [c2, c3] = [3 * d - 2 * m0 - m1, m0 + m1 - 2 * d];
    return [y0 + u * (m0 + u * (c2 + u * c3)), n * (m0 + u * (2 * c2 + 3 * u * c3))];
  };
  const betaAt = (t: number) => betas[Math.round(indexOf(t))];
  return {
    kind: 'vp',
    steps: n,
    priorStd: 1,
    end: 1 / n,
    level(t) {
      const [log] = at(t);
      return { timestep: indexOf(t), alpha: Math.exp(log / 2), sigma: Math.sqrt(-Math.expm1(log)) };
    },
    discreteLevel: (t) => schedule.at(Math.round(indexOf(t))),
    drift: (t) => at(t)[1] / 2,
    diffusion: (t) => Math.sqrt(Math.max(0, -at(t)[1])),
    discrete: (t) => ({ drift: Math.sqrt(1 - betaAt(t)) - 1, noise: Math.sqrt(betaAt(t)) }),
    ancestral: (t) => ({ now: Math.sqrt(betaAt(t)), before: 0 }),
    langevinScale: (t) => 1 - betaAt(t),
  };
}
