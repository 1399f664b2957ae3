/** Orders of convergence, fitted: steps even in half log-SNR, sigma > 0 at the end, exact start-up values. */
import { describe, expect, test } from 'vitest';
import {
  dpmSolver,
  LinearForm,
  logSnr,
  runSolver,
  samplerFrom,
  sde as sdes,
  type HostVec,
  type Solver,
} from '../../../src/sampler/index.ts';
import { OriginalCase } from '../../../src/node/parity/original/recorded.ts';
import { expectClose, ORDER_SLOPE, REFERENCE_FLOW } from '../../support/close.ts';
import { openCase } from '../original/cases.ts';
import { FLOWS } from './flows.ts';
import { METHODS } from './methods.ts';
import { exactDenoiser, exactFlow, fittedOrder, problem, space, type Problem } from './problem.ts';
import { runGrid, type GridMethod } from './run.ts';

const PROBLEMS = [problem('2d'), problem('12d')] as const;

/** The fitted order of errors at growing counts of steps. */
function expectOrder(order: number, counts: readonly number[], errors: readonly number[], where: Problem): void {
  const shown = errors.map((e) => e.toExponential(2)).join(', ');
  const what = `${where.name}: errors ${shown} at ${counts.join(', ')}`;
  expectClose([fittedOrder(counts, errors)], [order], ORDER_SLOPE, what);
}

describe('order of convergence on mixtures in 2 and 12 dimensions', () => {
  test.each(METHODS.map((m) => [`${m.name}: ${m.order}`, m] as const))('%s', async (_name, method) => {
    for (const where of PROBLEMS) {
      const errors: number[] = [];
      for (const n of method.counts) errors.push((await runGrid(where, method, n)).error);
      expectOrder(method.order, method.counts, errors, where);
    }
  });

  test.each(FLOWS.map((f) => [`${f.name}: ${f.order} in ${f.kind}`, f] as const))('%s', async (_name, flow) => {
    for (const where of PROBLEMS) {
      const errors: number[] = [];
      for (const setting of flow.settings) errors.push((await flow.run(where, setting)).error);
      expectOrder(flow.order, flow.settings, errors, where);
    }
  });

  test('names are unique, and a start that is not exact is seen', async () => {
    const names = METHODS.map((m) => m.name);
    expect(new Set(names).size).toBe(names.length);
    const third = METHODS.find((m) => m.name === 'dpmSolverMultistep 3, x₀')!;
    const errors: number[] = [];
    for (const n of third.counts) errors.push((await runGrid(PROBLEMS[0], third, n, 'published')).error);
    expect(() => expectOrder(3, third.counts, errors, PROBLEMS[0])).toThrow(/errors/);
  });
});

describe('mistakes are seen', () => {
  const heunWith = (weight: number): Solver => {
    return async ({ x, from, to, denoise, signal }) => {
      const { x0, eps } = await denoise(x, from, signal);
      const h = to.sigma - from.sigma;
      const trial = LinearForm.of(x).plus(eps, h).materialise();
      const { eps: second } = await denoise(trial, to, signal);
      const slope = eps.scale(1 - weight).plus(second, weight);
      return { x: LinearForm.of(x).plus(slope, h).materialise(), x0 };
    };
  };

  test.each([
    [1 / 2, true],
    [0.49, false],
  ])("Heun's method with %f of the second slope", async (weight, right) => {
    const method = METHODS.find((m) => m.name === 'heun')!;
    const changed: GridMethod = {
      ...method,
      plan: (levels, lambdas) => ({ ...method.plan(levels, lambdas), solver: heunWith(weight) }),
    };
    const errors: number[] = [];
    for (const n of method.counts) errors.push((await runGrid(PROBLEMS[0], changed, n)).error);
    const check = expect(() => expectOrder(2, method.counts, errors, PROBLEMS[0]));
    if (right) check.not.toThrow();
    else check.toThrow(/errors/);
  });
});

describe('a step to no noise', () => {
  test.each([9, 10, 11, 12])('third singlestep order, %i steps: has an answer', async (numInferenceSteps) => {
    const where = PROBLEMS[0];
    const sampler = samplerFrom({ _class_name: 'DPMSolverSinglestepScheduler', solver_order: 3 });
    const transitions = sampler.transitions({ numInferenceSteps });
    expect(transitions[transitions.length - 1].to.sigma).toBe(0);
    const x = space.vec(where.start, where.start.length / where.dims);
    const options = { x, transitions, solver: sampler.solver(), denoiser: exactDenoiser(where) };
    const { data } = (await runSolver(options)) as HostVec;
    expect(data.every(Number.isFinite)).toBe(true);
  });
});

describe('the flow that errors are measured against', () => {
  test.each(['2d', '12d'] as const)('%s: as recorded from an eighth-order Runge–Kutta method', async (name) => {
    const recording = await OriginalCase.open<{ ode_times: number[] }>(openCase(`k-exact-${name}`));
    const schedule = dpmSolver.linearVp();
    const levels = recording.config.ode_times.map((t) => dpmSolver.levelAt(schedule, t));
    const where = problem(name);
    let y: Float64Array = recording.tensor('in.x_T').data.map((v) => v / levels[0].alpha);
    for (let i = 1; i < levels.length; i++) {
      y = exactFlow(where, y, logSnr(levels[i - 1]), logSnr(levels[i]));
      const want = recording.item('out.vp_ode', i);
      expectClose(
        y.map((v) => v * levels[i].alpha),
        want,
        REFERENCE_FLOW,
        `time ${recording.config.ode_times[i]}`,
      );
    }
  });

  test('a process and the schedule of the same β have the same levels', () => {
    const [schedule, sde] = [dpmSolver.linearVp(), sdes.vpSde()];
    for (const t of [0.001, 0.1, 0.7, 1])
      expectClose([logSnr(sde.level(t))], [logSnr(dpmSolver.levelAt(schedule, t))], REFERENCE_FLOW, `t ${t}`);
  });
});
