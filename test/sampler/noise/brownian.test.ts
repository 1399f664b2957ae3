import { describe, expect, test } from 'vitest';
import { InvalidArgumentError } from '../../../src/engine/errors.ts';
import { mixtureDenoiser } from '../../../src/node/parity/original/mixture.ts';
import { brownianNoise, sigmaClock, snrClock } from '../../../src/sampler/noise/brownianNoise.ts';
import { BrownianTree } from '../../../src/sampler/noise/brownianTree.ts';
import {
  ddpm,
  HostSpace,
  karrasSigmas,
  kdiffusion,
  NoiseSchedule,
  parameterise,
  runSolver,
  samplerFrom,
  SCHEDULER_CLASSES,
  TorchGenerator,
  torchNoise,
  type Denoiser,
  type HostVec,
  type SamplerState,
  type Solver,
  type Transition,
  type Vec,
} from '../../../src/sampler/index.ts';
import { expectClose, F64, STANDARD_ERRORS } from '../../support/close.ts';

const data = (v: Vec): ArrayLike<number> => (v as HostVec).data;
const mean = (v: ArrayLike<number>): number => Array.from(v).reduce((s, x) => s + x / v.length, 0);
const dot = (a: ArrayLike<number>, b: ArrayLike<number>): number => mean(Array.from(a, (x, i) => x * b[i]));

describe('one Brownian path', () => {
  test('does not depend on what was asked before', () => {
    const times = [3, 1e-4, 250, 0.7, 0.70001, 2 ** 33, 0, 0.7];
    const walked = new BrownianTree(6, 5);
    const answers = times.map((t) => walked.at(t));
    times.forEach((t, i) => expectClose(new BrownianTree(6, 5).at(t), answers[i], 0));
    expect(new BrownianTree(6, 6).at(1)).not.toEqual(new BrownianTree(6, 5).at(1));
    expect(new BrownianTree(6, 5, 1).at(1)).not.toEqual(new BrownianTree(6, 5).at(1));
    expectClose(walked.at(0), new Float64Array(6), 0);
  });

  test('finer pieces add up to the coarse one', () => {
    const tree = new BrownianTree(8, 11n);
    const grid = [0.01, 0.013, 0.4, 0.41, 7, 90];
    const whole = tree.normal(grid[0], grid[5]).map((z) => z * Math.sqrt(grid[5] - grid[0]));
    const sum = new Float64Array(8);
    for (let i = 1; i < grid.length; i++)
      tree.normal(grid[i - 1], grid[i]).forEach((z, k) => (sum[k] += z * Math.sqrt(grid[i] - grid[i - 1])));
    expectClose(sum, whole, F64 * 10);
    expectClose(
      tree.normal(7, 0.4),
      tree.normal(0.4, 7).map((z) => -z),
      0,
    );
  });

  test.each([
    ['wide', [1e-3, 0.02, 5, 300]],
    ['narrow', [1, 1.0005, 1.001, 1.002]],
    ['within a thousandth of another', [0.1, 0.1001, 4000, 4001]],
  ])('increments are standard normal and independent: %s', (_what, grid) => {
    const n = 40000;
    const tree = new BrownianTree(n, 3);
    const z = grid.slice(1).map((t, i) => tree.normal(grid[i], t));
    const allowed = STANDARD_ERRORS / Math.sqrt(n);
    z.forEach((a, i) => {
      expectClose([mean(a)], [0], allowed);
      expectClose([dot(a, a)], [1], Math.SQRT2 * allowed); // Var z² = 2
      expectClose([mean(a.map((v) => v ** 4))], [3], Math.sqrt(96) * allowed); // Var z⁴ = 105 − 9
      for (const b of z.slice(i + 1)) expectClose([dot(a, b)], [0], allowed);
      expectClose([dot(a.subarray(1), a)], [0], allowed);
    });
  });

  test('an item with a seed of its own does not depend on the batch', () => {
    const pair = new BrownianTree(12, [7, 8]).normal(1, 2);
    expectClose(pair.subarray(6), new BrownianTree(6, 8).normal(1, 2), 0);
  });

  test('a moment without length has a draw of its own', () => {
    const tree = new BrownianTree(4, 1);
    expectClose(tree.normal(2, 2), tree.normal(2, 2), 0);
    expect(tree.normal(2, 2)).not.toEqual(tree.normal(3, 3));
    expect(tree.normal(Infinity, Infinity).every(Number.isFinite)).toBe(true);
  });

  test.each([
    ['a time below 0', () => new BrownianTree(1, 0).at(-1), /time ≥ 0, got -1/],
    ['a time that is none', () => new BrownianTree(1, 0).at(NaN), /time ≥ 0/],
    ['seeds that do not divide', () => new BrownianTree(5, [1, 2]), /2 seeds divide, got 5/],
    ['no seed', () => new BrownianTree(5, []), /0 seeds/],
    ['a seed', () => new BrownianTree(5, 0.5), /seed that is a safe integer/],
  ])('%s is refused', (_what, call, message) => {
    expect(call).toThrow(InvalidArgumentError);
    expect(call).toThrow(message);
  });
});

