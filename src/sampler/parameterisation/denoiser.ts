/**
 * What a network says, read as a prediction. A network was trained to output ε, v or x₀; a {@link Denoiser} hides
 * which: it answers with x₀ and ε as lazy forms over x and the network's output. Solvers know no parameterisation.
 */
import { ConfigError, InvalidArgumentError, ShapeError } from '../../engine/errors.ts';
import type { NoiseLevel } from '../schedule/schedule.ts';
import { LinearForm, type Vec } from '../vec.ts';

/**
 * A network with its conditions closed over: x [B, C, …], what the network is told of the noise (a training timestep) →
 * [B, C, …], or [B, 2C, …] with a learned variance behind. Its result stays valid until the step ends.
 */
export type Network = (x: Vec, timestep: number, signal?: AbortSignal) => Vec | Promise<Vec>;

/** One call for both halves of guidance, batched as the caller likes: [without the condition, with it]. */
export type PairNetwork = (
  x: Vec,
  timestep: number,
  signal?: AbortSignal,
) => readonly [Vec, Vec] | Promise<readonly [Vec, Vec]>;

/** What is believed of x at one level of noise, x = alpha·x₀ + sigma·ε. */
export interface Prediction {
  /** The picture. @throws InvalidArgumentError (when read) where the network says nothing of it. */
  readonly x0: LinearForm;
  /** The noise. @throws InvalidArgumentError (when read) where the network says nothing of it. */
  readonly eps: LinearForm;
  /** The network's output in its own parameterisation, from which x0 and eps are read. */
  readonly out: LinearForm;
  /** The second half of the output of a network with learned variance. */
  readonly variance?: Vec;
  /** Read from another output, as guidance makes it; or of another point and level near by (Euler's churn). */
  reread(out: LinearForm, x?: Vec, level?: NoiseLevel): Prediction;
}

/** x [B, C, …] at a level of noise → what it is made of. */
export type Denoiser = (x: Vec, level: NoiseLevel, signal?: AbortSignal) => Promise<Prediction>;

/** As {@link Denoiser}, without and with the condition. */
export type PairDenoiser = (
  x: Vec,
  level: NoiseLevel,
  signal?: AbortSignal,
) => Promise<readonly [Prediction, Prediction]>;

/** How x₀ and ε follow from x and the output at a level. */
export interface Parameterisation {
  /** What x is multiplied with before the network sees it (c_in of Karras et al. 2022); without it, nothing. */
  input?(level: NoiseLevel): number;
  /**
   * Read at another level than it was asked at (Euler's churn), the output still gives x₀ by the coefficients of that
   * one.
   */
  keepsLevel?: boolean;
  /** x₀ from x and the output. @throws InvalidArgumentError where it says nothing at that level. */
  x0(x: Vec, out: LinearForm, level: NoiseLevel): LinearForm;
  /** ε from x and the output. @throws InvalidArgumentError where it says nothing at that level. */
  eps(x: Vec, out: LinearForm, level: NoiseLevel): LinearForm;
}

/** 1/c, where c = 0 has no answer. */
function inverse(c: number, what: string, level: NoiseLevel): number {
  if (c !== 0) return 1 / c;
  throw new InvalidArgumentError(
    `denoiser: expected ${what} at timestep ${level.timestep}, got 0; ` +
      'this prediction type says nothing there: use v_prediction, or timesteps that avoid it',
  );
}

/** The network outputs the noise. Ho et al. 2020, equation 15. */
export const epsilonPrediction: Parameterisation = {
  x0: (x, out, l) =>
    LinearForm.of(x)
      .minus(out, l.sigma)
      .scale(inverse(l.alpha, 'some signal, alpha > 0,', l)),
  eps: (_x, out) => out,
};

/**
 * The network outputs v = (alpha·ε − sigma·x₀) / n, n² = alpha² + sigma² (1 where the process preserves variance).
 * Salimans & Ho 2022, appendix D.
 */
export const vPrediction: Parameterisation = {
  x0: (x, out, l) => LinearForm.of(x, l.alpha / n(l) ** 2).minus(out, l.sigma / n(l)),
  eps: (x, out, l) => LinearForm.of(out, l.alpha / n(l)).plus(x, l.sigma / n(l) ** 2),
};

/** Standard deviation of x where that of the picture is 1. */
function n({ alpha, sigma }: NoiseLevel): number {
  return Math.hypot(alpha, sigma);
}

/** The network outputs x₀. */
export const samplePrediction: Parameterisation = {
  x0: (_x, out) => out,
  eps: (x, out, l) =>
    LinearForm.of(x)
      .minus(out, l.alpha)
      .scale(inverse(l.sigma, 'some noise, sigma > 0,', l)),
};

