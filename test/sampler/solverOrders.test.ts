import { describe, expect, test } from 'vitest';
import {
  deis,
  dpmSolverMultistep,
  dpmSolverSinglestep,
  euler,
  heun,
  HostSpace,
  ipndm,
  kdpm2,
  lms,
  pndm,
  runSolver,
  uniPc,
  type Denoiser,
  type HostVec,
  type NoiseLevel,
  type SamplerState,
  type Solver,
  type Transition,
} from '../../src/sampler/index.ts';
import { expectClose, ORDER_SLOPE } from '../support/close.ts';
import { exactFlow, fittedOrder, levelAt, mixtureDenoiser, mixtureEps } from './mixture.ts';

const space = new HostSpace('f64');
const components = [
  { weight: 0.3, mean: -1.2, std: 0.3 },
  { weight: 0.5, mean: 0.4, std: 0.5 },
  { weight: 0.2, mean: 2, std: 0.2 },
];
const [NOISY, CLEAN] = [-3, 2.5];
const START = [-2, -0.7, 0.1, 0.9, 1.8];
const exact = START.map((x) => exactFlow(components, x, NOISY, CLEAN, 4000));

/** The same level for a state that is not scaled: x/alpha. */
const unscaled = ({ timestep, alpha, sigma }: NoiseLevel): NoiseLevel => ({ timestep, alpha: 1, sigma: sigma / alpha });

/** n equal steps in log-SNR, `inner` levels within each. */
function uniform(n: number, inner: number, level: (l: NoiseLevel) => NoiseLevel): Transition[] {
  const at = (i: number): NoiseLevel => level(levelAt(NOISY + ((CLEAN - NOISY) * i) / n));
  return Array.from({ length: n }, (_, i) => ({
    from: at(i),
    to: at(i + 1),
    stages: Array.from({ length: inner }, (_, k) => at(i + (k + 1) / (inner + 1))),
  }));
}

const sum = (f: (i: number) => number): number => START.reduce((s, _, i) => s + f(i), 0);

/** Errors at the end for each number of steps. The mixture is told the level of the state it is asked about. */
async function errorsOf(solver: Solver, inner: number, inSigma: boolean, counts: number[]): Promise<number[]> {
  const denoiser: Denoiser = mixtureDenoiser(components);
  const level = inSigma ? unscaled : (l: NoiseLevel): NoiseLevel => l;
  const [first, last] = [level(levelAt(NOISY)), level(levelAt(CLEAN))];
  const errors: number[] = [];
  for (const n of counts) {
    const x = space.vec(START.map((v) => (v * first.alpha) / levelAt(NOISY).alpha));
    const out = await runSolver({ x, denoiser, solver, transitions: uniform(n, inner, level) });
    const { data } = out as HostVec;
    errors.push(Math.sqrt(sum((i) => ((data[i] * levelAt(CLEAN).alpha) / last.alpha - exact[i]) ** 2)));
  }
  return errors;
}

