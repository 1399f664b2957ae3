/** Weak and strong orders of the solvers that draw noise. */
import { describe, expect, test } from 'vitest';
import { analytic, kdiffusion, sde, TorchGenerator } from '../../../src/sampler/index.ts';
import { expectClose, F64, ORDER_SLOPE, SAMPLED_SLOPE, STANDARD_ERRORS } from '../../support/close.ts';
import { gaussianDistance, gaussianError, gaussianGamma } from './gaussian.ts';
import { BrownianPaths, exactMoments, lawSamples, meanDistance, momentChange, moments, samplePaths } from './law.ts';
import { CLEAN, fittedOrder, problem } from './problem.ts';
import type { Plan } from './run.ts';
import { STOCHASTIC } from './stochastic.ts';

const WHERE = problem('2d');
const EACH = STOCHASTIC.map((m) => [m.name, m] as const);

/** Seeded samples at the first level and Brownian paths with so many cells. */
function drawn(items: number, cells: number, seed: number) {
  const size = items * WHERE.dims;
  const pool = new TorchGenerator(seed).randn((cells + 2) * size);
  let at = 0;
  const normal = (): number => pool[at++];
  return { start: lawSamples(WHERE, normal, items), paths: new BrownianPaths(normal, cells, size) };
}

describe('weak order: mean and deviation of one Gaussian, followed exactly', () => {
  test.each(EACH)('%s', async (_name, method) => {
    const counts = [240, 480];
    const errors: number[] = [];
    for (const n of counts) errors.push(await gaussianError(method, n));
    expectClose([fittedOrder(counts, errors)], [method.weak], ORDER_SLOPE, `errors ${errors.join(', ')}`);
  });
});

test('one percent more noise leaves the law wrong however many steps', async () => {
  const [, method] = EACH.find(([name]) => name === 'kdiffusion.eulerAncestral')!;
  const louder = (n: number): Plan => ({ ...method.plan(n), solver: kdiffusion.eulerAncestral({ sNoise: 1.01 }) });
  const errors: number[] = [];
  for (const n of [240, 480]) errors.push(await gaussianError({ ...method, plan: louder }, n));
  expect(fittedOrder([240, 480], errors)).toBeLessThan(method.weak - ORDER_SLOPE);
});

test.each([
  ['ddpm', 0],
  ['ddim', 0],
  ['ddim', 1],
] as const)('Analytic-DPM, mean of %s, η = %i: without any error on one Gaussian', async (mean, eta) => {
  const solver = analytic.analyticDpm(gaussianGamma, { mean, eta });
  const [, { plan }] = EACH.find(([name]) => name === 'ddpm, fixed_small')!;
  const exact = { ...EACH[0][1], plan: (n: number): Plan => ({ ...plan(n), solver }) };
  for (const n of [3, 12]) expectClose([await gaussianError(exact, n)], [0], F64, `${n} steps`);
});

test('Langevin corrections leave an error in proportion to their step size', async () => {
  const process = sde.veSde(0.1, 10);
  const level = process.level(0.3);
  const ratios = [0.4, 0.28, 0.2];
  const errors: number[] = [];
  for (const snr of ratios) {
    const solver = sde.predictorCorrector(process, { predictor: 'none', corrector: 'ald', snr });
    const plan = (n: number): Plan => ({
      solver,
      transitions: Array.from({ length: n }, () => ({ from: level, to: level })),
    });
    const relaxed = Math.ceil(20 / snr ** 2);
    errors.push(await gaussianError({ ...EACH[0][1], plan }, relaxed));
  }
  const steps = ratios.map((snr) => 1 / snr ** 2); // a step is 2·(snr·sigma)² long
  expectClose([fittedOrder(steps, errors)], [1], ORDER_SLOPE, `errors ${errors.join(', ')}`);
});

describe('strong order: distance of runs of n and 2n steps from one Brownian motion, followed exactly', () => {
  test.each(EACH)('%s', async (_name, method) => {
    const counts = [150, 300];
    const apart: number[] = [];
    for (const n of counts) apart.push(await gaussianDistance(method, n));
    expectClose([fittedOrder(counts, apart)], [method.strong], ORDER_SLOPE, `distances ${apart.join(', ')}`);
  });
});

describe('on the mixture, sampled', () => {
  const items = 1000;
  const { start, paths } = drawn(items, 240, 7);

  /** Between n and 2n steps on the same paths most of the sampling error is in both. */
  test.each(EACH)('%s', async (_name, method) => {
    const counts = [30, 60, 120];
    const ends: Float64Array[] = [];
    for (const n of counts) ends.push(await samplePaths(WHERE, method, n, paths, start));
    const [first, second] = ends.slice(1).map((end, i) => momentChange(end, ends[i], WHERE.dims));
    const expected = first.change / 2 ** (method.weak - SAMPLED_SLOPE);
    expect(second.change).toBeLessThan(expected + STANDARD_ERRORS * second.error);
    const apart = ends.slice(1).map((end, i) => meanDistance(end, ends[i], WHERE.dims));
    expect(apart[1]).toBeLessThan(apart[0] / 2 ** (method.strong - SAMPLED_SLOPE));
    // The law is the data's: what is left at 120 steps is at most the last difference, and the sampling error.
    const { values, errors } = exactMoments(WHERE, CLEAN, items);
    const allowed = errors.map((e) => STANDARD_ERRORS * e + second.change);
    if (method.section !== 'Predictor–corrector')
      expectClose(moments(ends[ends.length - 1], WHERE.dims), values, allowed, 'moments');
  });

  test('paths of another motion do not come closer', async () => {
    const [, method] = EACH.find(([name]) => name === 'ddim, η = 1')!;
    const other = drawn(items, 240, 12).paths;
    const [a, b] = [
      await samplePaths(WHERE, method, 60, paths, start),
      await samplePaths(WHERE, method, 120, other, start),
    ];
    const c = await samplePaths(WHERE, method, 120, paths, start);
    expect(meanDistance(a, c, WHERE.dims)).toBeLessThan(meanDistance(a, b, WHERE.dims) / 2);
  });
});
