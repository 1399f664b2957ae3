import { describe, expect, test } from 'vitest';
import { InvalidArgumentError, ShapeError } from '../../src/engine/errors.ts';
import { inpainted } from '../../src/sampler/editing/inpainting.ts';
import {
  ddim,
  HostSpace,
  runSolver,
  samplerFrom,
  TorchGenerator,
  type HostVec,
  type Network,
  type SampleOptions,
  type SamplerState,
  type Vec,
} from '../../src/sampler/index.ts';
import { expectClose, F64 } from '../support/close.ts';
import { PoisonSpace } from './poisonSpace.ts';

const space = new HostSpace('f64');
const data = (v: Vec): ArrayLike<number> => (v as HostVec).data;
const SIZE = 24;
const vec = (seed: number, n = SIZE, batch = 2): HostVec => space.vec(new TorchGenerator(seed).randn(n), batch);
const [x, image] = [vec(5), vec(3)];
const maskImage = space.vec(
  Array.from({ length: SIZE }, (_, i) => i % 2),
  2,
);
const toy: Network = (v, t) =>
  space.vec(
    Array.from(data(v), (u) => 0.9 * Math.tanh(0.7 * u + Math.sin(t / 100))),
    v.batch,
  );

const CLASSES = [
  'DDPMScheduler',
  'DDIMScheduler',
  'EulerDiscreteScheduler',
  'HeunDiscreteScheduler',
  'DPMSolverMultistepScheduler',
  'UniPCMultistepScheduler',
  'EDMEulerScheduler',
  'FlowMatchEulerDiscreteScheduler',
  'LCMScheduler',
  'TCDScheduler',
];

function run(className: string, options: Partial<SampleOptions>): Promise<Vec> {
  const sampler = samplerFrom({ _class_name: className });
  const generator = new TorchGenerator(1);
  return sampler.sample({ denoiser: sampler.denoiser(toy), x, numInferenceSteps: 7, generator, ...options });
}

describe('image to image', () => {
  test.each(CLASSES)('%s: begins at the noised picture, ⌊steps·strength⌋ steps from the end', async (name) => {
    const sampler = samplerFrom({ _class_name: name });
    const choice = { numInferenceSteps: 7, strength: 0.6 };
    const seen: number[] = [];
    const got = await run(name, { image, strength: 0.6, onStep: (e) => void seen.push(e.timestep) });
    const transitions = sampler.transitions(choice);
    const distilled = name === 'LCMScheduler' || name === 'TCDScheduler';
    expect(sampler.start(choice)).toBe(distilled ? 0 : 3);
    const rest = transitions.slice(distilled ? 0 : 3);
    expect(seen).toEqual(rest.map(({ from }) => from.timestep));
    const noised = sampler.addNoise(image, x, rest[0].from.timestep, choice).materialise();
    const start = distilled ? 0 : 3;
    const want = await runSolver({
      x: noised,
      denoiser: sampler.corrected(sampler.denoiser(toy)),
      solver: sampler.solver(),
      transitions,
      start,
      generator: new TorchGenerator(1),
    });
    expectClose(data(got), data(want), F64 * 100);
  });

  test.each([
    ['strength 0', { strength: 0 }, InvalidArgumentError, /strength in \(0, 1\].*got 0/],
    ['strength above 1', { strength: 1.5 }, InvalidArgumentError, /strength in \(0, 1\]/],
    ['no step left', { strength: 0.1 }, InvalidArgumentError, /steps·strength ≥ 1, got 0.1 of 7/],
    ['strength that is no number', { strength: NaN }, InvalidArgumentError, /got NaN/],
    ['no image', { image: undefined, strength: 0.5 }, InvalidArgumentError, /expected image with strength 0.5/],
    ['a start too', { start: 2 }, InvalidArgumentError, /image or start/],
    ['another shape', { image: vec(1, 12) }, ShapeError, /expected image of 2 items, 24 elements, got 2 and 12/],
    ['another batch', { image: vec(1, SIZE, 1) }, ShapeError, /expected image of 2 items/],
    ['a mask of another shape', { maskImage: vec(1, 4) }, ShapeError, /expected maskImage/],
    ['a mask alone', { image: undefined, maskImage }, InvalidArgumentError, /expected image with maskImage/],
  ] as const)('%s is refused', async (_what, options, type, message) => {
    const refused = run('DDIMScheduler', { image, ...options });
    await expect(refused).rejects.toThrow(type);
    await expect(refused).rejects.toThrow(message);
  });

  test('strength of LCM leaves steps to take', async () => {
    await expect(run('LCMScheduler', { image, strength: 0.1 })).rejects.toThrow(/original_inference_steps·strength/);
    await expect(run('DDIMScheduler', { originalInferenceSteps: 20 })).rejects.toThrow(/LCMScheduler, TCDScheduler/);
    await expect(run('LCMScheduler', { originalInferenceSteps: 0 })).rejects.toThrow(/in 1 … 1000, got 0/);
  });
});

