/**
 * Methods that are not a run over a grid in λ: adaptive ones, whose error should fall in proportion to the
 * tolerance, and fixed steps in the time of an SDE along its probability flow.
 */
import {
  dpmSolver as d,
  edm,
  kdiffusion as k,
  logSnr,
  runSolver,
  sde as sdes,
  type HostVec,
  type Transition,
} from '../../../src/sampler/index.ts';
import { CLEAN, distance, endsOf, exactDenoiser, exactFlow, NOISY, space, vpAt, type Problem } from './problem.ts';
import type { Measured } from './run.ts';

/** A method told by one number. */
export interface Flow {
  name: string;
  section: string;
  /** Order in the steps, or in the tolerance. */
  order: number;
  /** Steps, or inverse tolerances; rising. */
  settings: readonly number[];
  kind: 'tolerance' | 'steps';
  /** Evaluations per step of fixed length; default 1. */
  cost?: number;
  /** Of the formula that goes on, where steps are adaptive: error against evaluations. */
  formula?: number;
  run(problem: Problem, setting: number): Promise<Measured>;
}

const items = (problem: Problem): number => problem.start.length / problem.dims;

/** The measured end of a run whose state has scale `alpha`. */
function measured(problem: Problem, x: HostVec, alpha: number, want: Float64Array, evaluations: number): Measured {
  return {
    error: distance(
      x.data.map((v) => v / alpha),
      want,
      problem.dims,
    ),
    evaluations,
  };
}

/** The time at which a process has half log-SNR λ, by bisection. */
function timeAt(sde: sdes.Sde, lambda: number): number {
  let [lo, hi] = [0, 1];
  for (let i = 0; i < 100; i++) {
    const middle = (lo + hi) / 2;
    if (logSnr(sde.level(middle)) > lambda) lo = middle;
    else hi = middle;
  }
  return (lo + hi) / 2;
}

/** Smallest and largest sigma of a variance-exploding process that holds the run between its ends. */
const VE = [Math.exp(-CLEAN - 0.5), Math.exp(-NOISY)] as const;
const processes = {
  VE: (steps = 1000) => sdes.veSde(...VE, steps),
  VP: (steps = 1000) => sdes.vpSde(0.1, 20, steps),
  'sub-VP': (steps = 1000) => sdes.subVpSde(0.1, 20, steps),
} as const;
type Process = keyof typeof processes;

const adaptiveFlow = (process: Process): Flow => ({
  name: `sde.probabilityFlow (RK45), ${process}`,
  section: 'Probability flow',
  order: 1,
  formula: 5,
  kind: 'tolerance',
  settings: [1e8, 1e9, 1e10, 1e11],
  async run(problem, inverse) {
    const tolerance = 1 / inverse;
    const sde = processes[process]();
    const [from, to] = [timeAt(sde, NOISY), timeAt(sde, CLEAN)];
    const { first, last } = endsOf(problem);
    const x = space.vec(
      first.map((y) => y * sde.level(from).alpha),
      items(problem),
    );
    const options = { x, sde, denoiser: exactDenoiser(problem), from, to, rtol: tolerance, atol: tolerance };
    const done = await sdes.probabilityFlow(options);
    return measured(problem, done.x as HostVec, sde.level(to).alpha, last, done.evaluations);
  },
});

const dpmAdaptive = (order: 2 | 3): Flow => ({
  name: `kdiffusion.dpmAdaptive ${order}`,
  section: 'DPM fast and adaptive',
  order: 1,
  formula: order,
  kind: 'tolerance',
  settings: order === 2 ? [1e4, 1e5, 1e6] : [1e5, 1e6, 1e7, 1e8],
  async run(problem, inverse) {
    const tolerance = 1 / inverse;
    const { first, last } = endsOf(problem);
    const denoiser = exactDenoiser(problem);
    const x = space.vec(first, items(problem));
    const [sigmaMin, sigmaMax] = [Math.exp(-CLEAN), Math.exp(-NOISY)];
    const options = { x, denoiser, sigmaMin, sigmaMax, order, rtol: tolerance, atol: tolerance };
    const out = (await k.dpmAdaptive(options)) as HostVec;
    return measured(problem, out, 1, last, denoiser.calls);
  },
});

