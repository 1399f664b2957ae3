/**
 * Dormand–Prince 5(4) with adaptive steps: Hairer, Nørsett & Wanner, Solving ODEs I, table II.5.2, sections II.4 and
 * II.5. Step control as in SciPy's `solve_ivp`, so that it takes the same steps.
 */
import { InvalidArgumentError } from '../../engine/errors.ts';
import { runSteps, type RunOptions } from '../loop.ts';
import type { NoiseLevel } from '../schedule/schedule.ts';
import { LinearForm, type Vec } from '../vec.ts';

/** A tensor and, integrated with it, some numbers on the host. */
export interface OdeState {
  readonly x: Vec;
  readonly extra: readonly number[];
  /** Of a slope: the picture as believed there, for those who look on; default x. */
  readonly x0?: LinearForm;
}

/** d/dt of both. */
export type OdeSlope = (t: number, state: OdeState) => Promise<OdeState>;

/** What may be chosen. */
export interface Rk45Options extends Pick<RunOptions, 'onStep' | 'resume' | 'signal'> {
  /** Relative tolerance, > 0; default 1e-5. */
  rtol?: number;
  /** Absolute tolerance, > 0; default 1e-5. */
  atol?: number;
  /** What `onStep` is told of a time; default the time alone. */
  levelAt?: (t: number) => NoiseLevel;
}

type Tolerances = Required<Pick<Rk45Options, 'rtol' | 'atol'>>;

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
 * Integrates from t0 to t1, in either direction. The error is measured over all elements and extra numbers together;
 * its norms are all that is read back of a trial. `onStep` is told of every trial, accepted or not.
 * @returns the state at t1 and how often the slope was asked for
 * @throws InvalidArgumentError unless the tolerances are positive and the step stays representable; AbortedError
 */
export async function rk45(
  slope: OdeSlope,
  t0: number,
  t1: number,
  start: OdeState,
  options: Rk45Options = {},
): Promise<{ state: OdeState; evaluations: number }> {
  const { rtol = 1e-5, atol = 1e-5, levelAt = (t) => ({ timestep: t, alpha: NaN, sigma: NaN }) } = options;
  if (!(rtol > 0 && atol > 0)) throw new InvalidArgumentError(`rk45: expected rtol, atol > 0, got ${rtol}, ${atol}`);
  const [size, sign, tolerances] = [start.extra.length, Math.sign(t1 - t0), { rtol, atol }];
  const none = Array<number>(size).fill(0);
  const begin = { x: start.x, history: [], numbers: [t0, 0, 0, 0, ...start.extra, ...none] };
  const last = await runSteps({ ...options, begin }, async ({ x, history: [known], numbers }) => {
    const [t, planned, refused] = numbers;
    if (t === t1) return undefined;
    let evaluations = numbers[3];
    const f: OdeSlope = (at, state) => (evaluations++, slope(at, state));
    const state: OdeState = { x, extra: numbers.slice(4, 4 + size) };
    const first = known ? { x: known, extra: numbers.slice(4 + size) } : await f(t, state);
    const h = known ? planned : await firstStep(f, t0, t1, state, first, tolerances);
    if (!(t + sign * h !== t)) throw new InvalidArgumentError(`rk45: expected a step that moves t = ${t}, got ${h}`);
    const next = sign * (t + sign * h - t1) > 0 ? t1 : t + sign * h;
    const { end, slopes } = await attempt(f, t, next, state, first);
    const error = await norm(combined(undefined, slopes, DIFFERENCE, next - t), state, end, tolerances);
    const factor = error === 0 ? MOST : SAFETY * error ** EXPONENT;
    const good = error < 1;
    const grown = Math.abs(next - t) * (good ? Math.min(refused ? 1 : MOST, factor) : Math.max(LEAST, factor));
    const [at, [a, b]] = good ? [next, [end, slopes[slopes.length - 1]]] : [t, [state, first]];
    const x0 = slopes[good ? slopes.length - 1 : 0].x0 ?? LinearForm.of(a.x);
    const kept = [at, grown, good ? 0 : 1, evaluations, ...a.extra, ...b.extra];
    return { x: a.x, history: [b.x], numbers: kept, x0, at: levelAt(t) };
  });
  return { state: { x: last.x, extra: last.numbers.slice(4, 4 + size) }, evaluations: last.numbers[3] };
}

/** The slopes of one step, and where they lead. */
async function attempt(f: OdeSlope, t: number, next: number, state: OdeState, first: OdeState) {
  const [slopes, dt] = [[first], next - t];
  for (let i = 1; i < NODES.length; i++) slopes.push(await f(t + NODES[i] * dt, moved(state, slopes, STAGES[i], dt)));
  const end = moved(state, slopes, FIFTH, dt);
  slopes.push(await f(next, end));
  return { end, slopes };
}

/** A state whose tensor is not computed yet. */
interface Combined {
  readonly x: LinearForm;
  readonly extra: readonly number[];
}

/** state + dt·Σ wᵢ·slopeᵢ; without a state, the sum alone. */
function combined(
  state: OdeState | undefined,
  slopes: readonly OdeState[],
  w: readonly number[],
  dt: number,
): Combined {
  let x = state ? LinearForm.of(state.x) : LinearForm.of(slopes[0].x, 0);
  w.forEach((wi, i) => (x = x.plus(slopes[i].x, wi * dt)));
  const zero = state?.extra ?? slopes[0].extra.map(() => 0);
  return { x, extra: zero.map((e, k) => w.reduce((sum, wi, i) => sum + dt * wi * slopes[i].extra[k], e)) };
}

function moved(state: OdeState, slopes: readonly OdeState[], w: readonly number[], dt: number): OdeState {
  const { x, extra } = combined(state, slopes, w, dt);
  return { x: x.materialise(), extra };
}

/** RMS of value/(atol + rtol·max(|a|, |b|)). */
async function norm(value: Combined, a: OdeState, b: OdeState, { rtol, atol }: Tolerances): Promise<number> {
  const { space, length } = a.x;
  const norms = await space.norm(space.relativeError(value.x, a.x, b.x, atol, rtol, 'sum'));
  const others = value.extra.map((v, k) => v / (atol + rtol * Math.max(Math.abs(a.extra[k]), Math.abs(b.extra[k]))));
  return Math.sqrt([...norms, ...others].reduce((sum, e) => sum + e ** 2, 0) / (length + others.length));
}

/** Hairer, Nørsett & Wanner, section II.4, algorithm for the starting step. */
async function firstStep(
  f: OdeSlope,
  t0: number,
  t1: number,
  y: OdeState,
  slope: OdeState,
  tolerances: Tolerances,
): Promise<number> {
  const length = Math.abs(t1 - t0);
  const size = (v: Combined): Promise<number> => norm(v, y, y, tolerances);
  const [d0, d1] = [await size(combined(y, [], [], 0)), await size(combined(undefined, [slope], [1], 1))];
  const h0 = Math.min(d0 < 1e-5 || d1 < 1e-5 ? 1e-6 : (0.01 * d0) / d1, length);
  const dt = Math.sign(t1 - t0) * h0;
  const trial = await f(t0 + dt, moved(y, [slope], [1], dt));
  const d2 = (await size(combined(undefined, [trial, slope], [1, -1], 1))) / h0;
  const largest = Math.max(d1, d2);
  const h1 = largest <= 1e-15 ? Math.max(1e-6, h0 * 1e-3) : (0.01 / largest) ** (1 / 5);
  return Math.min(100 * h0, h1, length);
}
