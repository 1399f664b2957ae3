/** Error against evaluations of the network, from the published starts, on the mixture in two dimensions. */
import type { TopLevelSpec } from 'vega-lite';
import { FLOWS } from '../../test/sampler/orders/flows.ts';
import { gaussianError } from '../../test/sampler/orders/gaussian.ts';
import { AS_PUBLISHED, type Method } from '../../test/sampler/orders/methods.ts';
import { problem } from '../../test/sampler/orders/problem.ts';
import { runGrid } from '../../test/sampler/orders/run.ts';
import { STOCHASTIC, type Stochastic } from '../../test/sampler/orders/stochastic.ts';

const WHERE = problem('2d');
const BUDGETS = [6, 9, 12, 18, 24, 36, 54, 81, 120];

/** A line of a panel: how it is called there, and which method it is. */
type Lines = readonly (readonly [label: string, method: string])[];

interface Row {
  name: string;
  evaluations: number;
  error: number;
}

async function measure(label: string, name: string): Promise<Row[]> {
  const flow = FLOWS.find((f) => f.name === name);
  const rows: Row[] = [];
  if (flow) {
    const settings = [1e1, 1e2, 1e3, 1e4, 1e5].map((inverse) => inverse * (flow.formula === 5 ? 10 : 1));
    for (const setting of settings) rows.push({ name: label, ...(await flow.run(WHERE, setting)) });
    return rows.filter((r) => r.evaluations >= 5 && r.evaluations <= 200);
  }
  const method: Method | undefined = AS_PUBLISHED.find((m) => m.name === name);
  if (!method) throw new Error(`plots: expected a method of test/sampler/orders, got ${name}`);
  for (const budget of BUDGETS) {
    const steps = Math.floor(budget / method.cost);
    if (steps < 3) continue;
    rows.push({ name: label, ...(await runGrid(WHERE, method, steps, 'published')) });
  }
  return rows;
}

async function measureWeak(label: string, name: string): Promise<Row[]> {
  const method: Stochastic | undefined = STOCHASTIC.find((m) => m.name === name);
  if (!method) throw new Error(`plots: expected a stochastic method of test/sampler/orders, got ${name}`);
  const rows: Row[] = [];
  for (const steps of [30, 60, 120, 240]) {
    const cost = method.cost ?? 1;
    rows.push({ name: label, evaluations: steps * cost, error: await gaussianError(method, steps) });
  }
  return rows;
}

/** Below each panel, so that a page's width is the panels'. */
const LEGEND = { title: null, orient: 'bottom', columns: 2, columnPadding: 14, offset: 2 };

/** Powers of ten around all errors, the largest shown being 1. */
function decadesOf(rows: readonly Row[]): number[] {
  const logs = rows.map((r) => Math.log10(Math.min(r.error, 1)));
  const [low, high] = [Math.floor(Math.min(...logs)), Math.ceil(Math.max(...logs))];
  return Array.from({ length: high - low + 1 }, (_, i) => Number(`1e${low + i}`));
}

/** What stands at the axes. */
interface Axes {
  what: string;
  range: readonly [number, number];
}
const FLOW: Axes = { what: 'error', range: [5, 200] };

/** One panel with its own colours and legend. */
function panel(
  title: string,
  names: readonly string[],
  values: readonly Row[],
  decades: readonly number[],
  { what, range }: Axes,
): object {
  const scale = { type: 'log', nice: false };
  return {
    title,
    width: 330,
    height: 210,
    data: { values },
    mark: { type: 'line', clip: true, point: { size: 18 }, strokeWidth: 1.6 },
    encoding: {
      x: {
        field: 'evaluations',
        type: 'quantitative',
        scale: { ...scale, domain: range },
        axis: { title: 'network evaluations', values: [5, 10, 20, 50, 100, 200, 500], format: 'd' },
      },
      y: {
        field: 'error',
        type: 'quantitative',
        scale: { ...scale, domain: [decades[0], decades[decades.length - 1]], clamp: true },
        axis: { title: what, format: '.0e', values: decades },
      },
      color: { field: 'name', type: 'nominal', sort: names, legend: LEGEND },
      shape: { field: 'name', type: 'nominal', sort: names, legend: LEGEND },
    },
  };
}

