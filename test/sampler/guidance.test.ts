import { describe, expect, test } from 'vitest';
import { ConfigError, InvalidArgumentError } from '../../src/engine/errors.ts';
import { componentOf, mixtureDenoiser, perItem, score } from '../../src/node/parity/original/mixture.ts';
import {
  classifierGuided,
  classifierMeanShift,
  type LogProbGradient,
} from '../../src/sampler/guidance/classifierGuidance.ts';
import { guided, pairOf, perStep, type GuidanceOptions } from '../../src/sampler/guidance/guidance.ts';
import {
  ddim,
  ddpm,
  HostSpace,
  parameterise,
  runSolver,
  samplerFrom,
  TorchGenerator,
  type Denoiser,
  type HostVec,
  type NoiseLevel,
  type VarianceType,
  type Vec,
} from '../../src/sampler/index.ts';
import { expectClose, F64 } from '../support/close.ts';
import { PoisonSpace } from './poisonSpace.ts';

const space = new HostSpace('f64');
const data = (v: Vec): ArrayLike<number> => (v as HostVec).data;
const constant = (value: number): Denoiser =>
  parameterise((x) => space.vec(new Float64Array(x.length).fill(value)), 'epsilon');
const x = space.vec([0.5, -1]);
const level: NoiseLevel = { timestep: 7, alpha: 0.6, sigma: 0.8 };

async function epsAt(denoiser: Denoiser, at = level): Promise<number> {
  return data((await denoiser(x, at)).eps.materialise())[0];
}

describe('classifier-free guidance', () => {
  const pair = pairOf(constant(1), constant(3));

  test('scale s and weight w = s − 1 are the same line', async () => {
    for (const s of [0, 1, 2.5, -1]) {
      expectClose([await epsAt(guided(pair, s))], [1 + 2 * s], F64);
      expectClose([await epsAt(guided(pair, s - 1, { convention: 'weight' }))], [1 + 2 * s], F64);
    }
  });

  test('outside the interval, and at scale 1, the condition alone is asked', async () => {
    let asked = 0;
    const counted: Denoiser = (...at) => (asked++, constant(3)(...at));
    const alone: Denoiser = () => expect.unreachable();
    const at = (sigma: number): NoiseLevel => ({ timestep: 0, alpha: 0.5, sigma });
    const options: GuidanceOptions = { interval: [1, 4], conditional: counted };
    const inside = guided(pair, 5, { ...options, conditional: alone });
    for (const sigma of [0.6, 2]) expectClose([await epsAt(inside, at(sigma))], [11], F64);
    const outside = guided(pairOf(alone, alone), 5, options);
    for (const sigma of [0.1, 0.5, 2.1]) expectClose([await epsAt(outside, at(sigma))], [3], F64);
    expectClose([await epsAt(guided(pairOf(alone, alone), 1, options), at(1))], [3], F64);
    expect(asked).toBe(4);
    expectClose([await epsAt(guided(pair, 5, { interval: [1, 4] }), at(0.1))], [3], F64);
    const pure = { timestep: 0, alpha: 0, sigma: 1 };
    expectClose([data((await guided(pair, 5)(x, pure)).eps.materialise())[0]], [11], F64);
  });

  test('one weight per step, by a list or a function, also between two steps', async () => {
    const sampler = samplerFrom({ _class_name: 'DDIMScheduler' });
    const transitions = sampler.transitions({ numInferenceSteps: 3 });
    const list = perStep(transitions, [1, 2, 4]);
    const rule = perStep(transitions, (step, steps) => step / steps);
    transitions.forEach(({ from }, i) => {
      expect(list(from)).toBe([1, 2, 4][i]);
      expect(rule(from)).toBe(i / 3);
    });
    const between = sampler.schedule.at(transitions[1].from.timestep - 5);
    expect(list(between)).toBe(2);
    expect(list({ ...transitions[0].from, alpha: 0, sigma: 1 })).toBe(1);
    expectClose([await epsAt(guided(pair, list), transitions[2].from)], [9], F64);
    const weights = perStep(transitions, [0, 1, 3]);
    expectClose([await epsAt(guided(pair, weights, { convention: 'weight' }), transitions[2].from)], [9], F64);
  });

  test.each([
    ['scale', NaN, {}, /guidanceScale, got NaN; 1 turns/],
    ['weight', Infinity, { convention: 'weight' }, /got Infinity; 0 turns/],
    ['rescale', 1, { guidanceRescale: 2 }, /guidanceRescale in \[0, 1\]/],
    ['interval', 1, { interval: [3, 3] }, /0 ≤ low < high/],
    ['interval', 1, { interval: [NaN, 3] }, /0 ≤ low < high/],
  ] as const)('%s %f %j is refused', (_what, weight, options, message) => {
    expect(() => guided(pair, weight, options)).toThrow(InvalidArgumentError);
    expect(() => guided(pair, weight, options)).toThrow(message);
  });

  test('an unknown convention, a weight that is no number, a list too short', async () => {
    expect(() => guided(pair, 1, { convention: 'other' as never })).toThrow(ConfigError);
    await expect(guided(pair, () => NaN)(x, level)).rejects.toThrow(/finite guidanceScale/);
    expect(() => perStep([], [1])).toThrow(/expected 0 guidance weights, one per step, got 1/);
  });
});

