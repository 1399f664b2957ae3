import { describe, expect, test } from 'vitest';
import {
  ddim,
  ddpm,
  HostSpace,
  LinearForm,
  NoiseSchedule,
  runSolver,
  vpLevel,
  type Denoiser,
  type HostVec,
  type NoiseLevel,
  type Solver,
  type Transition,
} from '../../src/sampler/index.ts';
import { expectClose, F64, ORDER_SLOPE } from '../support/close.ts';
import { exactFlow, fittedOrder, levelAt, mixtureDenoiser, probe } from './mixture.ts';

const space = new HostSpace('f64');
const components = [
  { weight: 0.3, mean: -1.2, std: 0.3 },
  { weight: 0.5, mean: 0.4, std: 0.5 },
  { weight: 0.2, mean: 2, std: 0.2 },
];

/** n equal steps in log-SNR. */
function uniform(n: number, from: number, to: number): Transition[] {
  const at = (i: number): NoiseLevel => levelAt(from + ((to - from) * i) / n);
  return Array.from({ length: n }, (_, i) => ({ from: at(i), to: at(i + 1) }));
}

describe('DDIM', () => {
  test('converges with order 1 on a Gaussian mixture', async () => {
    const [lo, hi] = [-3, 2.5];
    const start = [-2, -0.7, 0.1, 0.9, 1.8];
    const want = start.map((x) => exactFlow(components, x, lo, hi, 2000));
    const counts = [40, 80, 160, 320];
    const errors: number[] = [];
    for (const n of counts) {
      const x = await runSolver({
        x: space.vec(start),
        denoiser: mixtureDenoiser(components),
        solver: ddim(),
        transitions: uniform(n, lo, hi),
      });
      const { data } = x as HostVec;
      errors.push(Math.sqrt(want.reduce((s, w, i) => s + (data[i] - w) ** 2, 0)));
    }
    expectClose([fittedOrder(counts, errors)], [1], ORDER_SLOPE, `errors ${errors.join(', ')}`);
  });

  test('a point mass is reached exactly in one step', async () => {
    const [x] = await step(ddim(), pointMass(0.7), 2.2, 0, vpLevel(900, 0.01), vpLevel(-1, 1));
    expectClose([x], [0.7], F64);
  });

  test.each([0.3, 1])('η = %f: signal and noise of the level below, for a point mass', async (eta) => {
    const { mean, variance } = await pushThrough(ddim({ eta }), pointMass(0.7), 0.7);
    expectClose(mean.got, mean.want, F64);
    expectClose(variance.got, variance.want, F64);
  });

  test('η = 1 is DDPM with fixed_small variance', async () => {
    const denoiser = mixtureDenoiser(components);
    const levels = [vpLevel(700, 0.2), vpLevel(300, 0.6)] as const;
    for (const z of [-1, 0, 2])
      expectClose(
        await step(ddim({ eta: 1 }), denoiser, 0.4, z, ...levels),
        await step(ddpm(), denoiser, 0.4, z, ...levels),
        F64,
      );
  });
});

/** x₀ is always m. */
function pointMass(m: number): Denoiser {
  return mixtureDenoiser([{ weight: 1, mean: m, std: 0 }]);
}

/** One step of one element with the noise given. */
async function step(
  solver: Solver,
  denoise: Denoiser,
  x: number,
  z: number,
  from: NoiseLevel,
  to: NoiseLevel,
): Promise<[number]> {
  const done = await solver({ x: space.vec([x]), from, to, denoise, noise: () => space.vec([z]), history: [] });
  return [(done.x as HostVec).data[0]];
}

/**
 * Mean and variance of x through a respaced chain, exactly: with Gaussian data a step is affine, so probing gives its
 * coefficients. What they should be: alpha·m and alpha²·v + sigma² at every level.
 */
async function pushThrough(
  solver: Solver,
  denoiser: Denoiser,
  m: number,
  v = 0,
): Promise<Record<'mean' | 'variance', { got: number[]; want: number[] }>> {
  const schedule = new NoiseSchedule({ precision: 'f64' });
  const timesteps = [999, 850, 700, 420, 200, 90, 30, 5];
  const mean = { got: [] as number[], want: [] as number[] };
  const variance = { got: [] as number[], want: [] as number[] };
  const first = schedule.at(timesteps[0]);
  let [mu, s2] = [first.alpha * m, first.alpha ** 2 * v + first.sigma ** 2];
  for (let i = 0; i + 1 < timesteps.length; i++) {
    const [from, to] = [schedule.at(timesteps[i]), schedule.at(timesteps[i + 1])];
    const at = async (x: number, z: number): Promise<number> => (await step(solver, denoiser, x, z, from, to))[0];
    const offset = await at(0, 0);
    const [a, b] = await probe(async (x, z) => (await at(x, z)) - offset);
    [mu, s2] = [a * mu + offset, a * a * s2 + b * b];
    mean.got.push(mu);
    mean.want.push(to.alpha * m);
    variance.got.push(s2);
    variance.want.push(to.alpha ** 2 * v + to.sigma ** 2);
  }
  return { mean, variance };
}

describe('DDPM', () => {
  // Ho et al. 2020, section 3.2: each choice is exact for one kind of data.
  test('fixed_small keeps the marginals of a point mass', async () => {
    const { mean, variance } = await pushThrough(ddpm(), pointMass(-0.4), -0.4);
    expectClose(mean.got, mean.want, F64);
    expectClose(variance.got, variance.want, F64);
  });

  test('fixed_large keeps the marginals of unit-variance data', async () => {
    const unit = mixtureDenoiser([{ weight: 1, mean: 0, std: 1 }]);
    const { mean, variance } = await pushThrough(ddpm({ varianceType: 'fixed_large' }), unit, 0, 1);
    expectClose(mean.got, mean.want, F64);
    expectClose(variance.got, variance.want, F64);
  });

  /** The noise coefficient of a step, with a learned variance u in the output. */
  async function sigmaOf(varianceType: Parameters<typeof ddpm>[0], u = 0): Promise<number> {
    const denoise: Denoiser = async (x, level) => ({
      ...(await pointMass(0)(x, level)),
      x0: LinearForm.of(x, 0),
      variance: space.vec([u]),
    });
    return (await step(ddpm(varianceType), denoise, 0, 1, vpLevel(700, 0.2), vpLevel(500, 0.5)))[0];
  }

  test('learned_range lies between fixed_small and fixed_large, geometrically', async () => {
    const [small, large] = [
      await sigmaOf({ varianceType: 'fixed_small' }),
      await sigmaOf({ varianceType: 'fixed_large' }),
    ];
    const learned = (u: number): Promise<number> => sigmaOf({ varianceType: 'learned_range' }, u);
    const want = [small, large, Math.sqrt(small * large), large ** 1.5 / small ** 0.5];
    expectClose([await learned(-1), await learned(1), await learned(0), await learned(2)], want, F64);
    expect(small).toBeLessThan(large);
  });

  test('the _log variances are the same numbers; learned is the variance itself', async () => {
    const sigmas = await Promise.all([
      sigmaOf({ varianceType: 'fixed_small_log' }),
      sigmaOf({ varianceType: 'fixed_large_log' }),
      sigmaOf({ varianceType: 'learned' }, 0.09),
    ]);
    const plain = [await sigmaOf({ varianceType: 'fixed_small' }), await sigmaOf({ varianceType: 'fixed_large' }), 0.3];
    expectClose(sigmas, plain, F64);
  });
});
