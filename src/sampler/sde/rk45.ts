/**
 * Dormand–Prince 5(4) with adaptive steps: Hairer, Nørsett & Wanner, Solving ODEs I, table II.5.2, sections II.4 and
 * II.5. Step control as in SciPy's `solve_ivp`, so that it takes the same steps.
 */
import { InvalidArgumentError, throwIfAborted } from '../../engine/errors.ts';
import { LinearForm, type Vec } from '../vec.ts';

/** A tensor and, integrated with it, some numbers on the host. */
export interface OdeState {
  readonly x: Vec;
  readonly extra: readonly number[];
}

/** d/dt of both. */
export type OdeSlope = (t: number, state: OdeState) => Promise<OdeState>;

/** What may be chosen. */
export interface Rk45Options {
  /** Relative tolerance, > 0; default 1e-5. */
  rtol?: number;
  /** Absolute tolerance, > 0; default 1e-5. */
  atol?: number;
  signal?: AbortSignal;
}

const NODES = [0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1];
const STAGES = [
  [],
  [1 / 5],
  [3 / 40, 9 / 40],
  [44 / 45, -56 / 15, 32 / 9],
  [19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729],
  [9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656],
];
const FIFTH = [35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84];
/** Fifth order minus fourth. */
const DIFFERENCE = [-71 / 57600, 0, 71 / 16695, -71 / 1920, 17253 / 339200, -22 / 525, 1 / 40];

const [SAFETY, LEAST, MOST, EXPONENT] = [0.9, 0.2, 10, -1 / 5];

/**
 * Integrates from t0 to t1, in either direction. The error is measured over all elements and extra numbers together,
 * and is read back once per trial.
 * @returns the state at t1 and how often the slope was asked for
 * @throws InvalidArgumentError unless the tolerances are positive and the step stays representable; AbortedError
 */
export async function rk45(
  slope: OdeSlope,
  t0: number,
  t1: number,
  start: OdeState,
  { rtol = 1e-5, atol = 1e-5, signal }: Rk45Options = {},
): Promise<{ state: OdeState; evaluations: number }> {
  if (!(rtol > 0 && atol > 0)) throw new InvalidArgumentError(`rk45: expected rtol, atol > 0, got ${rtol}, ${atol}`);
  const sign = Math.sign(t1 - t0);
  let evaluations = 0;
  const f = (t: number, state: OdeState): Promise<OdeState> => {
    evaluations++;
    return slope(t, state);
  };
  let [state, t, first] = [start, t0, await f(t0, start)];
  let h = await firstStep(f, t0, t1, state, first, rtol, atol);
  let refused = false;
  while (t !== t1) {
    throwIfAborted(signal, 'rk45, before a step');
    if (!(t + sign * h !== t)) throw new InvalidArgumentError(`rk45: expected a step that moves t = ${t}, got ${h}`);
    const next = sign * (t + sign * h - t1) > 0 ? t1 : t + sign * h;
    const dt = next - t;
    const slopes = [first];
    for (let i = 1; i < NODES.length; i++) slopes.push(await f(t + NODES[i] * dt, moved(state, slopes, STAGES[i], dt)));
    const end = moved(state, slopes, FIFTH, dt);
    slopes.push(await f(next, end));
    const error = await norm(moved(undefined, slopes, DIFFERENCE, dt), state, end, rtol, atol);
    const factor = error === 0 ? MOST : SAFETY * error ** EXPONENT;
    if (error < 1) {
      [state, t, first] = [end, next, slopes[slopes.length - 1]];
      h = Math.abs(dt) * Math.min(refused ? 1 : MOST, factor);
      refused = false;
      state.x.space.endStep([state.x, first.x]);
    } else {
      h = Math.abs(dt) * Math.max(LEAST, factor);
      refused = true;
    }
  }
  return { state, evaluations };
}

/** state + dt·Σ wᵢ·slopeᵢ; without a state, the sum alone. */
function moved(state: OdeState | undefined, slopes: readonly OdeState[], w: readonly number[], dt: number): OdeState {
  let x = state ? LinearForm.of(state.x) : LinearForm.of(slopes[0].x, 0);
  w.forEach((wi, i) => (x = x.plus(slopes[i].x, wi * dt)));
  const zero = state?.extra ?? slopes[0].extra.map(() => 0);
  return {
    x: x.materialise(),
    extra: zero.map((e, k) => w.reduce((sum, wi, i) => sum + dt * wi * slopes[i].extra[k], e)),
  };
}

/** RMS of value/(atol + rtol·max(|a|, |b|)). */
async function norm(value: OdeState, a: OdeState, b: OdeState, rtol: number, atol: number): Promise<number> {
  const [v, p, q] = await Promise.all([value, a, b].map(async (s) => [...(await s.x.space.read(s.x)), ...s.extra]));
  let sum = 0;
  for (let i = 0; i < v.length; i++) sum += (v[i] / (atol + rtol * Math.max(Math.abs(p[i]), Math.abs(q[i])))) ** 2;
  return Math.sqrt(sum / v.length);
}

/** Hairer, Nørsett & Wanner, section II.4, algorithm for the starting step. */
async function firstStep(
  f: OdeSlope,
  t0: number,
  t1: number,
  y: OdeState,
  slope: OdeState,
  rtol: number,
  atol: number,
): Promise<number> {
  const length = Math.abs(t1 - t0);
  const [d0, d1] = [await norm(y, y, y, rtol, atol), await norm(slope, y, y, rtol, atol)];
  const h0 = Math.min(d0 < 1e-5 || d1 < 1e-5 ? 1e-6 : (0.01 * d0) / d1, length);
  const dt = Math.sign(t1 - t0) * h0;
  const trial = await f(t0 + dt, moved(y, [slope], [1], dt));
  const d2 = (await norm(moved(undefined, [trial, slope], [1, -1], 1), y, y, rtol, atol)) / h0;
  const largest = Math.max(d1, d2);
  const h1 = largest <= 1e-15 ? Math.max(1e-6, h0 * 1e-3) : (0.01 / largest) ** (1 / 5);
  return Math.min(100 * h0, h1, length);
}
