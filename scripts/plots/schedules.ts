/** Noise schedules over training timesteps, grids of sigmas over steps, and the variances of reverse steps. */
import type { TopLevelSpec } from 'vega-lite';
import {
  analytic,
  betaSigmas,
  dpmSolver,
  edm,
  exponentialSigmas,
  karrasSigmas,
  kdiffusion,
  laplaceSigmas,
  logSnr,
  NoiseSchedule,
  resolutionMu,
  shiftSigma,
  spacedTimesteps,
  TorchGenerator,
  type NoiseLevel,
  type ScheduleOptions,
} from '../../src/sampler/index.ts';
import { lawSamples } from '../../test/sampler/orders/law.ts';
import { posteriorMean, problem } from '../../test/sampler/orders/problem.ts';

interface Row {
  name: string;
  x: number;
  y: number;
}
type Axis = Readonly<Record<string, unknown>>;

interface Panel {
  title: string;
  x: Axis;
  y: Axis;
  points?: boolean;
  lines: readonly (readonly [name: string, y: (i: number) => number])[];
  /** Where the lines are asked, and where that stands on the axis. */
  at: readonly number[];
  place?: (i: number) => number;
}

/** One panel with its own colours and legend. */
function panel({ title, x, y, points = false, lines, at, place = (i) => i }: Panel): object {
  const values: Row[] = lines.flatMap(([name, f]) =>
    at.map((i) => ({ name, x: place(i), y: f(i) })).filter((row) => Number.isFinite(row.y)),
  );
  const legend = {
    title: null,
    orient: 'bottom',
    columns: 2,
    columnPadding: 14,
    offset: 2,
    symbolType: 'circle',
    symbolStrokeWidth: 4,
  };
  const sort = lines.map(([name]) => name);
  return {
    title,
    width: 330,
    height: 210,
    data: { values },
    mark: { type: 'line', clip: true, strokeWidth: 1.7, ...(points ? { point: { size: 16 } } : {}) },
    encoding: {
      x: { field: 'x', type: 'quantitative', ...x },
      y: { field: 'y', type: 'quantitative', ...y },
      color: { field: 'name', type: 'nominal', sort, legend },
    },
  };
}

const page = (title: string, panels: readonly Panel[]): TopLevelSpec =>
  ({
    title: { text: title, fontSize: 15, offset: 10 },
    columns: 2,
    concat: panels.map(panel),
    resolve: { scale: { color: 'independent' } },
    spacing: 24,
  }) as unknown as TopLevelSpec;

const N = 1000;
const BETAS: Readonly<Record<string, ScheduleOptions>> = {
  linear: { betaSchedule: 'linear' },
  scaled_linear: { betaSchedule: 'scaled_linear', betaStart: 0.00085, betaEnd: 0.012 },
  'scaled_linear, zero SNR': {
    betaSchedule: 'scaled_linear',
    betaStart: 0.00085,
    betaEnd: 0.012,
    rescaleBetasZeroSnr: true,
  },
  squaredcos_cap_v2: { betaSchedule: 'squaredcos_cap_v2' },
  sigmoid: { betaSchedule: 'sigmoid' },
  exp: { betaSchedule: 'exp' },
  laplace: { betaSchedule: 'laplace' },
};

const training = Array.from({ length: 51 }, (_, i) => Math.min(i * 20, N - 1));
const scheduled = Object.entries(BETAS).map(([name, options]) => [name, new NoiseSchedule(options)] as const);
const STEPS = 20;
const steps = Array.from({ length: STEPS }, (_, i) => i);
const timestepAxis = { axis: { title: 'training timestep' } };
const stepAxis = { axis: { title: 'step of 20', tickCount: 5 } };

