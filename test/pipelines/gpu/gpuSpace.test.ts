import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { InvalidArgumentError, ShapeError, type Device } from '../../../src/engine/index.ts';
import { GpuSpace } from '../../../src/pipelines/gpu/gpuSpace.ts';
import type { GpuVec } from '../../../src/pipelines/gpu/gpuVec.ts';
import {
  edmPreconditioning,
  HostSpace,
  kdiffusion,
  LinearForm,
  parameterise,
  runSolver,
  samplerFrom,
  TorchGenerator,
} from '../../../src/sampler/index.ts';
import type { Network, SampleOptions, Vec } from '../../../src/sampler/index.ts';
import { vecSpaceCases } from '../../sampler/vecSpaceCases.ts';
import { dotTolerance, expectClose } from '../../support/close.ts';
import { adapters } from '../../support/gpu.ts';
import { normals } from '../../support/random.ts';
import { openDevice } from '../../support/runGraph.ts';

type Space = HostSpace | GpuSpace;

/** A bounded, uneven function of x and t, with `halves` times the channels; computed on the host. */
function toy(space: Space, halves = 1): Network {
  return async (x, t) => {
    const values = await space.read(x);
    const item = x.length / x.batch;
    const out = Float32Array.from({ length: halves * x.length }, (_, i) => {
      const from = values[Math.floor(i / (item * halves)) * item + (i % item)];
      return 0.9 * Math.tanh(0.7 * from + Math.sin(t / 100 + (i % (item * halves)) / item));
    });
    return space.vec(out, x.batch);
  };
}

const loops: Record<string, { config: object; halves?: number; options?: Partial<SampleOptions> }> = {
  DDIM: { config: { _class_name: 'DDIMScheduler', clip_sample: false } },
  'DDIM, eta 0.7, clipped, ε derived again': {
    config: { _class_name: 'DDIMScheduler' },
    options: { eta: 0.7, useClippedModelOutput: true },
  },
  'DDIM, dynamic thresholding': {
    config: { _class_name: 'DDIMScheduler', clip_sample: false, thresholding: true, sample_max_value: 2 },
  },
  'DDIM, v prediction': { config: { _class_name: 'DDIMScheduler', prediction_type: 'v_prediction' } },
  DDPM: { config: { _class_name: 'DDPMScheduler' } },
  'DDPM, learned range': { config: { _class_name: 'DDPMScheduler', variance_type: 'learned_range' }, halves: 2 },
};

const SIGMAS = kdiffusion.karrasSigmas(14, { sigmaMin: 0.1, sigmaMax: 10 });

/** Three rounds of rounding to f32 per step, in ten steps, of values up to ten and more. */
const loopTolerance = (want: ArrayLike<number>) =>
  dotTolerance('f32', 30, Math.max(10, ...Array.from(want, (x) => Math.abs(x))));