describe('solvers on one path', () => {
  const space = new HostSpace('f64');
  const x = space.vec(
    new TorchGenerator(1).randn(64).map((v) => 10 * v),
    4,
  );
  const picture = space.vec(new TorchGenerator(2).randn(64), 4);
  const constant: Denoiser = parameterise(() => picture, 'sample');
  const mixture = mixtureDenoiser({
    weights: [0.3, 0.7],
    means: [Array<number>(16).fill(1), Array<number>(16).fill(-0.6)],
    variances: [Array<number>(16).fill(0.04), Array<number>(16).fill(0.1)],
  });
  const grid = (n: number): number[] => [...karrasSigmas(n, 0.05, 10)];
  const run = (solver: Solver, n: number, denoiser: Denoiser, noise?: ReturnType<typeof torchNoise>): Promise<Vec> =>
    runSolver({ x, denoiser, solver, transitions: kdiffusion.veTransitions(grid(n)), noise });

  const vpLevels = (n: number): Transition[] => {
    const schedule = new NoiseSchedule();
    const at = Array.from({ length: n + 1 }, (_, i) => schedule.at(900 - Math.round((700 * i) / n)));
    return at.slice(1).map((to, i) => ({ from: at[i], to }));
  };
  test.each<[string, (n: number) => Solver, (n: number) => readonly Transition[]]>([
    ['eulerAncestral', () => kdiffusion.eulerAncestral(), (n) => kdiffusion.veTransitions(grid(n))],
    ['dpmpp2mSde', (n) => kdiffusion.dpmpp2mSde(grid(n)), (n) => kdiffusion.veTransitions(grid(n))],
    ['ddpm', () => ddpm(), vpLevels],
  ])('%s: the same picture seen, any number of steps meets in the same point', async (_name, solver, steps) => {
    const on = (n: number): Promise<Vec> => {
      const noisy = brownianNoise(solver(n), { seed: 9 });
      return runSolver({ x, denoiser: constant, solver: noisy, transitions: steps(n) });
    };
    const off = (n: number): Promise<Vec> => {
      const noise = torchNoise(new TorchGenerator(9));
      return runSolver({ x, denoiser: constant, solver: solver(n), transitions: steps(n), noise });
    };
    expectClose(data(await on(5)), data(await on(80)), F64 * 1000);
    const [few, many] = [data(await off(5)), data(await off(80))];
    expect(() => expectClose(few, many, F64 * 1000)).toThrow(/worst/);
  });

  test.each([
    ['eulerAncestral', (_: number[]) => kdiffusion.eulerAncestral(), snrClock],
    ['dpmpp2mSde', (sigmas: number[]) => kdiffusion.dpmpp2mSde(sigmas), snrClock],
    ['dpmppSde', (_: number[]) => kdiffusion.dpmppSde(), snrClock],
    ['eulerAncestral by sigma', (_: number[]) => kdiffusion.eulerAncestral(), sigmaClock],
  ] as const)('%s: few steps come near the many of the same path', async (_name, solver, clock) => {
    const distance = (a: Vec, b: Vec): number =>
      Math.hypot(...Array.from(data(a), (v, i) => v - data(b)[i])) / Math.sqrt(a.length);
    const path = (n: number, seed: number): Promise<Vec> =>
      run(brownianNoise(solver(grid(n)), { seed, clock }), n, mixture);
    const fine = await path(200, 4);
    const coarse = distance(await path(25, 4), fine);
    expect(distance(await path(100, 4), fine)).toBeLessThan(coarse);
    expect(coarse).toBeLessThan(distance(await path(25, 5), fine) / 2);
  });

  test('a draw that names its level stays on the step’s path; one more that does not has a path of its own', async () => {
    const [from, middle, to] = [4, 2, 1].map((sigma) => ({ timestep: 0, alpha: 1, sigma }));
    const clocks = [from, middle, to].map(snrClock);
    const drawn: ArrayLike<number>[] = [];
    const solver: Solver = async ({ x: at, noise }) => {
      drawn.push(...[noise(at, middle), noise(at), noise(at)].map(data));
      return { x: at, x0: picture as never };
    };
    await brownianNoise(solver, { seed: 2 })({ x, from, to, denoise: constant, noise: () => x, history: [] });
    const path = (draw: number): BrownianTree => new BrownianTree(64, 2, draw);
    expectClose(drawn[0], path(0).normal(clocks[0], clocks[1]), 0);
    expectClose(drawn[1], path(0).normal(clocks[0], clocks[2]), 0);
    expectClose(drawn[2], path(1).normal(clocks[0], clocks[2]), 0);
  });

  test.each(SCHEDULER_CLASSES.filter((name) => /DDPM|Ancestral|LCM|TCD|ScoreSde|KarrasVe|UnCLIP|EDMDPM/.test(name)))(
    '%s: one seed, one picture, resumed or not, and no generator',
    async (className) => {
      const sampler = samplerFrom({
        _class_name: className,
        ...(className.startsWith('EDMDPM') && { algorithm_type: 'sde-dpmsolver++' }),
      });
      const states: SamplerState[] = [];
      const sample = (seed: number, resume?: SamplerState): Promise<Vec> =>
        sampler.sample({
          denoiser: sampler.denoiser((v) => v),
          x,
          numInferenceSteps: 5,
          brownian: { seed },
          resume,
          onStep: async (e) => void states.push(await e.state()),
        });
      const whole = await sample(3);
      expect(Array.from(data(whole)).every(Number.isFinite)).toBe(true);
      expectClose(data(await sample(3, states[1])), data(whole), 0);
      expect(data(await sample(4))).not.toEqual(data(whole));
    },
  );
});
