/** A run that stops early leaves the state that another goes on from. */
import { expect, it } from 'vitest';
import { InvalidArgumentError } from '../../src/engine/errors.ts';
import { HostSpace, LinearForm, samplerFrom, TorchGenerator } from '../../src/sampler/index.ts';

const sampler = samplerFrom({
  _class_name: 'EulerDiscreteScheduler',
  beta_schedule: 'scaled_linear',
  beta_start: 0.00085,
  beta_end: 0.012,
});
const space = new HostSpace();
const noise = new TorchGenerator(1).randn(8);
const denoiser = sampler.denoiser((x) => Promise.resolve(LinearForm.of(x, 0.05).plusConstant(0.1).materialise()));
const run = (options: object) => sampler.sample({ x: space.vec(noise), denoiser, numInferenceSteps: 6, ...options });

it('two parts of a schedule are the whole', async () => {
  const whole = await space.read(await run({}));
  const steps: number[] = [];
  const half = await run({ end: 4, onStep: ({ step }: { step: number }) => void steps.push(step) });
  expect(steps).toEqual([1, 2, 3, 4]);
  const rest = await run({ x: half, start: 4 });
  expect([...(await space.read(rest))]).toEqual([...whole]);
});

it('refuses an end that leaves no step, or is beyond the last', async () => {
  for (const options of [{ end: 0 }, { end: 7 }, { end: 2.5 }, { start: 3, end: 3 }]) {
    await expect(run(options)).rejects.toThrow(InvalidArgumentError);
  }
});