describe('classifier guidance', () => {
  const mixture = {
    weights: [0.4, 0.6],
    means: [
      [1, -0.5],
      [-0.8, 0.7],
    ],
    variances: [
      [0.1, 0.3],
      [0.2, 0.05],
    ],
  };
  const wanted = componentOf(mixture, 1);
  // ∇ log p(class | x) = ∇ log p(x | class) − ∇ log p(x)
  const gradient: LogProbGradient = (v, at) => {
    const { data: values, batch } = v as HostVec;
    const out = perItem(values, batch, (item) => {
      const whole = score(mixture, item, at);
      return score(wanted, item, at).map((s, i) => s - whole[i]);
    });
    return space.vec(out, batch);
  };
  const sampler = samplerFrom({ _class_name: 'DDIMScheduler', clip_sample: false });
  const transitions = sampler.transitions({ numInferenceSteps: 20 });
  const start = space.vec(new TorchGenerator(1).randn(12), 6);

  test('score form, scale 1: an unconditional model and an exact classifier sample the class', async () => {
    const run = (denoiser: Denoiser): Promise<Vec> => runSolver({ x: start, denoiser, solver: ddim(), transitions });
    const got = await run(classifierGuided(mixtureDenoiser(mixture), gradient, 1));
    expectClose(data(got), data(await run(mixtureDenoiser(wanted))), F64 * transitions.length);
  });

  test('score form: no dispatch of its own, and the learned variance stays', async () => {
    const space = new PoisonSpace('f64');
    const [v, g, variance] = [0.5, 2, -1].map((value) => space.vec([value, value]));
    const learned: Denoiser = async (...at) =>
      Object.defineProperty(await parameterise(() => g, 'epsilon')(...at), 'variance', { value: variance });
    const prediction = await classifierGuided(learned, () => g, 3)(v, level);
    expect(space.dispatches).toEqual({});
    expect(prediction.variance).toBe(variance);
    expectClose(data(prediction.eps.materialise()), [2 - 3 * 0.8 * 2, 2 - 3 * 0.8 * 2], F64);
    const x0 = (0.5 - 0.8 * (2 - 3 * 0.8 * 2)) / 0.6;
    expectClose(data(prediction.x0.materialise()), [x0, x0], F64);
  });

  test('mean-shift form: the mean moves by scale·Σ·gradient, Σ the variance drawn with', async () => {
    const share = 0.3; // of the learned range, from small to large
    const withVariance: Denoiser = async (v, at, signal) => {
      const prediction = await mixtureDenoiser(mixture)(v, at, signal);
      return Object.defineProperty(prediction, 'variance', {
        value: space.vec(new Float64Array(v.length).fill(2 * share - 1), v.batch),
      });
    };
    const sigma2: Partial<Record<VarianceType, (small: number, large: number) => number>> = {
      fixed_small: (small) => small,
      fixed_large: (_small, large) => large,
      learned_range: (small, large) => small ** (1 - share) * large ** share,
    };
    for (const [type, variance] of Object.entries(sigma2)) {
      const varianceType = type as VarianceType;
      for (const index of [3, 19]) {
        const step = { ...transitions[index], index, transitions, x: start, denoise: withVariance, history: [] };
        const draw = { noise: () => space.vec(new TorchGenerator(4).randn(12), 6) };
        const solver = ddpm({ varianceType });
        const plain = await solver({ ...step, ...draw });
        const shifted = await classifierMeanShift(solver, { gradient, scale: 2.5, varianceType })({ ...step, ...draw });
        const of = ({ from, to }: (typeof transitions)[0]): [number, number] => {
          const large = 1 - (from.alpha / to.alpha) ** 2;
          return [((to.sigma / from.sigma) ** 2 * large) as number, large];
        };
        const [small, large] = of(step);
        // The last step has no small variance: a learned range begins at that of the step before.
        const least = small === 0 && varianceType === 'learned_range' ? of(transitions[index - 1])[0] : small;
        const g = data(await gradient(start, step.from));
        const want = Array.from(data(plain.x), (v, i) => v + 2.5 * variance(least, large) * g[i]);
        expectClose(data(shifted.x), want, F64 * 100, `${type} at ${index}`);
      }
    }
  });

  test('nothing is used after its step', async () => {
    const on = async (on: HostSpace): Promise<ArrayLike<number>> => {
      const mixed = mixtureDenoiser(mixture);
      const solver = classifierMeanShift(ddpm(), { gradient, scale: 2 });
      const denoiser = classifierGuided(mixed, gradient, 1);
      const run = { denoiser, solver, transitions, generator: new TorchGenerator(8) };
      return data(await runSolver({ x: on.vec(start.data, 6), ...run }));
    };
    expectClose(await on(new PoisonSpace('f64')), await on(new HostSpace('f64')), 0);
  });

  test('bad input is refused by name', async () => {
    expect(() => classifierGuided(constant(0), gradient, NaN)).toThrow(InvalidArgumentError);
    expect(() => classifierMeanShift(ddpm(), { gradient, scale: Infinity })).toThrow(/finite scale/);
    const solver = classifierMeanShift(ddpm(), { gradient, scale: 1, varianceType: 'learned' });
    const run = runSolver({
      x: start,
      denoiser: mixtureDenoiser(mixture),
      solver,
      transitions,
      generator: new TorchGenerator(),
    });
    await expect(run).rejects.toThrow(/twice the channels/);
  });
});
