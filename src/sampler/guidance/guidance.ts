/**
 * Classifier-free guidance: away from what the network says without the condition. Ho & Salimans 2022,
 * https://arxiv.org/abs/2207.12598. Wraps denoisers.
 *
 * A negative condition is no other method: it is what the unconditional half is asked with in place of the empty one.
 *
 * Two conventions of the weight are in use. As a `scale` s, the output is u + s·(c − u): Imagen, diffusers'
 * guidanceScale, most code; s = 1 is the condition alone. As a `weight` w, it is (1 + w)·c − w·u: Ho & Salimans,
 * equation 6, and DDPM-style research code; w = 0 is the condition alone. They are the same line, s = 1 + w.
 */
import { ConfigError, InvalidArgumentError } from '../../engine/errors.ts';
import type { Denoiser, PairDenoiser } from '../parameterisation/denoiser.ts';
import type { NoiseLevel } from '../schedule/schedule.ts';
import type { Transition } from '../solver.ts';
import { LinearForm } from '../vec.ts';

/** What a guidance weight means, see the head of this file. */
export const GUIDANCE_CONVENTIONS = ['scale', 'weight'] as const;
/** One of {@link GUIDANCE_CONVENTIONS}. */
export type GuidanceConvention = (typeof GUIDANCE_CONVENTIONS)[number];

/** The weight at a level of noise; {@link perStep} makes one from a list. */
export type GuidanceSchedule = (level: NoiseLevel) => number;

/** What may be done to the guided output. */
export interface GuidanceOptions {
  /** φ in [0, 1]: how far the standard deviation of each item is drawn back to the conditional one; default 0. */
  guidanceRescale?: number;
  /** What the weight means; default `scale`. */
  convention?: GuidanceConvention;
  /**
   * Guide only where low < sigma/alpha ≤ high, elsewhere the condition alone answers; 0 ≤ low < high, default all.
   * Kynkäänniemi et al. 2024, https://arxiv.org/abs/2404.07724.
   */
  interval?: readonly [low: number, high: number];
  /** Asked in place of the pair where no guidance is wanted: half the work there. */
  conditional?: Denoiser;
}

/** Two denoisers as a pair, called one after the other. */
export function pairOf(uncond: Denoiser, cond: Denoiser): PairDenoiser {
  return async (x, level, signal) => [await uncond(x, level, signal), await cond(x, level, signal)];
}

/**
 * One weight per step of a run, by a list or by a function of the step's index and the number of steps. A method that
 * looks between two steps gets the weight of the step it is in.
 * @throws InvalidArgumentError if the list is not as long as the run
 */
export function perStep(
  transitions: readonly Transition[],
  weights: readonly number[] | ((step: number, steps: number) => number),
): GuidanceSchedule {
  const steps = transitions.length;
  if (typeof weights !== 'function' && weights.length !== steps)
    throw new InvalidArgumentError(
      `perStep: expected ${steps} guidance weights, one per step, got ${weights.length}; repeat the last or drop some`,
    );
  return (level) => {
    const same = transitions.findIndex(({ from }) => from.timestep === level.timestep && from.sigma === level.sigma);
    const inside = transitions.findLastIndex(({ from }) => from.sigma * level.alpha >= level.sigma * from.alpha);
    const step = Math.max(same >= 0 ? same : inside, 0);
    return typeof weights === 'function' ? weights(step, steps) : weights[step];
  };
}

/**
 * out = u + s·(c − u), in the network's own parameterisation. A learned variance is the conditional one's. Only
 * coefficients change, except with `guidanceRescale`, which needs two deviations first (Lin et al. 2023, section 3.4).
 *
 * @param weight s, or w with `convention: 'weight'`; a number, or by level (a per-step schedule: {@link perStep})
 * @throws InvalidArgumentError if the weight is not finite (of a schedule: on the call), the rescale not in [0, 1], or
 *   the interval not 0 ≤ low < high
 * @throws ConfigError if the convention is unknown
 */
export function guided(pair: PairDenoiser, weight: number | GuidanceSchedule, options: GuidanceOptions = {}): Denoiser {
  const { guidanceRescale: phi = 0, interval = [0, Infinity], conditional } = options;
  const scaleAt = checked(weight, options);
  return async (x, level, signal) => {
    const noise = level.alpha === 0 ? Infinity : level.sigma / level.alpha;
    const inside = noise > interval[0] && noise <= interval[1];
    const scale = inside ? scaleAt(level) : 1;
    if (scale === 1 && conditional) return conditional(x, level, signal);
    const [u, c] = await pair(x, level, signal);
    if (!inside) return c;
    const out = u.out.scale(1 - scale).plus(c.out, scale);
    if (phi === 0) return c.reread(out);
    return c.reread(LinearForm.of(x.space.matchStd(out, c.out.materialise(), phi)));
  };
}

/** The options in order, and the weight as a scale. */
function checked(weight: number | GuidanceSchedule, options: GuidanceOptions): GuidanceSchedule {
  const { guidanceRescale: phi = 0, convention = 'scale', interval: [low, high] = [0, Infinity] } = options;
  if (!(phi >= 0 && phi <= 1))
    throw new InvalidArgumentError(`guided: expected guidanceRescale in [0, 1], got ${phi}; 0 turns it off`);
  if (!GUIDANCE_CONVENTIONS.includes(convention))
    throw new ConfigError(
      `guided: expected convention to be one of ${GUIDANCE_CONVENTIONS.join(', ')}, got ${String(convention)}`,
      'convention',
    );
  if (!(low >= 0 && low < high))
    throw new InvalidArgumentError(`guided: expected interval 0 ≤ low < high in sigma/alpha, got ${low}, ${high}`);
  const offset = convention === 'weight' ? 1 : 0;
  const finite = (w: number): number => {
    if (Number.isFinite(w)) return w + offset;
    throw new InvalidArgumentError(`guided: expected a finite guidanceScale, got ${w}; ${1 - offset} turns it off`);
  };
  if (typeof weight === 'function') return (level) => finite(weight(level));
  const scale = finite(weight);
  return () => scale;
}
