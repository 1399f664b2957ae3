import { describe, expect, test } from 'vitest';
import { ConfigError, InvalidArgumentError } from '../../src/engine/errors.ts';
import { BETA_SCHEDULES, NoiseSchedule, type BetaSchedule } from '../../src/sampler/schedule/schedule.ts';
import { customTimesteps, spacedTimesteps, type TimestepSpacing } from '../../src/sampler/schedule/timesteps.ts';
import { expectClose, F64 } from '../support/close.ts';

/** β as each paper writes it, t counted from 0. */
const byHand: Record<BetaSchedule, (t: number, n: number, lo: number, hi: number) => number> = {
  linear: (t, n, lo, hi) => lo + ((hi - lo) * t) / (n - 1),
  scaled_linear: (t, n, lo, hi) => (Math.sqrt(lo) + ((Math.sqrt(hi) - Math.sqrt(lo)) * t) / (n - 1)) ** 2,
  squaredcos_cap_v2: (t, n) => {
    const f = (s: number): number => Math.cos((((s / n + 0.008) / 1.008) * Math.PI) / 2) ** 2;
    return Math.min(0.999, 1 - f(t + 1) / f(t));
  },
  sigmoid: (t, n, lo, hi) => lo + (hi - lo) / (1 + Math.exp(6 - (12 * t) / (n - 1))),
  exp: (_t, n) => 1 - Math.exp(-12 / n),
  laplace: (t, n) => {
    // ᾱ⁴ odds: SNR = (2t + 10⁻⁶)^∓½ on either side of the middle
    const f = (s: number): number => {
      const u = s / n;
      const snr = u > 0.5 ? Math.sqrt(2 - 2 * u + 1e-6) : 1 / Math.sqrt(2 * u + 1e-6);
      return Math.sqrt(snr / (1 + snr));
    };
    return Math.min(0.999, 1 - f(t + 1) / f(t));
  },
};

describe('NoiseSchedule', () => {
  test.each(BETA_SCHEDULES)('%s, exact tables', (betaSchedule) => {
    const s = new NoiseSchedule({
      numTrainTimesteps: 57,
      betaStart: 0.001,
      betaEnd: 0.03,
      betaSchedule,
      precision: 'f64',
    });
    const betas = Array.from({ length: 57 }, (_, t) => byHand[betaSchedule](t, 57, 0.001, 0.03));
    expectClose(s.betas, betas, F64);
    let product = 1;
    const want = betas.map((b) => (product *= 1 - b));
    expectClose(s.alphasCumprod, want, F64);
  });

  test.each(BETA_SCHEDULES)('%s: the f32 tables hold f32 numbers', (betaSchedule) => {
    const { betas, alphasCumprod } = new NoiseSchedule({ betaSchedule });
    expectClose(betas, betas.map(Math.fround), 0);
    expectClose(alphasCumprod, alphasCumprod.map(Math.fround), 0);
  });

  test.each(['f32', 'f64'] as const)(
    'zero terminal SNR, %s: pure noise at the end, the first level kept',
    (precision) => {
      const plain = new NoiseSchedule({ betaSchedule: 'scaled_linear', precision });
      const zero = new NoiseSchedule({ betaSchedule: 'scaled_linear', precision, rescaleBetasZeroSnr: true });
      expect(zero.alphasCumprod.at(-1)).toBe(0);
      expect(zero.at(999)).toEqual({ timestep: 999, alpha: 0, sigma: 1 });
      if (precision === 'f64') expectClose([zero.alphasCumprod[0]], [plain.alphasCumprod[0]], F64);
      expect(zero.alphasCumprod.every((a, i, all) => i === 0 || a < all[i - 1])).toBe(true);
    },
  );

  test('given betas are taken as they are, and set the length', () => {
    const s = new NoiseSchedule({ trainedBetas: [0.25, 0.5], precision: 'f64' });
    expectClose(s.alphasCumprod, [0.75, 0.375], F64);
    expectClose([s.at(1).alpha ** 2, s.at(1).sigma ** 2], [0.375, 0.625], F64);
  });

  test('bad input', () => {
    expect(() => new NoiseSchedule({ numTrainTimesteps: 0 })).toThrow(InvalidArgumentError);
    expect(() => new NoiseSchedule({ betaEnd: 1.5 })).toThrow(/beta in \[0, 1\], got 1.0000\d+ at timestep 666/);
    expect(() => new NoiseSchedule({ betaSchedule: 'warp' as never })).toThrow(ConfigError);
    expect(() => new NoiseSchedule().at(1000)).toThrow(/0 … 999, got 1000/);
  });
});

describe('timesteps', () => {
  /** Hash over every number of steps from 1 to N, from numpy 1.24 with the reference library's expressions. */
  const numpy: [number, TimestepSpacing, number][] = [
    [50, 'leading', 493028],
    [50, 'trailing', 285252],
    [50, 'linspace', 990727],
    [1000, 'leading', 327070],
    [1000, 'trailing', 708968],
    [1000, 'linspace', 539998],
  ];
  test.each(numpy)('N = %i, %s: all numbers of steps, as numpy rounds', (n, spacing, want) => {
    let hash = 0;
    for (let steps = 1; steps <= n; steps++)
      for (const t of spacedTimesteps(steps, n, spacing)) hash = (hash * 31 + t + 1) % 1000003;
    expect(hash).toBe(want);
  });

  test('examples', () => {
    expect(spacedTimesteps(4, 1000, 'leading', 1)).toEqual([751, 501, 251, 1]);
    expect(spacedTimesteps(4, 1000, 'trailing')).toEqual([999, 749, 499, 249]);
    expect(spacedTimesteps(5, 1000, 'linspace')).toEqual([999, 749, 500, 250, 0]);
    expect(customTimesteps([9, 4, 0], 10)).toEqual([9, 4, 0]);
  });

  test.each([0, -1, 1.5, 1001, NaN])('steps %s are refused, with the range', (steps) => {
    expect(() => spacedTimesteps(steps, 1000)).toThrow(InvalidArgumentError);
    expect(() => spacedTimesteps(steps, 1000)).toThrow(/numInferenceSteps in 1 … 1000/);
  });

  test.each([[[]], [[4, 4]], [[3, 5]], [[10]], [[3, -1]], [[3.5]]])('custom timesteps %j are refused', (timesteps) => {
    expect(() => customTimesteps(timesteps, 10)).toThrow(InvalidArgumentError);
  });

  test('an unknown spacing is refused by name', () => {
    expect(() => spacedTimesteps(4, 10, 'karras' as never)).toThrow(ConfigError);
  });
});