/** Tables of the schedules. */
function schedules(): TopLevelSpec {
  const [lo, hi] = [0.03, 15];
  const range = { sigmaMin: lo, sigmaMax: hi };
  const table = (values: ArrayLike<number>) => (i: number) => values[i];
  return page('Noise schedules', [
    {
      title: 'Signal left, ᾱ',
      x: timestepAxis,
      y: { axis: { title: 'ᾱ' } },
      at: training,
      lines: scheduled.map(([name, s]) => [name, (t) => s.alphasCumprod[t]]),
    },
    {
      title: 'Half log-SNR, λ = log(α/σ)',
      x: timestepAxis,
      y: { axis: { title: 'λ' }, scale: { domain: [-6, 5] } },
      at: training,
      lines: scheduled.map(([name, s]) => [name, (t) => logSnr(s.at(t))]),
    },
    {
      title: 'Grids of sigma from 15 to 0.03',
      x: stepAxis,
      y: { axis: { title: 'sigma', values: [0.03, 0.1, 0.3, 1, 3, 10] }, scale: { type: 'log', domain: [0.02, 20] } },
      at: steps,
      points: true,
      lines: [
        ['Karras, ρ = 7', table(karrasSigmas(STEPS, lo, hi))],
        ['exponential', table(exponentialSigmas(STEPS, lo, hi))],
        ['polyexponential, ρ = ½', table(kdiffusion.polyexponentialSigmas(STEPS, { ...range, rho: 0.5 }))],
        ['beta', table(betaSigmas(STEPS, lo, hi))],
        ['laplace', table(laplaceSigmas(STEPS, lo, hi))],
        ['VP', table(edm.sigmaGrid({ numInferenceSteps: STEPS, discretization: 'vp', ...range }))],
        ['iDDPM', table(edm.sigmaGrid({ numInferenceSteps: STEPS, discretization: 'iddpm', ...range }))],
      ],
    },
    {
      title: 'Flow matching: sigma shifted for larger pictures',
      x: stepAxis,
      y: { axis: { title: 'sigma' } },
      at: steps,
      points: true,
      lines: [
        ['shift 1', (i) => 1 - i / STEPS],
        ['shift 3', (i) => shiftSigma(1 - i / STEPS, 3)],
        ...[256, 1024, 4096].map((tokens): [string, (i: number) => number] => [
          `${tokens} tokens`,
          (i) => shiftSigma(1 - i / STEPS, Math.exp(resolutionMu(tokens))),
        ]),
      ],
    },
    {
      title: 'Training timesteps visited, by spacing',
      x: stepAxis,
      y: { axis: { title: 'training timestep' } },
      at: steps,
      points: true,
      lines: (['linspace', 'leading', 'trailing'] as const).map((spacing) => [
        spacing,
        table(spacedTimesteps(STEPS, N, spacing)),
      ]),
    },
    {
      title: 'Times of DPM-Solver, by spacing',
      x: stepAxis,
      y: { axis: { title: 'time' } },
      at: steps,
      points: true,
      lines: dpmSolver.SKIP_TYPES.map((skipType) => [
        skipType,
        table(dpmSolver.spacedTimes(dpmSolver.linearVp(), STEPS - 1, { skipType })),
      ]),
    },
  ]);
}

const WHERE = problem('2d');
const SAMPLES = 2000;
const draws = new TorchGenerator(21).randn(SAMPLES * WHERE.dims * 2);
let drawn = 0;
const law = lawSamples(WHERE, () => draws[drawn++], SAMPLES);

/** Γ at a level: the mean of ε² over the law of x, where ε is what an exact network says. Bao et al. 2022. */
function gamma(level: NoiseLevel): number {
  const x = law(level);
  const x0 = posteriorMean(WHERE, x, level);
  return x.reduce((sum, v, i) => sum + ((v - level.alpha * x0[i]) / level.sigma) ** 2 / x.length, 0);
}

/** Variances of a reverse step over β, on the mixture in two dimensions. */
function variances(): TopLevelSpec {
  const schedule = new NoiseSchedule({ precision: 'f64' });
  const over = (count: number): Panel => {
    const stride = N / count;
    const at = Array.from({ length: count - 1 }, (_, i) => (i + 2) * stride - 1).filter(
      (_, i) => count < 100 || i % 20 === 0 || i < 20,
    );
    const step = (t: number) => ({ from: schedule.at(t), to: schedule.at(t - stride) });
    const beta = (t: number): number => 1 - (step(t).from.alpha / step(t).to.alpha) ** 2;
    const small = (t: number): number => analytic.smallVariance(step(t));
    const learned = (v: number) => (t: number) => Math.exp(v * Math.log(beta(t)) + (1 - v) * Math.log(small(t)));
    return {
      title: `${count} steps of ${N}`,
      x: { axis: { title: 'training timestep' }, scale: { type: 'log', domain: [2, N] } },
      y: { axis: { title: 'variance / β' }, scale: { domain: [0, 1.02] } },
      at,
      points: count < 100,
      lines: [
        ['fixed_large, β', () => 1],
        ['fixed_small, β̃', (t) => small(t) / beta(t)],
        ['learned_range, v = ½', (t) => learned(0.5)(t) / beta(t)],
        ['analytic, DDPM mean', (t) => analytic.analyticVariance(step(t), gamma(step(t).from), {}) / beta(t)],
        [
          'analytic, DDIM mean',
          (t) => analytic.analyticVariance(step(t), gamma(step(t).from), { mean: 'ddim' }) / beta(t),
        ],
      ],
    };
  };
  return page('Variance of a reverse step, as a part of β, on the mixture in two dimensions', [
    over(1000),
    over(50),
    over(20),
    over(10),
  ]);
}

/** Files and what is drawn in them. */
export const SCHEDULE_PLOTS: Readonly<Record<string, () => TopLevelSpec>> = { schedules, variances };