const dpmSolverAdaptive = (order: 2 | 3, algorithmType: 'dpmsolver' | 'dpmsolver++'): Flow => ({
  name: `dpmSolver.dpmSolverAdaptive ${order}, ${algorithmType.endsWith('++') ? 'x₀' : 'ε'}`,
  section: 'DPM fast and adaptive',
  order: 1,
  formula: order,
  kind: 'tolerance',
  settings: order === 2 ? [1e4, 1e5, 1e6] : [1e5, 1e6, 1e7, 1e8],
  async run(problem, inverse) {
    const tolerance = 1 / inverse;
    const { first, last } = endsOf(problem);
    const denoiser = exactDenoiser(problem);
    const schedule = d.linearVp();
    const x = space.vec(
      first.map((y) => y * vpAt(NOISY).alpha),
      items(problem),
    );
    const [tStart, tEnd] = [schedule.timeOf(NOISY), schedule.timeOf(CLEAN)];
    const options = { x, denoiser, schedule, tStart, tEnd, order, algorithmType, rtol: tolerance, atol: tolerance };
    const out = (await d.dpmSolverAdaptive(options)) as HostVec;
    return measured(problem, out, vpAt(CLEAN).alpha, last, denoiser.calls);
  },
});

/** Where fixed steps in time end: so many sixteenths before 0 that all counts of steps can meet it. */
const LAST = 1 / 16;

const fixedFlow = (process: Process, predictor: 'euler_maruyama' | 'reverse_diffusion'): Flow => ({
  name: `sde.predictorCorrector, ${predictor}, probability flow, ${process}`,
  section: 'Probability flow',
  order: 1,
  kind: 'steps',
  settings: [160, 320, 640],
  async run(problem, steps) {
    const sde = processes[process](steps);
    const levels = Array.from({ length: steps * (1 - LAST) + 1 }, (_, i) => sde.level(1 - i / steps));
    const transitions: Transition[] = levels.slice(1).map((to, i) => ({ from: levels[i], to }));
    const denoiser = exactDenoiser(problem);
    const end = levels[levels.length - 1];
    const start = problem.start.map((v) => v / levels[0].alpha);
    const want = exactFlow(problem, start, logSnr(levels[0]), logSnr(end));
    const x = space.vec(
      start.map((y) => y * levels[0].alpha),
      items(problem),
    );
    const solver = sdes.predictorCorrector(sde, { predictor, corrector: 'none', probabilityFlow: true });
    const out = (await runSolver({ x, denoiser, solver, transitions, noise: (like) => like })) as HostVec;
    return measured(problem, out, end.alpha, want, denoiser.calls);
  },
});

type General = Pick<edm.GeneralSamplerOptions, 'solver' | 'schedule' | 'scaling' | 'alpha'>;

/** EDM's general sampler up to its smallest sigma: the step from there to 0 does not depend on the others' length. */
const general = (name: string, order: number, choice: General): Flow => ({
  name: `edm.generalSampler, ${name}`,
  section: 'Heun',
  order,
  kind: 'steps',
  cost: choice.solver === 'euler' ? 1 : 2,
  settings: [80, 160, 320],
  async run(problem, steps) {
    const { first, last } = endsOf(problem);
    const denoiser = exactDenoiser(problem);
    const [sigmaMin, sigmaMax] = [Math.exp(-CLEAN), Math.exp(-NOISY)];
    let end: number[] = [];
    let evaluations = 0;
    await edm.generalSampler({
      ...choice,
      // The sampler scales what it is given by alpha·sigma of its first level, where y = x/alpha is wanted.
      x: space.vec(
        first.map((y) => y / sigmaMax),
        items(problem),
      ),
      denoiser,
      noise: (like) => space.vec(new Float64Array(like.length), like.batch),
      numInferenceSteps: steps + 1,
      network: { sigmaMin, sigmaMax, roundSigma: (v) => v },
      onStep: async ({ step, state }) => {
        if (step === steps) [end, evaluations] = [(await state()).x, denoiser.calls];
      },
    });
    const scale = choice.scaling === 'vp' ? 1 / Math.hypot(1, sigmaMin) : 1;
    return measured(problem, space.vec(end, items(problem)), scale, last, evaluations);
  },
});

/** All of them. */
export const FLOWS: readonly Flow[] = [
  general('euler, sigma = t', 1, { solver: 'euler' }),
  general('heun, sigma = t', 2, {}),
  general('heun, sigma = √t', 2, { schedule: 've' }),
  general('euler, VP scaled', 1, { solver: 'euler', schedule: 'vp', scaling: 'vp' }),
  general('heun, VP scaled', 2, { schedule: 'vp', scaling: 'vp' }),
  general('slope in the middle, sigma = t', 2, { alpha: 1 / 2 }),
  dpmAdaptive(2),
  dpmAdaptive(3),
  dpmSolverAdaptive(2, 'dpmsolver'),
  dpmSolverAdaptive(3, 'dpmsolver'),
  dpmSolverAdaptive(2, 'dpmsolver++'),
  dpmSolverAdaptive(3, 'dpmsolver++'),
  ...(['VE', 'VP', 'sub-VP'] as const).map(adaptiveFlow),
  ...(['VE', 'VP', 'sub-VP'] as const).map((process) => fixedFlow(process, 'euler_maruyama')),
  ...(['VE', 'VP', 'sub-VP'] as const).map((process) => fixedFlow(process, 'reverse_diffusion')),
];
