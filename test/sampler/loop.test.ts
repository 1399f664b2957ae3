import { describe, expect, test } from 'vitest';
import { AbortedError, InvalidArgumentError } from '../../src/engine/errors.ts';
import {
  guided,
  HostSpace,
  LinearForm,
  pairOf,
  runSolver,
  samplerFrom,
  TorchGenerator,
  type HostVec,
  type Network,
  type PairNetwork,
  type RunOptions,
  type SampleOptions,
  type SamplerState,
  type Solver,
  type StepEvent,
  type Vec,
} from '../../src/sampler/index.ts';
import { expectClose, F64, ROUNDOFF } from '../support/close.ts';
import { PoisonSpace } from './poisonSpace.ts';

const data = (v: Vec): ArrayLike<number> => (v as HostVec).data;

/** A bounded, uneven function of x and t, with `halves` times the channels; its output is tracked by a PoisonSpace. */
function toy(shift: number, halves = 1): Network {
  return (x, t) => {
    const { space, data: values, batch } = x as HostVec;
    const size = values.length / batch;
    const out = space.vec(new Float32Array(halves * values.length), batch);
    for (let i = 0; i < out.length; i++) {
      const item = Math.floor(i / (size * halves));
      out.data[i] = 0.9 * Math.tanh(0.7 * values[item * size + (i % size)] + shift + Math.sin(t / 100));
    }
    return space instanceof PoisonSpace ? space.track(out) : out;
  };
}

const ddpmSampler = samplerFrom({ _class_name: 'DDPMScheduler' });
const ddimSampler = samplerFrom({ _class_name: 'DDIMScheduler', clip_sample: false });

function start(space = new HostSpace(), batch = 2): HostVec {
  return space.vec(new TorchGenerator(5).randn(48), batch);
}

function options(extra: Partial<SampleOptions> = {}): SampleOptions {
  const denoiser = ddpmSampler.denoiser(toy(0.1));
  return { denoiser, x: start(), numInferenceSteps: 9, generator: new TorchGenerator(1), ...extra };
}

