/** Likelihood by the probability flow against the exact density of both mixtures, in nats per dimension. */
import { describe, expect, test } from 'vitest';
import {
  chooseDifference,
  HostSpace,
  logLikelihood,
  logSnr,
  parameterise,
  sde as sdes,
  TorchGenerator,
  type HostVec,
  type LikelihoodOptions,
} from '../../../src/sampler/index.ts';
import { logSumExp, logTerms } from '../../../src/node/parity/original/mixture.ts';
import { expectClose, LIKELIHOOD_NATS, STANDARD_ERRORS } from '../../support/close.ts';
import { lawSamples } from './law.ts';
import { CLEAN, exactDenoiser, problem, space, type Problem } from './problem.ts';

const ITEMS = 4;
const TOLERANCE = { rtol: 1e-5, atol: 1e-5 };
/**
 * β to 40 and σ to 2000: at the default ends the prior itself is off by 0.005 nats per dimension and standard
 * deviation.
 */
const PROCESSES = [
  ['VP', sdes.vpSde(0.1, 40), 0.02],
  ['sub-VP', sdes.subVpSde(0.1, 40), 0.05],
  ['VE', sdes.veSde(Math.exp(-CLEAN), 2000), 0],
] as const;

/** Data where a process begins, their exact log densities there, and what logLikelihood asks for. */
function given(
  where: Problem,
  sde: sdes.Sde,
  end: number,
): { options: Omit<LikelihoodOptions, 'probe'>; exact: number[] } {
  const draws = new TorchGenerator(3).randn(2 * ITEMS * where.dims);
  let at = 0;
  const level = sde.level(end);
  const values = lawSamples(where, () => draws[at++], ITEMS)(level);
  const item = (b: number): Float64Array => values.subarray(b * where.dims, (b + 1) * where.dims);
  const exact = Array.from(
    { length: ITEMS },
    (_, b) => logSumExp(logTerms(where.mixture, item(b), level)) / where.dims,
  );
  return { options: { x: space.vec(values, ITEMS), sde, denoiser: exactDenoiser(where), end, ...TOLERANCE }, exact };
}

/** Signs h with Σ hₖ·hₖᵀ = D·1: over them the mean of vᵀJv is the trace itself. Sylvester's and Paley's matrices. */
function hadamard(dims: number): number[][] {
  if (dims === 2) return [[1, 1], [1, -1]]; // prettier-ignore
  const residues = new Set([0, 1, 3, 4, 5, 9]); // squares modulo 11
  const rows = Array.from({ length: 11 }, (_, i) => [
    -1,
    ...Array.from({ length: 11 }, (__, j) => (residues.has((j - i + 11) % 11) ? 1 : -1)),
  ]);
  return [Array<number>(12).fill(1), ...rows];
}

const sameForAll = (signs: readonly number[]): HostVec =>
  space.vec(
    Float64Array.from({ length: ITEMS * signs.length }, (_, i) => signs[i % signs.length]),
    ITEMS,
  );