describe.each(adapters())('GpuSpace on %s', (adapter) => {
  let device: Device;
  let space: GpuSpace;
  beforeAll(async () => {
    device = await openDevice(adapter);
    space = await GpuSpace.open(device);
  });
  afterAll(() => space.dispose());

  it.each(vecSpaceCases)('$name', async ({ run }) => {
    await run((values, [batch]) => space.vec(values, batch));
  });

  it.each(Object.entries(loops))('%s runs as on the host', async (_, { config, halves, options }) => {
    const sampler = samplerFrom({ ...config });
    const noise = new TorchGenerator(5).randn(2 * 3 * 5 * 7);
    const run = async (s: Space): Promise<ArrayLike<number>> => {
      const x = s.vec(noise, 2);
      const denoiser = sampler.denoiser(toy(s, halves));
      const generator = new TorchGenerator(3);
      return s.read(await sampler.sample({ x, denoiser, numInferenceSteps: 10, generator, ...options }));
    };
    const want = await run(new HostSpace());
    expectClose(await run(space), want, loopTolerance(want));
  });

  it('computes forms of any number of terms, under every operation, among them halves seen in place', async () => {
    const host = new HostSpace('f64');
    const whole = (s: Space) => Array.from({ length: 8 }, (_, i) => s.vec(normals(i, 3 * 2 * 20), 3));
    const ops = (s: Space, n: number): Vec[] => {
      const halves = whole(s).flatMap((v) => [...s.halves(v)]);
      const c = normals(99, 16);
      const sum = (from: number, to: number) =>
        halves.slice(from, to).reduce((f, v, i) => f.plus(v, c[i]), LinearForm.of(halves[0], 0).plusConstant(0.3));
      const form = sum(0, n);
      const few = sum(0, n).scale(0.1);
      return [
        s.clamp(form, -1, 2),
        s.mulExp(halves[15], few),
        s.mulSqrt(halves[14], LinearForm.of(s.clamp(few, 0, 9))),
        s.mask(form, sum(3, 3 + n), s.clamp(LinearForm.of(halves[13]), 0, 1)),
        form.materialise(),
      ];
    };
    for (let n = 0; n <= 13; n++) {
      const [got, want] = [ops(space, n), ops(host, n)];
      for (let i = 0; i < got.length; i++) {
        const truth = await host.read(want[i]);
        const scale = Math.max(20, ...Array.from(truth, Math.abs));
        expectClose(await space.read(got[i]), truth, dotTolerance('f32', n + 2, scale), `${n} terms, operation ${i}`);
      }
    }
  });

  it('updates the state in one dispatch and allocates nothing after the third step', async () => {
    const own = await GpuSpace.open(device);
    const sampler = samplerFrom({ _class_name: 'DDPMScheduler', clip_sample: false });
    const counts: number[] = [];
    const buffers: number[] = [];
    const x = own.vec(normals(1, 96), 2);
    const result = await sampler.sample({
      x,
      denoiser: sampler.denoiser((v) => own.copy(own.contiguous(v).buffer, v.length, v.batch)),
      numInferenceSteps: 8,
      generator: new TorchGenerator(1),
      onStep: () => {
        counts.push(own.dispatches);
        buffers.push(own.held.buffers);
      },
    });
    // An update is computed when the network asks for it; the last one when the result is read.
    expect(counts).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    expect(new Set(buffers.slice(2)).size).toBe(1);
    expect([...(await own.read(result))].every(Number.isFinite)).toBe(true);
    expect(own.dispatches).toBe(8);
    expectClose(await own.read(x), normals(1, 96), 0, 'the start stays as it was');
    const { buffers: held } = device.held;
    const { buffers: of } = own.held;
    own.dispose();
    expect(device.held.buffers).toBe(held - of);
  });

  it('holds no more the longer a method with a memory runs', async () => {
    const own = await GpuSpace.open(device);
    const held: number[] = [];
    await runSolver({
      x: LinearForm.of(own.vec(normals(1, 96), 2), 10).materialise(),
      denoiser: parameterise((v) => own.copy(own.contiguous(v).buffer, v.length, v.batch), edmPreconditioning()),
      solver: kdiffusion.dpmpp3mSde(SIGMAS),
      transitions: kdiffusion.veTransitions(SIGMAS),
      generator: new TorchGenerator(1),
      onStep: () => void held.push(own.held.bytes),
    });
    // Three pictures of earlier steps share their memory with the states of those.
    expect(new Set(held.slice(6)).size).toBe(1);
    expect(own.dispatches).toBe(SIGMAS.length - 1);
    own.dispose();
  });

  it('finds quantiles among ties, zeros of both signs and infinities', async () => {
    const host = new HostSpace('f64');
    const lists = [
      [3, 3, 3, 3, 3, 3],
      [0, -0, 0, -0, 1, -1],
      [1e-40, 5, -5, 2, -2, 6e4],
      [1, -Infinity, 2, 3, 4, Infinity],
    ];
    for (const p of [0, 0.2, 0.37, 0.5]) {
      const got = await space.quantile(space.vec(lists.flat(), 4), p);
      expectClose(got, await host.quantile(host.vec(lists.flat(), 4), p), dotTolerance('f32', 2, 6), `p = ${p}`);
    }
    expect(await space.quantile(space.vec(lists.slice(0, 3).flat(), 3), 1)).toEqual([3, 1, 6e4]);
    expect(await space.quantile(space.vec([7]), 1)).toEqual([7]);
    await expect(space.quantile(space.vec([7]), 1.5)).rejects.toThrow(InvalidArgumentError);
  });

  it('reads a term with coefficient 0 not at all, and a form without terms as its constant', async () => {
    const wild = space.vec([Infinity, NaN, 1]);
    const tame = space.vec([1, 2, 3]);
    expect([...(await space.read(LinearForm.of(tame, 2).plus(wild, 0).materialise()))]).toEqual([2, 4, 6]);
    expect([...(await space.read(LinearForm.of(wild, 0).plusConstant(0.5).materialise()))]).toEqual([0.5, 0.5, 0.5]);
  });

  it('sees buffers of others in place, or copies what does not start on a vec4', async () => {
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC;
    const buffer = device.createBuffer(4 * 24, usage, 'network output');
    const values = normals(9, 24);
    device.gpu.queue.writeBuffer(buffer, 0, values as Float32Array<ArrayBuffer>);
    const twice = async (v: Vec) => space.read(LinearForm.of(v, 2).materialise());
    const want = (from: number, to: number) => values.subarray(from, to).map((x) => 2 * x);
    const inPlace = space.wrap(buffer, 12, 2, 8);
    expect(inPlace.buffer).toBe(buffer);
    expectClose(await twice(inPlace), want(8, 20), 0);
    for (const [length, offset] of [
      [6, 3],
      [3, 21],
    ]) {
      const copied = space.wrap(buffer, length, 3, offset);
      expect(copied.buffer).not.toBe(buffer);
      expectClose(await twice(copied), want(offset, offset + length), 0);
    }
    const view = space.halves(space.wrap(buffer, 24, 3))[1] as GpuVec;
    expect(view.buffer).toBe(buffer);
    expectClose(
      await space.read(view),
      [4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23].map((i) => values[i]),
      0,
    );
    expectClose(
      await device.read(space.contiguous(view).buffer).then((b) => new Float32Array(b)),
      await space.read(view),
      0,
    );
    const mixed = LinearForm.of(view).plus(inPlace.batch === 2 ? space.vec(values.slice(0, 12), 3) : view);
    const sum = [...(await space.read(view))].map((x, i) => Math.fround(x + values[i]));
    expectClose(await space.read(mixed.materialise()), sum, 0);
    expect(() => space.copy(buffer, 24, 1, 4)).toThrow(/at least 112 bytes, got 96/);
    expect(() => space.wrap(buffer, 5, 2)).toThrow(InvalidArgumentError);
    device.destroyBuffer(buffer);
  });

  it('recycles what a step made, keeps what it is told to, and never what was there before the run', async () => {
    const before = space.vec([1, 2, 3, 4, 5, 6, 7, 8]);
    space.beginRun();
    const made = LinearForm.of(before, 2).materialise() as GpuVec;
    const { buffer } = made;
    const kept = LinearForm.of(before, 3).materialise() as GpuVec;
    const [, half] = space.halves(kept);
    space.endStep([half]);
    expect([...(await space.read(kept))]).toEqual([3, 6, 9, 12, 15, 18, 21, 24]);
    expect(() => LinearForm.of(made, 2).materialise()).toThrow(/released, or its step has ended/);
    const again = LinearForm.of(kept, 2).materialise() as GpuVec;
    expect(again.buffer).toBe(buffer);
    space.endStep([again]);
    await expect(space.read(half)).rejects.toThrow(InvalidArgumentError);
    expect([...(await space.read(again))]).toEqual([6, 12, 18, 24, 30, 36, 42, 48]);
    space.release(again);
    await expect(space.read(again)).rejects.toThrow(InvalidArgumentError);
    expect([...(await space.read(before))]).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    space.release(before);
  });

  it('computes what waits in one dispatch, with the bits of one dispatch each', async () => {
    const [a, b, c, d, e, f, g] = Array.from({ length: 7 }, (_, i) => space.vec(normals(40 + i, 2 * 3 * 5), 2));
    const step = async (look: (v: Vec) => Promise<unknown>): Promise<ArrayLike<number>[]> => {
      const x0 = space.clamp(LinearForm.of(a, 0.3).minus(b, 1.7), -1, 1);
      await look(x0);
      const noise = space.mulExp(c, LinearForm.of(d, 0.2).plusConstant(-1));
      await look(noise);
      const next = LinearForm.of(x0, 0.7)
        .plus(a, 0.2)
        .plus(noise)
        .plus(e, 0.1)
        .plus(f, -3)
        .plus(g, 1 / 3);
      const x = next.materialise();
      await look(x);
      const input = LinearForm.of(x, 1 / 9).materialise();
      const masked = space.mask(LinearForm.of(x), LinearForm.of(input, 2), space.clamp(LinearForm.of(a), 0, 1));
      return Promise.all([input, x, x0, noise, masked].map((v) => space.read(v)));
    };
    const before = space.dispatches;
    const together = await step(async () => undefined);
    expect(space.dispatches - before).toBe(1);
    const apart = await step((v) => space.read(v));
    expect(space.dispatches - before).toBe(1 + 4);
    together.forEach((values, i) => expectClose(values, apart[i], 0));
  });

  it('goes on from sums of some where a form has more terms than a dispatch has buffers', async () => {
    const terms = Array.from({ length: 20 }, (_, i) => space.vec(normals(60 + i, 24), 2));
    const sum = (of: Vec[]) => of.reduce((form, v, i) => form.plus(v, i / 7), LinearForm.of(of[0], 0.5));
    const before = space.dispatches;
    const got = await space.read(sum(terms).plusConstant(2).materialise());
    expect(space.dispatches - before).toBe(4);
    // In one buffer all of them fit.
    const whole = space.vec((await Promise.all(terms.map((v) => space.read(v)))).flatMap((v) => [...v]));
    const views = terms.map((_, i) => space.wrap((whole as GpuVec).buffer, 24, 2, 24 * i));
    expect(await space.read(sum(views.slice(0, 12)).materialise())).toEqual(
      await space.read(sum(terms.slice(0, 12)).materialise()),
    );
    expect(await space.read(sum(views).plusConstant(2).materialise())).toEqual(got);
  });

  it('drops what nobody will look at, and looks at a network’s output before it may change', async () => {
    const own = await GpuSpace.open(device);
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST;
    const output = device.createBuffer(32, usage, 'network output');
    const write = (value: number) => device.gpu.queue.writeBuffer(output, 0, new Float32Array(8).fill(value));
    write(3);
    const start = own.vec(normals(1, 8));
    own.beginRun();
    LinearForm.of(start, 2).materialise();
    own.endStep([]);
    expect(own.dispatches).toBe(0);
    const x = LinearForm.of(own.wrap(output, 8), 2).materialise();
    own.endStep([x]);
    write(5);
    expect([...(await own.read(x))]).toEqual(new Array(8).fill(6));
    const lost = LinearForm.of(x, 2).materialise() as GpuVec;
    own.release(lost);
    expect(() => lost.buffer).toThrow(/released before it was computed/);
    device.destroyBuffer(output);
    own.dispose();
  });

  it('refuses vectors of another space, shape or item size', () => {
    const v = space.vec([1, 2, 3, 4]);
    const foreign = new HostSpace().vec([1, 2, 3, 4]);
    expect(() => space.materialise(LinearForm.of(foreign, 2))).toThrow(InvalidArgumentError);
    expect(() => space.upload(new Float32Array(3), v)).toThrow(ShapeError);
    expect(() => space.mask(LinearForm.of(v), LinearForm.of(v), space.vec([1]))).toThrow(ShapeError);
    expect(() => space.mulExp(space.vec([1, 2, 3, 4], 2), LinearForm.of(v))).toThrow(/expected 1 items, 4 values/);
    expect(() => space.halves(space.vec([1, 2, 3]))).toThrow(ShapeError);
    expect(() => space.vec([1, 2, 3], 2)).toThrow(InvalidArgumentError);
  });
});
