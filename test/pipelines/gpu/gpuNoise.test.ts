import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { InvalidArgumentError, type Device } from '../../../src/engine/index.ts';
import { GpuNoise } from '../../../src/pipelines/gpu/gpuNoise.ts';
import { GpuSpace } from '../../../src/pipelines/gpu/gpuSpace.ts';
import { counterNormals, CounterGenerator, PLAIN_DRAW } from '../../../src/sampler/noise/counterNormals.ts';
import { ddpm, HostSpace, parameterise, runSolver, samplerFrom, torchNoise } from '../../../src/sampler/index.ts';
import type { HostValues, SamplerState, StepEvent } from '../../../src/sampler/index.ts';
import { COUNTER_NORMAL, dotTolerance, expectClose } from '../../support/close.ts';
import { adapters } from '../../support/gpu.ts';
import { openDevice } from '../../support/runGraph.ts';

const SEEDS = [0, 42n, 2n ** 64n - 1n];

describe.each(adapters())('noise by number on %s', (adapter) => {
  let device: Device;
  let space: GpuSpace;
  beforeAll(async () => {
    device = await openDevice(adapter);
    space = await GpuSpace.open(device);
  });
  afterAll(() => {
    space.dispose();
  });

  /** What the host makes of the same seeds. */
  const onHost = (draw: number, item: number): Float64Array => {
    const out = new Float64Array(SEEDS.length * item);
    SEEDS.forEach((seed, b) =>
      counterNormals(BigInt(seed), [draw, PLAIN_DRAW], out.subarray(b * item, (b + 1) * item)),
    );
    return out;
  };

  it.each([1, 2, 5, 257, 16384])('items of %i elements: the numbers of the host, draw by draw', async (item) => {
    const noise = await GpuNoise.open(space, SEEDS);
    const like = space.vec(new Float32Array(SEEDS.length * item), SEEDS.length);
    for (let draw = 0; draw < 3; draw++)
      expectClose(await space.read(noise.source(like)), onHost(draw, item), COUNTER_NORMAL);
    noise.dispose();
  });

  it('one seed makes the batch one item; a state goes on; an item does not depend on its batch', async () => {
    const like = space.vec(new Float32Array(24), 3);
    const whole = await GpuNoise.open(space, 7);
    const first = await space.read(whole.source(like));
    const twin = new CounterGenerator(7);
    expectClose(first, twin.randn(24), COUNTER_NORMAL);
    const { state } = whole;
    const second = await space.read(whole.source(like));
    expectClose(second, twin.randn(24), COUNTER_NORMAL);
    whole.state = JSON.parse(JSON.stringify(state));
    expectClose(await space.read(whole.source(like)), second, 0);
    const [three, alone] = [await GpuNoise.open(space, SEEDS), await GpuNoise.open(space, SEEDS[1])];
    const item = await space.read(alone.source(space.vec(new Float32Array(8))));
    expectClose((await space.read(three.source(like))).slice(8, 16), item, 0);
    for (const noise of [whole, three, alone]) noise.dispose();
  });

  it('a run draws the same on the host and here', async () => {
    const transitions = samplerFrom({ _class_name: 'DDPMScheduler' }).transitions({ numInferenceSteps: 6 });
    const noise = await GpuNoise.open(space, [3, 4]);
    const x = Float32Array.from({ length: 32 }, (_, i) => Math.sin(i));
    const denoiser = parameterise((v) => v, 'sample');
    const options = { denoiser, transitions, solver: ddpm() };
    const host = new HostSpace();
    const generators = [new CounterGenerator(3), new CounterGenerator(4)];
    const want = await host.read(await runSolver({ ...options, x: host.vec(x, 2), noise: torchNoise(generators) }));
    const got = await space.read(await runSolver({ ...options, x: space.vec(x, 2), noise: noise.source }));
    expectClose(got, want, transitions.length * (COUNTER_NORMAL + dotTolerance('f32', 3, 4)));
    noise.dispose();
  });

  it('as the generator of a run: a run resumed from any state ends in the same bits', async () => {
    const sampler = samplerFrom({ _class_name: 'DDPMScheduler' });
    const [noise, x] = [await GpuNoise.open(space, [3, 4]), space.vec(new Float32Array(32).fill(0.5), 2)];
    const states: SamplerState[] = [];
    const run = async (resume?: SamplerState): Promise<HostValues> => {
      const denoiser = sampler.denoiser((v) => v);
      const onStep = async (e: StepEvent): Promise<void> => void states.push(await e.state());
      return space.read(await sampler.sample({ denoiser, x, numInferenceSteps: 4, generator: noise, resume, onStep }));
    };
    const whole = await run();
    expect(noise.state.draw).toBe(3); // DDPM draws in every step but the one from timestep 0
    for (const state of states.slice(0, 3)) expectClose(await run(JSON.parse(JSON.stringify(state))), whole, 0);
    noise.dispose();
  });

  it('bad seeds and states are refused', async () => {
    await expect(GpuNoise.open(space, [])).rejects.toThrow(InvalidArgumentError);
    await expect(GpuNoise.open(space, 0.5)).rejects.toThrow(/seed that is a safe integer/);
    const noise = await GpuNoise.open(space, [1, 2]);
    expect(() => noise.source(space.vec(new Float32Array(6), 3))).toThrow(
      /expected 3 seeds, one per item, or one, got 2/,
    );
    expect(() => (noise.state = { seeds: ['1'], draw: 0 })).toThrow(/state of seeds 1, 2/);
    noise.dispose();
  });
});
