/** Inpainting, RePaint, editing and noise of a Brownian path on the GPU: as on the host, and in bounded memory. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Device } from '../../../src/engine/index.ts';
import { GpuSpace } from '../../../src/pipelines/gpu/gpuSpace.ts';
import {
  consistencyEdit,
  guided,
  HostSpace,
  pairOf,
  parameterise,
  patchMeanReplacement,
  runSolver,
  samplerFrom,
  TorchGenerator,
  veLevel,
  type Denoiser,
  type Network,
  type SampleOptions,
  type Vec,
} from '../../../src/sampler/index.ts';
import { dotTolerance, expectClose } from '../../support/close.ts';
import { adapters } from '../../support/gpu.ts';
import { openDevice } from '../../support/runGraph.ts';

type Space = HostSpace | GpuSpace;
const [BATCH, SHAPE] = [2, [3, 4, 8]] as const;
const SIZE = BATCH * 96;
const values = (seed: number): Float32Array => new TorchGenerator(seed).randn(SIZE);
const mask = Float32Array.from({ length: SIZE }, (_, i) => Number(i % 3 === 0));

/** A bounded function of x and t, computed on the host. */
const toy =
  (space: Space): Network =>
  async (x, t) => {
    const seen = await space.read(x);
    return space.vec(
      Float32Array.from(seen, (v) => 0.9 * Math.tanh(0.7 * v + Math.sin(t / 100))),
      BATCH,
    );
  };

const sample = async (space: Space, className: string, options: (s: Space) => Partial<SampleOptions>) => {
  const sampler = samplerFrom({ _class_name: className });
  const denoiser: Denoiser = sampler.denoiser(toy(space));
  const x = space.vec(values(1), BATCH);
  const generator = new TorchGenerator(2);
  return sampler.sample({ denoiser, x, generator, numInferenceSteps: 6, ...options(space) });
};

const runs: Record<string, (space: Space) => Promise<Vec>> = {
  'inpainting with DDIM, half the run': (space) =>
    sample(space, 'DDIMScheduler', (s) => ({
      image: s.vec(values(3), BATCH),
      maskImage: s.vec(mask, BATCH),
      strength: 0.5,
    })),
  'inpainting with DPM-Solver++': (space) =>
    sample(space, 'DPMSolverMultistepScheduler', (s) => ({
      image: s.vec(values(3), BATCH),
      maskImage: s.vec(mask, BATCH),
    })),
  'RePaint, jumps of 83 small steps': (space) =>
    sample(space, 'RePaintScheduler', (s) => ({
      originalImage: s.vec(values(3), BATCH),
      mask: s.vec(mask, BATCH),
      numInferenceSteps: 12,
      jumpLength: 2,
      jumpNSample: 2,
    })),
  'guidance within an interval, noise of a Brownian path': (space) => {
    const sampler = samplerFrom({ _class_name: 'EulerAncestralDiscreteScheduler' });
    const [a, b] = [sampler.denoiser(toy(space)), sampler.denoiser((x) => x)];
    const denoiser = guided(pairOf(b, a), 3, { interval: [0.5, 5], conditional: a, guidanceRescale: 0.5 });
    return sample(space, 'EulerAncestralDiscreteScheduler', () => ({ denoiser, brownian: { seed: [4, 5] } }));
  },
  'editing with a consistency model': (space) => {
    const levels = [80, 20, 3, 0.002].map((sigma, i) => veLevel(i, sigma));
    return runSolver({
      x: space.vec(values(1), BATCH),
      denoiser: parameterise(toy(space), 'sample'),
      solver: consistencyEdit({ replace: patchMeanReplacement(space.vec(values(3), BATCH), SHAPE, 2) }),
      transitions: levels.slice(1).map((to, i) => ({ from: levels[i], to })),
      generator: new TorchGenerator(2),
    });
  },
};

describe.each(adapters())('on %s', (adapter) => {
  let device: Device;
  let space: GpuSpace;
  beforeAll(async () => {
    device = await openDevice(adapter);
    space = await GpuSpace.open(device);
  });
  afterAll(() => {
    space.dispose();
  });

  it.each(Object.keys(runs))('%s: as on the host', async (name) => {
    const host = new HostSpace();
    const want = await host.read(await runs[name](host));
    const before = space.held.buffers;
    const got = await space.read(await runs[name](space));
    const largest = Math.max(...Array.from(want, Math.abs));
    expectClose(got, want, dotTolerance('f32', 400, Math.max(15, largest)));
    // The run's own vectors, the caller's five, and what a few small steps share.
    expect(space.held.buffers - before).toBeLessThan(32);
  });
});