describe('inpainting', () => {
  test.each(CLASSES)('%s: what is kept is the picture itself, on the way at the noise of the step', async (name) => {
    const sampler = samplerFrom({ _class_name: name });
    const strength = 0.6;
    const transitions = sampler.transitions({ numInferenceSteps: 7, strength });
    const states: SamplerState[] = [];
    const got = data(
      await run(name, { image, maskImage, strength, onStep: async (e) => void states.push(await e.state()) }),
    );
    for (let i = 0; i < SIZE; i += 2) expect(got[i]).toBe(image.data[i]);
    expect(got[1]).not.toBe(image.data[1]);
    const { step, x: state } = states[states.length - 2];
    const { alpha, sigma } = transitions[step].from;
    const want = Array.from(state, (v, i) => (i % 2 ? v : alpha * image.data[i] + sigma * x.data[i]));
    expectClose(state, want, F64);
    const resumed = await run(name, { image, maskImage, strength, resume: states[1] });
    expectClose(data(resumed), got, 0);
  });

  test.each(CLASSES)('%s: nothing is used after its step', async (_class_name) => {
    const sampler = samplerFrom({ _class_name });
    const on = async (on: HostSpace): Promise<ArrayLike<number>> => {
      const own = (v: HostVec): HostVec => on.vec(v.data, v.batch);
      const network: Network = (v, t) => {
        const out = on.vec(
          Array.from(data(v), (u) => Math.tanh(u + Math.sin(t / 100))),
          v.batch,
        );
        return on instanceof PoisonSpace ? on.track(out) : out;
      };
      const pictures = { x: own(x), image: own(image), maskImage: own(maskImage) };
      const options = { denoiser: sampler.denoiser(network), numInferenceSteps: 7, strength: 0.6 };
      return data(await sampler.sample({ ...options, ...pictures, brownian: { seed: 3 } }));
    };
    expectClose(await on(new PoisonSpace()), await on(new HostSpace()), 0);
  });

  test('at strength 1 it starts from noise alone', async () => {
    const first = async (options: Partial<SampleOptions>): Promise<number[]> => {
      let seen: number[] = [];
      await run('EulerDiscreteScheduler', {
        ...options,
        denoiser: samplerFrom({ _class_name: 'EulerDiscreteScheduler' }).denoiser((v, t) => {
          if (seen.length === 0) seen = Array.from(data(v));
          return toy(v, t);
        }),
      });
      return seen;
    };
    expectClose(await first({ image, maskImage }), await first({}), 0);
    expect(await first({ image })).not.toEqual(await first({}));
  });

  test('without a noise of its own it draws one in every step but the last', async () => {
    const sampler = samplerFrom({ _class_name: 'DDIMScheduler' });
    const [transitions, solver] = [
      sampler.transitions({ numInferenceSteps: 5 }),
      inpainted(ddim(), { image, maskImage }),
    ];
    let drawn = 0;
    const noise = (): Vec => (drawn++, vec(drawn));
    await runSolver({ x, denoiser: sampler.denoiser(toy), solver, transitions, noise });
    expect(drawn).toBe(4);
  });
});