async function panels(
  title: string,
  found: Readonly<Record<string, Lines>>,
  of: (label: string, name: string) => Promise<Row[]> = measure,
  axes = FLOW,
): Promise<TopLevelSpec> {
  const all: [string, string[], Row[]][] = [];
  for (const [name, lines] of Object.entries(found)) {
    const rows: Row[] = [];
    for (const [label, method] of lines) rows.push(...(await of(label, method)));
    all.push([name, lines.map(([label]) => label), rows]);
  }
  return {
    title: { text: title, fontSize: 15, offset: 10 },
    columns: 2,
    concat: all.map(([name, labels, rows]) => panel(name, labels, rows, decadesOf(all.flatMap(([, , r]) => r)), axes)),
    resolve: { scale: { color: 'independent', shape: 'independent' } },
    spacing: 24,
  } as unknown as TopLevelSpec;
}

const same = (names: readonly string[], prefix: string, suffix = ''): Lines =>
  names.map((n) => [`order ${n}`, `${prefix}${n}${suffix}`]);

const DPM_MULTI = ['1', '2 midpoint', '2 heun', '3', '3 as published'];
const DPM_SINGLE = ['1', '2 midpoint', '2 heun', '3 midpoint', '3 heun'];
const uni = (solverType: string, on: string): Lines =>
  [1, 2, 3].flatMap((order): Lines => [
    [`order ${order}`, `uniPc ${order} ${solverType}, ${on}`],
    [`order ${order}, no corrector`, `uniPc ${order} ${solverType}, ${on}, no corrector`],
  ]);