describe('events', () => {
  test('one per step, with the timestep, the noise and the picture so far', async () => {
    const events: StepEvent[] = [];
    const previews: number[] = [];
    await ddpmSampler.sample(
      options({
        onStep: (event) => {
          events.push(event);
          previews.push(...Array.from(data(event.preview())));
        },
      }),
    );
    expect(events.map((e) => e.step)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(events.map((e) => e.timestep)).toEqual(ddpmSampler.timesteps({ numInferenceSteps: 9 }));
    expect(events.every((e) => e.steps === 9)).toBe(true);
    expectClose([events[0].sigma], [ddpmSampler.schedule.at(888).sigma], 0);
    expect(previews.every((v) => Math.abs(v) <= 1)).toBe(true); // clip_sample
  });

  test('the start is not written to, and the same seed gives the same picture', async () => {
    const x = start();
    const before = [...x.data];
    const a = await ddpmSampler.sample(options({ x }));
    const b = await ddpmSampler.sample(options({ x }));
    const c = await ddpmSampler.sample(options({ x, generator: new TorchGenerator(2) }));
    expect([...x.data]).toEqual(before);
    expectClose(data(a), data(b), 0);
    expect(() => expectClose(data(a), data(c), F64)).toThrow();
  });
});

describe('stop and go', () => {
  const generators = (): TorchGenerator[] => [new TorchGenerator(1), new TorchGenerator(2)];

  test('a run resumed after any step ends in the same bits', async () => {
    const states: string[] = [];
    const whole = await ddpmSampler.sample(
      options({ generator: generators(), onStep: async (e) => void states.push(JSON.stringify(await e.state())) }),
    );
    for (const state of states) {
      const resume: SamplerState = JSON.parse(state);
      let ran = 0;
      const x = await ddpmSampler.sample(
        options({
          x: new HostSpace().vec(new Float32Array(48), 2),
          generator: generators(),
          resume,
          onStep: () => void ran++,
        }),
      );
      expectClose(data(x), data(whole), 0);
      expect(ran).toBe(9 - resume.step);
    }
  });

  test('a state of another run is refused', async () => {
    const resume: SamplerState = { step: 3, x: new Array(48).fill(0), history: [], generators: [] };
    await expect(ddpmSampler.sample(options({ resume }))).rejects.toThrow(/generators/);
    await expect(ddpmSampler.sample(options({ resume: { ...resume, step: 12 } }))).rejects.toThrow(
      InvalidArgumentError,
    );
  });

  test('abort between steps, and the same sampler goes on working', async () => {
    const abort = new AbortController();
    let steps = 0;
    const run = ddpmSampler.sample(
      options({
        signal: abort.signal,
        onStep: ({ step }) => {
          steps = step;
          if (step === 3) abort.abort('enough');
        },
      }),
    );
    await expect(run).rejects.toThrow(AbortedError);
    await expect(run).rejects.toThrow(/before step 4 of 9/);
    expect(steps).toBe(3);
    const [a, b] = [await ddpmSampler.sample(options()), await ddpmSampler.sample(options())];
    expectClose(data(a), data(b), 0);
  });

  test('aborted before it begins: the network is never called', async () => {
    let calls = 0;
    const denoiser = ddpmSampler.denoiser((x) => (calls++, x));
    const run = ddpmSampler.sample(options({ denoiser, signal: AbortSignal.abort() }));
    await expect(run).rejects.toThrow(AbortedError);
    expect(calls).toBe(0);
  });

  test('a timer can abort a network that never leaves the microtask queue', async () => {
    const abort = new AbortController();
    setTimeout(() => abort.abort());
    const busy: Network = (x) => {
      for (const from = performance.now(); performance.now() - from < 5;);
      return x;
    };
    const run = ddimSampler.sample(
      options({ denoiser: ddimSampler.denoiser(busy), numInferenceSteps: 1000, signal: abort.signal }),
    );
    await expect(run).rejects.toThrow(AbortedError);
  });

  test('a network that fails leaves the start usable', async () => {
    const space = new PoisonSpace();
    const x = start(space);
    const before = [...x.data];
    const denoiser = ddimSampler.denoiser(() => {
      throw new Error('lost');
    });
    await expect(ddimSampler.sample(options({ x, denoiser }))).rejects.toThrow('lost');
    expect([...x.data]).toEqual(before);
  });

  test('start leaves out the first steps', async () => {
    const seen: number[] = [];
    await ddimSampler.sample(options({ start: 7, onStep: ({ timestep }) => void seen.push(timestep) }));
    expect(seen).toEqual([111, 0]);
  });
});

describe('a solver with a memory', () => {
  /** x + h·(3/2·f − 1/2·f of the step before): the two-step Adams–Bashforth method on the denoiser's ε. */
  const twoStep: Solver = async ({ x, from, denoise, history: [before], signal }) => {
    const { x0, eps } = await denoise(x, from, signal);
    const f = eps.materialise();
    const slope = before ? LinearForm.of(f, 1.5).plus(before, -0.5) : LinearForm.of(f);
    return { x: LinearForm.of(x).minus(slope, 0.1).materialise(), x0, history: [f] };
  };
  const run = (space: HostSpace, extra: Partial<RunOptions> = {}): Promise<Vec> =>
    runSolver({
      x: start(space),
      denoiser: ddimSampler.denoiser(toy(0.2)),
      solver: twoStep,
      transitions: ddimSampler.transitions({ numInferenceSteps: 6 }),
      ...extra,
    });

  test('what it keeps outlives the step; what the caller made before is left alone', async () => {
    const space = new PoisonSpace();
    const x = space.track(start(space));
    const before = [...x.data];
    expectClose(data(await run(space, { x })), data(await run(new HostSpace())), 0);
    expect([...x.data]).toEqual(before);
  });

  test('resumes in the same bits', async () => {
    const states: SamplerState[] = [];
    const whole = await run(new HostSpace(), { onStep: async (e) => void states.push(await e.state()) });
    expect(states[0].history).toHaveLength(1);
    for (const resume of states) {
      const space = new PoisonSpace();
      expectClose(data(await run(space, { resume: JSON.parse(JSON.stringify(resume)) })), data(whole), 0);
    }
  });
});

describe('what a step costs and keeps', () => {
  const steps = 4;
  const cases = [
    ['DDIM', { _class_name: 'DDIMScheduler', clip_sample: false }, 1, { materialise: 4 }],
    ['DDIM η = 1', { _class_name: 'DDIMScheduler', clip_sample: false, eta: 1 }, 1, { materialise: 4 }],
    ['DDPM', { _class_name: 'DDPMScheduler', clip_sample: false }, 1, { materialise: 4 }],
    ['DDPM clipped', { _class_name: 'DDPMScheduler' }, 1, { materialise: 4, clamp: 4 }],
    ['DDIM thresholded', { _class_name: 'DDIMScheduler', thresholding: true }, 1, { materialise: 3, threshold: 4 }],
    [
      'DDPM learned range',
      { _class_name: 'DDPMScheduler', clip_sample: false, variance_type: 'learned_range' },
      2,
      { materialise: 4, mulExp: 3 }, // the last step adds no noise
    ],
  ] as const;

  test.each(cases)(
    '%s: one dispatch per update, no read-back, nothing used after its step',
    async (_n, config, h, want) => {
      const { eta = 0, ...fields } = config as { eta?: number; _class_name: string };
      const sampler = samplerFrom(fields);
      const run = async (space: HostSpace): Promise<Vec> => {
        const denoiser = guided(pairOf(sampler.denoiser(toy(0.3, h)), sampler.denoiser(toy(-0.2, h))), 3);
        const x = start(space);
        return sampler.sample({ denoiser, x, eta, numInferenceSteps: steps, generator: new TorchGenerator(1) });
      };
      const space = new PoisonSpace();
      const got = await run(space);
      expect(space.dispatches).toEqual(want);
      expectClose(data(got), data(await run(new HostSpace())), 0);
    },
  );
});

describe('classifier-free guidance', () => {
  const space = new HostSpace('f64');
  const x = space.vec(new TorchGenerator(3).randn(48), 2);
  const pair: PairNetwork = async (v, t, signal) => [await toy(0.4)(v, t, signal), await toy(-0.3)(v, t, signal)];

  test.each(['epsilon', 'v_prediction', 'sample'])('u + w·(c − u), %s', async (prediction_type) => {
    const sampler = samplerFrom({ _class_name: 'DDIMScheduler', prediction_type, clip_sample: false });
    const level = sampler.schedule.at(600);
    const [u, c] = (await pair(x, 600)).map(data);
    const byHand = sampler.denoiser(() =>
      space.vec(
        Array.from(u, (v, i) => v + 7.5 * (c[i] - v)),
        2,
      ),
    );
    const [got, want] = [await guided(sampler.pairDenoiser(pair), 7.5)(x, level), await byHand(x, level)];
    expectClose(data(got.x0.materialise()), data(want.x0.materialise()), F64);
    expectClose(data(got.eps.materialise()), data(want.eps.materialise()), F64);
    expect([...got.x0.terms.keys()]).toContain(got.out.like); // still lazy: over the network's outputs
  });

  test('w = 1 is the conditional network, w = 0 the unconditional', async () => {
    const sampler = samplerFrom({ _class_name: 'DDIMScheduler', clip_sample: false });
    const level = sampler.schedule.at(600);
    const [u, c] = await pair(x, 600);
    const at = async (w: number): Promise<ArrayLike<number>> =>
      data((await guided(sampler.pairDenoiser(pair), w)(x, level)).eps.materialise());
    expectClose(await at(1), data(c), 0);
    expectClose(await at(0), data(u), 0);
  });

  test('rescale 1 gives each item the spread of the conditional output, 0.5 goes half way', async () => {
    const sampler = samplerFrom({ _class_name: 'DDIMScheduler', clip_sample: false });
    const level = sampler.schedule.at(600);
    const [, c] = await pair(x, 600);
    const std = (v: ArrayLike<number>, b: number): number => {
      const item = Array.from(v).slice(b * 24, (b + 1) * 24);
      const mean = item.reduce((s, y) => s + y, 0) / 24;
      return Math.sqrt(item.reduce((s, y) => s + (y - mean) ** 2, 0) / 23);
    };
    const at = async (guidanceRescale: number): Promise<ArrayLike<number>> =>
      data((await guided(sampler.pairDenoiser(pair), 5, { guidanceRescale })(x, level)).eps.materialise());
    const [none, half, full] = [await at(0), await at(0.5), await at(1)];
    for (const b of [0, 1]) {
      expectClose([std(full, b)], [std(data(c), b)], F64);
      expectClose([std(half, b)], [(std(none, b) + std(full, b)) / 2], F64);
    }
  });

  test('the learned variance is the conditional one’s', async () => {
    const sampler = samplerFrom({ _class_name: 'DDPMScheduler' });
    const denoiser = guided(pairOf(sampler.denoiser(toy(0.4, 2)), sampler.denoiser(toy(-0.3, 2))), 3);
    const { variance } = await denoiser(x, sampler.schedule.at(600));
    const cond = await sampler.denoiser(toy(-0.3, 2))(x, sampler.schedule.at(600));
    expectClose(data(variance!), data(cond.variance!), 0);
  });

  test.each([
    [NaN, 0],
    [Infinity, 0],
    [2, -0.1],
    [2, 1.1],
  ])('scale %f, rescale %f are refused', (w, guidanceRescale) => {
    const sampler = samplerFrom({ _class_name: 'DDIMScheduler' });
    expect(() => guided(sampler.pairDenoiser(pair), w, { guidanceRescale })).toThrow(InvalidArgumentError);
  });
});

test('the forward process', () => {
  const space = new HostSpace();
  const [a, z] = [space.vec([1, -2]), space.vec([0.5, 4])];
  const { alpha, sigma } = ddimSampler.schedule.at(300);
  const want = [alpha + 0.5 * sigma, -2 * alpha + 4 * sigma];
  expectClose(data(ddimSampler.addNoise(a, z, 300).materialise()), want, 4 * ROUNDOFF.f32);
});

test('a solver and a denoiser of one’s own', async () => {
  const space = new HostSpace('f64');
  const level = (sigma: number): { timestep: number; alpha: number; sigma: number } => ({
    timestep: sigma,
    alpha: 1,
    sigma,
  });
  const x = await runSolver({
    x: space.vec([3]),
    denoiser: async (v) => ({ ...(await ddimSampler.denoiser(toy(0))(v, level(2))), reread: () => null as never }),
    solver: async ({ x: from }) => ({
      x: space.vec([data(from)[0] / 2]),
      x0: (await ddimSampler.denoiser((v) => v)(from, level(1))).out,
    }),
    transitions: [
      { from: level(2), to: level(1) },
      { from: level(1), to: level(0) },
    ],
  });
  expectClose(data(x), [0.75], 0);
});