describe('log-likelihood against the exact density', () => {
  test('probes that make the divergence exact are orthogonal', () => {
    for (const dims of [2, 12])
      hadamard(dims).forEach((row, i, all) =>
        all.forEach((other, j) => {
          const dot = row.reduce((sum, v, k) => sum + v * other[k], 0);
          expect(dot).toBe(i === j ? dims : 0);
        }),
      );
  });

  test.each(PROCESSES.flatMap((p) => [['2d', ...p] as const, ['12d', ...p] as const]))(
    '%s, %s: divergence without sampling error',
    async (name, _kind, sde, end) => {
      const where = problem(name);
      const { options, exact } = given(where, sde, end);
      const mean = Array<number>(ITEMS).fill(0);
      for (const signs of hadamard(where.dims)) {
        const { logLikelihood: found } = await logLikelihood({ ...options, probe: sameForAll(signs) });
        found.forEach((l, b) => (mean[b] += l / where.dims / where.dims));
      }
      expectClose(mean, exact, LIKELIHOOD_NATS, name);
    },
  );

  test('another mixture is seen', async () => {
    const where = problem('2d');
    const means = where.mixture.means.map((mean) => mean.map((m) => m + 0.02));
    const { options, exact } = given(where, PROCESSES[0][1], PROCESSES[0][2]);
    const denoiser = exactDenoiser({ ...where, mixture: { ...where.mixture, means } });
    const mean = Array<number>(ITEMS).fill(0);
    for (const signs of hadamard(where.dims)) {
      const { logLikelihood: found } = await logLikelihood({ ...options, denoiser, probe: sameForAll(signs) });
      found.forEach((l, b) => (mean[b] += l / where.dims / where.dims));
    }
    const worst = Math.max(...mean.map((l, b) => Math.abs(l - exact[b])));
    expect(worst).toBeGreaterThan(LIKELIHOOD_NATS);
  });

  test.each(['2d', '12d'] as const)('%s: random probes average to it', async (name) => {
    const where = problem(name);
    const { options, exact } = given(where, PROCESSES[0][1], PROCESSES[0][2]);
    const generator = new TorchGenerator(5);
    const found: number[][] = [];
    for (let k = 0; k < 40; k++) {
      const probe = space.vec(Float64Array.from(generator.randn(ITEMS * where.dims), Math.sign), ITEMS);
      found.push((await logLikelihood({ ...options, probe })).logLikelihood.map((l) => l / where.dims));
    }
    const mean = exact.map((_, b) => found.reduce((sum, f) => sum + f[b] / found.length, 0));
    const errors = mean.map((m, b) =>
      Math.sqrt(found.reduce((sum, f) => sum + (f[b] - m) ** 2, 0) / found.length / (found.length - 1)),
    );
    expectClose(
      mean,
      exact,
      errors.map((e) => STANDARD_ERRORS * e + LIKELIHOOD_NATS),
      `standard errors ${errors.join(', ')}`,
    );
  });
});

describe('the central difference', () => {
  const where = problem('2d');
  const [, sde, end] = PROCESSES[0];
  const { options } = given(where, sde, end);
  const probe = sameForAll([1, 1]);

  test('its error is shown, and holds', async () => {
    const fine = await logLikelihood({ ...options, probe, rtol: 1e-8, atol: 1e-8 });
    for (const difference of [0.1, 0.03]) {
      const shown = await logLikelihood({ ...options, probe, difference, showError: true, rtol: 1e-8, atol: 1e-8 });
      const off = shown.logLikelihood.map((l, b) => Math.abs(l - fine.logLikelihood[b]));
      off.forEach((o, b) => expect(o).toBeLessThanOrEqual(1.5 * shown.differenceError![b]));
      expect(Math.max(...off)).toBeGreaterThan(LIKELIHOOD_NATS / 100); // or there would be nothing to show
    }
    expect(fine.differenceError).toBeUndefined();
  });

  test('is chosen small in f64, larger where states are f32', async () => {
    const f32 = new HostSpace('f32');
    const rounded = { ...options, x: f32.vec((options.x as HostVec).data, ITEMS), probe: f32.vec(probe.data, ITEMS) };
    const inF32: LikelihoodOptions = {
      ...rounded,
      denoiser: async (x, level, signal) => {
        const { x0 } = await options.denoiser(space.vec((x as HostVec).data, ITEMS), level, signal);
        const picture = f32.vec((x0.materialise() as HostVec).data, ITEMS);
        return parameterise(() => picture, 'sample')(x, level, signal);
      },
    };
    const [double, single] = [await chooseDifference({ ...options, probe }), await chooseDifference(inF32)];
    expect(double.difference).toBeLessThan(single.difference);
    expect(double.error).toBeLessThan(single.error);
    const [a, b] = [
      await logLikelihood({ ...options, probe, difference: double.difference }),
      await logLikelihood({ ...inF32, difference: single.difference }),
    ];
    expectClose(
      b.logLikelihood.map((l) => l / where.dims),
      a.logLikelihood.map((l) => l / where.dims),
      LIKELIHOOD_NATS,
      'f32',
    );
  });

  test('smallest times of the processes lie within the mixtures', () => {
    for (const [, process, from] of PROCESSES) expect(logSnr(process.level(from))).toBeGreaterThan(0);
  });
});
