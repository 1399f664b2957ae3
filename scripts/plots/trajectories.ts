/**
 * The way of the same six starts to the picture in two dimensions, a few steps of each method, beside the exact flow.
 */
import type { TopLevelSpec } from 'vega-lite';
import { runSolver, TorchGenerator, type NoiseSource } from '../../src/sampler/index.ts';
import { AS_PUBLISHED } from '../../test/sampler/orders/methods.ts';
import { CLEAN, exactDenoiser, exactFlow, NOISY, problem, space, vpAt } from '../../test/sampler/orders/problem.ts';
import type { Plan } from '../../test/sampler/orders/run.ts';
import { STOCHASTIC } from '../../test/sampler/orders/stochastic.ts';

const WHERE = problem('2d');
const STARTS = 6;

interface Point {
  panel: string;
  path: number;
  step: number;
  x: number;
  y: number;
}

/** Starts on a circle of the radius where most noise lies, so that paths are told apart. */
const FIRST = Float64Array.from({ length: 2 * STARTS }, (_, i) => {
  const angle = (2 * Math.PI * (Math.floor(i / 2) + 0.3)) / STARTS;
  return 1.5 * (i % 2 === 0 ? Math.cos(angle) : Math.sin(angle));
});

/** States [paths, 2] of a step as points of the variance-preserving state, where all scales of noise fit a picture. */
function points(panel: string, step: number, data: ArrayLike<number>, scale: number): Point[] {
  return Array.from({ length: STARTS }, (_, path) => ({
    panel,
    path,
    step,
    x: data[2 * path] * scale,
    y: data[2 * path + 1] * scale,
  }));
}

/** Factor from a state of this scale and noise to the variance-preserving one. */
const toVp = ({ alpha, sigma }: { alpha: number; sigma: number }): number => 1 / Math.hypot(alpha, sigma);

function exactPaths(panel: string): Point[] {
  const fine = 12;
  let y: Float64Array = FIRST.map((v) => v / vpAt(NOISY).alpha);
  const out = points(panel, 0, FIRST, 1);
  for (let i = 1; i <= fine; i++) {
    const [from, to] = [i - 1, i].map((k) => NOISY + ((CLEAN - NOISY) * k) / fine);
    y = exactFlow(WHERE, y, from, to);
    out.push(...points(panel, i, y, vpAt(to).alpha));
  }
  return out;
}

async function pathsOf(panel: string, { solver, transitions }: Plan): Promise<Point[]> {
  const first = transitions[0].from;
  const x = space.vec(
    FIRST.map((v) => v / toVp(first)),
    STARTS,
  );
  const generator = new TorchGenerator(4);
  const noise: NoiseSource = (like) => space.vec(generator.randn(like.length), like.batch);
  const out = points(panel, 0, x.data, toVp(first));
  await runSolver({
    x,
    solver,
    transitions,
    denoiser: exactDenoiser(WHERE),
    noise,
    onStep: async ({ step, state }) => {
      out.push(...points(panel, step, (await state()).x, toVp(transitions[step - 1].to)));
    },
  });
  return out;
}

/** Where the picture lies: ellipses of one and two standard deviations of each component. */
function ellipses(): { path: string; step: number; x: number; y: number }[] {
  const { alpha, sigma } = vpAt(CLEAN);
  return WHERE.mixture.means.flatMap((mean, k) =>
    [1, 2].flatMap((radius) =>
      Array.from({ length: 25 }, (_, i) => {
        const at = [Math.cos((i * Math.PI) / 12), Math.sin((i * Math.PI) / 12)].map(
          (c, d) => alpha * mean[d] + radius * c * Math.sqrt(alpha ** 2 * WHERE.mixture.variances[k][d] + sigma ** 2),
        );
        return { path: `${k} ${radius}`, step: i, x: at[0], y: at[1] };
      }),
    ),
  );
}

type Named = readonly (readonly [panel: string, method: string])[];

function planOf(name: string, steps: number): Plan {
  const stochastic = STOCHASTIC.find((m) => m.name === name);
  if (stochastic) return stochastic.plan(steps);
  const method = AS_PUBLISHED.find((m) => m.name === name);
  if (!method) throw new Error(`plots: expected a method of test/sampler/orders, got ${name}`);
  const lambdas = Array.from({ length: steps + 1 }, (_, i) => NOISY + ((CLEAN - NOISY) * i) / steps);
  return method.plan(lambdas.map(method.at), lambdas);
}

/** How a picture is drawn: steps of every method, and how many of the starts; noise takes colours apart. */
interface Look {
  steps: number;
  starts: number;
  noisy?: boolean;
}