const free = { lowerOrderFinal: false };
const cases: [name: string, solver: Solver, order: number, inner?: number, inSigma?: boolean][] = [
  ['Euler', euler(), 1, 0, true],
  ['Heun', heun(), 2, 0, true],
  ['KDPM2', kdpm2(), 2, 1, true],
  ['PLMS', pndm(), 2],
  ['iPNDM', ipndm(), 2],
  ['LMS 2', lms({ order: 2 }), 2, 0, true],
  ['DPM-Solver multistep 1', dpmSolverMultistep({ ...free, algorithmType: 'dpmsolver', solverOrder: 1 }), 1],
  ['DPM-Solver multistep 2', dpmSolverMultistep({ ...free, algorithmType: 'dpmsolver', solverOrder: 2 }), 2],
  ['DPM-Solver++ multistep 2', dpmSolverMultistep({ ...free, solverOrder: 2 }), 2],
  ['DPM-Solver++ multistep 2, heun', dpmSolverMultistep({ ...free, solverOrder: 2, solverType: 'heun' }), 2],
  ['DPM-Solver singlestep 2', dpmSolverSinglestep({ algorithmType: 'dpmsolver' }), 2, 1],
  ['DPM-Solver++ singlestep 2', dpmSolverSinglestep(), 2, 1],
  ['DPM-Solver++ singlestep 3, full', dpmSolverSinglestep({ solverType: 'heun' }), 3, 2],
  ['DEIS 2', deis({ ...free, solverOrder: 2 }), 2],
  ['UniPC 1', uniPc({ ...free, solverOrder: 1 }), 2],
  ['UniPC 2', uniPc({ ...free, solverOrder: 2 }), 3],
  ['UniPC 2, B(h) = h', uniPc({ ...free, solverOrder: 2, solverType: 'bh1' }), 3],
  ['UniPC 3', uniPc({ ...free, solverOrder: 3 }), 4],
  ['DPM-Solver++ singlestep 3', dpmSolverSinglestep(), 3, 2],
];

describe('order of convergence on a Gaussian mixture, even steps in log-SNR', () => {
  test.each(cases)('%s', async (_name, solver, order, inner = 0, inSigma = false) => {
    const counts = [80, 160, 320, 640];
    const errors = await errorsOf(solver, inner, inSigma, counts);
    expectClose([fittedOrder(counts, errors)], [order], ORDER_SLOPE, `errors ${errors.join(', ')}`);
  });

  /** The start of a run from exact states at its first levels, so that a low first order does not spoil the rest. */
  function exactStart(n: number, before: number, output: 'eps' | 'x0'): SamplerState {
    const lambda = (i: number): number => NOISY + ((CLEAN - NOISY) * i) / n;
    const at = (i: number): number[] => START.map((x) => exactFlow(components, x, NOISY, lambda(i), 2000));
    const outputAt = (i: number): number[] => {
      const level = levelAt(lambda(i));
      const eps = at(i).map((x) => mixtureEps(components, x, level));
      return output === 'eps' ? eps : eps.map((e, k) => (at(i)[k] - level.sigma * e) / level.alpha);
    };
    const history = Array.from({ length: before }, (_, k) => outputAt(before - 1 - k));
    return { step: before, x: at(before), history, generators: [] };
  }

  test.each([
    ['DPM-Solver', dpmSolverMultistep({ ...free, algorithmType: 'dpmsolver', solverOrder: 3 }), 'eps', 3],
    ['DPM-Solver++', dpmSolverMultistep({ ...free, solverOrder: 3 }), 'x0', 3],
    ['as published', dpmSolverMultistep({ ...free, solverOrder: 3, publishedThirdOrder: true }), 'x0', 2],
    ['DEIS', deis({ ...free, solverOrder: 3 }), 'eps', 3],
  ] as const)('third multistep order, exact start: %s', async (_name, solver, output, order) => {
    const counts = [80, 160, 320, 640];
    const errors: number[] = [];
    for (const n of counts) {
      const { data } = (await runSolver({
        x: space.vec(START),
        denoiser: mixtureDenoiser(components),
        solver,
        transitions: uniform(n, 0, (l) => l),
        resume: exactStart(n, 2, output),
      })) as HostVec;
      errors.push(Math.sqrt(sum((i) => (data[i] - exact[i]) ** 2)));
    }
    expectClose([fittedOrder(counts, errors)], [order], ORDER_SLOPE, `errors ${errors.join(', ')}`);
  });

  test('the third order as published is worse than as corrected', async () => {
    const options = { ...free, algorithmType: 'dpmsolver', solverOrder: 3 } as const;
    const [published] = await errorsOf(dpmSolverMultistep({ ...options, publishedThirdOrder: true }), 0, false, [320]);
    const [corrected] = await errorsOf(dpmSolverMultistep(options), 0, false, [320]);
    expect(corrected).toBeLessThan(published);
  });
});