/** The network outputs the score ∇log p(x) = −ε/sigma, in x = alpha·x₀ + sigma·ε. Song et al. 2021 (Score SDE). */
export const scorePrediction: Parameterisation = {
  x0: (x, out, l) =>
    LinearForm.of(x)
      .plus(out, l.sigma ** 2)
      .scale(inverse(l.alpha, 'some signal, alpha > 0,', l)),
  eps: (_x, out, l) => out.scale(-l.sigma),
};

const PREDICTIONS = {
  epsilon: epsilonPrediction,
  v_prediction: vPrediction,
  sample: samplePrediction,
} as const satisfies Record<string, Parameterisation>;
/** What a network was trained to output, by the names of diffusers. */
export type PredictionType = keyof typeof PREDICTIONS;
/** All of them. */
export const PREDICTION_TYPES = Object.keys(PREDICTIONS) as PredictionType[];

function resolve(type: PredictionType | Parameterisation): Parameterisation {
  const found = typeof type === 'string' ? PREDICTIONS[type] : type;
  if (found) return found;
  throw new ConfigError(
    `denoiser: expected prediction_type to be one of ${PREDICTION_TYPES.join(', ')}, got ${String(type)}`,
    'prediction_type',
  );
}

/**
 * What an output says of x at a level. Forms are built when asked for: DDPM needs no ε, and ε of an x₀ network does not
 * exist where sigma is 0.
 * @param asked the level the network was asked at, where that is another
 */
export function predictionOf(
  p: Parameterisation,
  x: Vec,
  level: NoiseLevel,
  out: LinearForm,
  variance?: Vec,
  asked = level,
): Prediction {
  const moved = p.keepsLevel && asked !== level;
  return {
    out,
    variance,
    get x0() {
      return p.x0(x, out, moved ? asked : level);
    },
    get eps() {
      if (!moved) return p.eps(x, out, level);
      return LinearForm.of(x)
        .minus(p.x0(x, out, asked), level.alpha)
        .scale(1 / level.sigma);
    },
    reread: (other, at = x, nearby = level) => predictionOf(p, at, nearby, other, variance, asked),
  };
}

function read(p: Parameterisation, x: Vec, level: NoiseLevel, result: Vec): Prediction {
  if (result.length === x.length) return predictionOf(p, x, level, LinearForm.of(result));
  if (result.length !== 2 * x.length)
    throw new ShapeError(
      `denoiser: expected a network output of ${x.length} elements, or ${2 * x.length} with a learned variance, ` +
        `got ${result.length}; check out_channels of the network against the latents`,
    );
  const [out, variance] = x.space.halves(result);
  return predictionOf(p, x, level, LinearForm.of(out), variance);
}

/** x as the network was trained to see it. */
function seen(p: Parameterisation, x: Vec, level: NoiseLevel): Vec {
  return p.input ? LinearForm.of(x, p.input(level)).materialise() : x;
}

/**
 * For a state y = x/alpha, whose noise grows instead of its picture shrinking: the network still sees x. After churn a
 * v is read by the level it was asked at, as diffusers does.
 * @throws ConfigError if the type is unknown
 */
export function inSigmaSpace(type: PredictionType | Parameterisation): Parameterisation {
  return { ...resolve(type), input: (level) => 1 / n(level), keepsLevel: type === 'v_prediction' };
}

/**
 * A network as a denoiser. An output with twice the elements is split into prediction and learned variance.
 *
 * @param type `epsilon`, `v_prediction`, `sample`, or a parameterisation of your own
 * @throws ConfigError if the type is unknown
 * @throws ShapeError (on the call) if the output fits neither one nor two times x
 * @throws InvalidArgumentError (when x0 or eps is asked for) if the type says nothing at that level
 */
export function parameterise(network: Network, type: PredictionType | Parameterisation): Denoiser {
  const p = resolve(type);
  return async (x, level, signal) => read(p, x, level, await network(seen(p, x, level), level.timestep, signal));
}

/**
 * As {@link parameterise}, for a network that answers without and with the condition in one call.
 * @throws ConfigError if the type is unknown; ShapeError, InvalidArgumentError as there
 */
export function parameterisePair(network: PairNetwork, type: PredictionType | Parameterisation): PairDenoiser {
  const p = resolve(type);
  return async (x, level, signal) => {
    const [uncond, cond] = await network(seen(p, x, level), level.timestep, signal);
    return [read(p, x, level, uncond), read(p, x, level, cond)];
  };
}