async function trajectories(
  title: string,
  { steps, starts, noisy = false }: Look,
  names: Named,
): Promise<TopLevelSpec> {
  const panels: object[] = [];
  const domain = noisy ? [-2.6, 2.6] : [-1.9, 1.9];
  const shown = (p: Point): boolean => p.path < starts;
  const ends = (p: Point): boolean => p.step === 0 || p.step === steps;
  const encoding = {
    x: { field: 'x', type: 'quantitative', scale: { domain }, axis: null },
    y: { field: 'y', type: 'quantitative', scale: { domain }, axis: null },
  };
  const colour = noisy ? { color: { field: 'path', type: 'nominal', legend: null } } : { color: { value: '#0072b2' } };
  const exact = exactPaths('exact').filter(shown);
  for (const [panel, method] of names) {
    const found = (await pathsOf(panel, planOf(method, steps))).filter(shown);
    const path = {
      ...encoding,
      detail: { field: 'path' },
      order: { field: 'step', type: 'quantitative' },
    };
    panels.push({
      title: { text: panel, fontSize: 12, offset: 4 },
      width: 190,
      height: 190,
      layer: [
        {
          data: { name: 'ellipses' },
          mark: { type: 'line', color: '#999999', strokeWidth: 0.7, clip: true },
          encoding: path,
        },
        ...(noisy
          ? []
          : [{ data: { name: 'exact' }, mark: { type: 'line', color: '#e69f00', strokeWidth: 2 }, encoding: path }]),
        {
          data: { values: found },
          mark: { type: 'line', strokeWidth: noisy ? 0.9 : 1.1, clip: true },
          encoding: { ...path, ...colour },
        },
        {
          data: { values: noisy ? found.filter(ends) : found },
          mark: {
            type: 'point',
            shape: 'square',
            size: noisy ? 25 : 9,
            filled: true,
            opacity: 1,
            strokeWidth: 0,
            clip: true,
          },
          encoding: { ...encoding, ...colour },
        },
      ],
    });
  }
  return {
    title: { text: title, fontSize: 15, offset: 10 },
    datasets: { ellipses: ellipses(), ...(noisy ? {} : { exact }) },
    columns: 4,
    concat: panels,
    spacing: 14,
  } as unknown as TopLevelSpec;
}

/** Files and what is drawn in them. */
export const TRAJECTORY_PLOTS: Readonly<Record<string, () => Promise<TopLevelSpec>>> = {
  'trajectories-deterministic': () =>
    trajectories(
      'Five steps of each solver (blue) and the exact flow (orange) from the same noise',
      { steps: 5, starts: 6 },
      [
        ['ddim = euler', 'ddim'],
        ['heun', 'heun'],
        ['kdpm2', 'kdpm2'],
        ['heun on straight paths', 'heun on straight paths'],
        ['lms, order 4', 'lms 4'],
        ['pndm (PLMS)', 'pndm (PLMS)'],
        ['pndm (PRK)', 'pndm (PRK)'],
        ['ipndm', 'ipndm'],
        ['dpmSolverMultistep 2, ε', 'dpmSolverMultistep 2 midpoint, ε'],
        ['dpmSolverMultistep 2, x₀', 'dpmSolverMultistep 2 midpoint, x₀'],
        ['dpmSolverMultistep 3, x₀', 'dpmSolverMultistep 3, x₀'],
        ['dpmSolverSinglestep 2, x₀', 'dpmSolverSinglestep 2 midpoint, x₀'],
        ['dpmSolverSinglestep 3, x₀', 'dpmSolverSinglestep 3 midpoint, x₀'],
        ['deis 3', 'deis 3'],
        ['uniPc 2, x₀', 'uniPc 2 bh2, x₀'],
        ['uniPc 3, x₀', 'uniPc 3 bh2, x₀'],
      ],
    ),
  'trajectories-stochastic': () =>
    trajectories(
      'Ten steps of each stochastic solver from three starts, one seed',
      { steps: 10, starts: 3, noisy: true },
      [
        ['ddpm, fixed_small', 'ddpm, fixed_small'],
        ['ddpm, fixed_large', 'ddpm, fixed_large'],
        ['ddim, η = 1', 'ddim, η = 1'],
        ['ddim, η = ½', 'ddim, η = ½'],
        ['eulerAncestral', 'eulerAncestral'],
        ['euler, S_churn = 2', 'kdiffusion.euler, S_churn = 2'],
        ['heun, S_churn = 2', 'kdiffusion.heun, S_churn = 2'],
        ['kdpm2, ancestral', 'kdpm2, ancestral'],
        ['dpmpp2sAncestral', 'kdiffusion.dpmpp2sAncestral'],
        ['dpmppSde', 'kdiffusion.dpmppSde'],
        ['dpmpp2mSde', 'kdiffusion.dpmpp2mSde, midpoint'],
        ['dpmpp3mSde', 'kdiffusion.dpmpp3mSde'],
        ['multistep 2, SDE, x₀', 'dpmSolverMultistep 2 midpoint, SDE, x₀'],
        ['multistep 2, SDE, ε', 'dpmSolverMultistep 2 midpoint, SDE, ε'],
        ['singlestep 2, SDE, x₀', 'dpmSolverSinglestep 2, SDE, x₀'],
        ['scoreVe, no correction', 'scoreVe, no correction'],
      ],
    ),
};