/** Files and what is drawn in them. */
export const ERROR_PLOTS: Readonly<Record<string, () => Promise<TopLevelSpec>>> = {
  'errors-classical': () =>
    panels('Error at σ/α = 0.08 against network evaluations: classical methods', {
      'Steps of one slope or two': [
        ['ddim = euler', 'ddim'],
        ['heun = karrasVe', 'heun'],
        ['kdpm2', 'kdpm2'],
        ['heun, straight paths', 'heun on straight paths'],
      ],
      'LMS, by order': same(['1', '2', '3', '4'], 'lms '),
      'Pseudo-numerical methods': [
        ['pndm (PLMS)', 'pndm (PLMS)'],
        ['pndm (PRK)', 'pndm (PRK)'],
        ['ipndm', 'ipndm'],
        ['ddim', 'ddim'],
      ],
      'DEIS, by order': same(['1', '2', '3'], 'deis '),
    }),
  'errors-dpm-solver': () =>
    panels('Error at σ/α = 0.08 against network evaluations: DPM-Solver', {
      'Multistep, on ε': same(DPM_MULTI, 'dpmSolverMultistep ', ', ε'),
      'Multistep, on x₀ (++)': same(DPM_MULTI, 'dpmSolverMultistep ', ', x₀'),
      'Singlestep, on ε': same(DPM_SINGLE, 'dpmSolverSinglestep ', ', ε'),
      'Singlestep, on x₀ (++)': same(DPM_SINGLE, 'dpmSolverSinglestep ', ', x₀'),
    }),
  'errors-k-diffusion': () =>
    panels('Error at σ/α = 0.08 against network evaluations: as in k-diffusion, and adaptive steps', {
      'DPM-Solver++, no noise': [
        ['dpmpp2m', 'kdiffusion.dpmpp2m'],
        ['dpmpp2sAncestral', 'kdiffusion.dpmpp2sAncestral, η = 0'],
        ['dpmppSde', 'kdiffusion.dpmppSde, η = 0, r = ½'],
        ['dpmpp2mSde heun', 'kdiffusion.dpmpp2mSde, η = 0, heun'],
        ['dpmpp3mSde', 'kdiffusion.dpmpp3mSde, η = 0'],
        ['dpmpp3mSde, as published', 'kdiffusion.dpmpp3mSde, η = 0, as published'],
      ],
      'Steps of fixed orders': [
        ['dpmFast, all of order 1', 'kdiffusion.dpmFast, order 1'],
        ['dpmFast, all of order 2', 'kdiffusion.dpmFast, order 2'],
        ['dpmFast, all of order 3', 'kdiffusion.dpmFast, order 3'],
        ['dpmFast, its own plan', 'kdiffusion.dpmFast, plan'],
      ],
      'Adaptive steps': [
        ['dpmAdaptive 2', 'kdiffusion.dpmAdaptive 2'],
        ['dpmAdaptive 3', 'kdiffusion.dpmAdaptive 3'],
        ['dpmSolverAdaptive 2, x₀', 'dpmSolver.dpmSolverAdaptive 2, x₀'],
        ['dpmSolverAdaptive 3, x₀', 'dpmSolver.dpmSolverAdaptive 3, x₀'],
        ['probabilityFlow, VE', 'sde.probabilityFlow (RK45), VE'],
        ['probabilityFlow, VP', 'sde.probabilityFlow (RK45), VP'],
        ['probabilityFlow, sub-VP', 'sde.probabilityFlow (RK45), sub-VP'],
      ],
      'LMS of higher orders': same(['4', '5', '6'], 'kdiffusion.lms '),
    }),
  'errors-unipc': () =>
    panels('Error at σ/α = 0.08 against network evaluations: UniPC, by order', {
      'B(h) = h, on ε': uni('bh1', 'ε'),
      'B(h) = e^h − 1, on ε': uni('bh2', 'ε'),
      'B(h) = h, on x₀': uni('bh1', 'x₀'),
      'B(h) = e^h − 1, on x₀': uni('bh2', 'x₀'),
    }),
  'errors-stochastic': () =>
    panels(
      'Error of mean and deviation of one Gaussian, exactly, against network evaluations',
      {
        'Ancestral steps': [
          ['ddpm fixed_small = ddim, η = 1', 'ddpm, fixed_small'],
          ['ddpm, fixed_large', 'ddpm, fixed_large'],
          ['ddim, η = ½', 'ddim, η = ½'],
          ['eulerAncestral', 'eulerAncestral'],
          ['kdpm2, ancestral', 'kdpm2, ancestral'],
          ['dpmpp2sAncestral', 'kdiffusion.dpmpp2sAncestral'],
        ],
        Churn: [
          ['euler, S_churn = 2', 'kdiffusion.euler, S_churn = 2'],
          ['heun, S_churn = 2', 'kdiffusion.heun, S_churn = 2'],
        ],
        'SDE forms of DPM-Solver': [
          ['dpmppSde', 'kdiffusion.dpmppSde'],
          ['dpmpp2mSde midpoint', 'kdiffusion.dpmpp2mSde, midpoint'],
          ['dpmpp2mSde heun', 'kdiffusion.dpmpp2mSde, heun'],
          ['dpmpp3mSde', 'kdiffusion.dpmpp3mSde'],
          ['multistep 1, ε', 'dpmSolverMultistep 1, SDE, ε'],
          ['multistep 2, ε', 'dpmSolverMultistep 2 midpoint, SDE, ε'],
          ['singlestep 2, ε', 'dpmSolverSinglestep 2, SDE, ε'],
        ],
        Predictors: [
          ['euler_maruyama, VE', 'euler_maruyama, VE'],
          ['euler_maruyama, VP', 'euler_maruyama, VP'],
          ['euler_maruyama, sub-VP', 'euler_maruyama, sub-VP'],
          ['reverse_diffusion, VE', 'reverse_diffusion, VE'],
          ['reverse_diffusion, VP', 'reverse_diffusion, VP'],
          ['ancestral_sampling, VE', 'ancestral_sampling, VE'],
          ['ancestral_sampling, VP', 'ancestral_sampling, VP'],
        ],
      },
      measureWeak,
      { what: 'error', range: [25, 500] },
    ),
};
