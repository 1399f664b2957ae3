/** The U-Net on a device: what goes in, what is refused, what is left behind. Numbers: test/parity. */
import { describe, expect, test } from 'vitest';
import {
  AbortedError,
  ConfigError,
  InvalidArgumentError,
  LimitError,
  NotFoundError,
  WeightError,
} from '../../src/engine/index.ts';
import { UNet2D, type ModelOutput, type TensorInput } from '../../src/models/index.ts';
import { filesDirectory } from '../../src/loading/index.ts';
import { adapters } from '../support/gpu.ts';
import { networkTolerance, expectClose } from '../support/close.ts';
import { normals } from '../support/random.ts';
import { changed, failure, fixture } from './fixtures.ts';
import { openDevice } from '../support/runGraph.ts';

const NAME = 'unet2d_eps_f16';
const CLASSES = 'unet2d_class_f16';

const sample = (shape: readonly number[], seed = 1): TensorInput & { data: Float32Array } => ({
  shape,
  data: normals(
    seed,
    shape.reduce((a, b) => a * b, 1),
  ),
});

const [adapter] = adapters();
const device = await openDevice(adapter);

async function held(work: () => Promise<void>): Promise<{ buffers: number; bytes: number }> {
  const before = { ...device.held };
  await work();
  await device.idle();
  return { buffers: device.held.buffers - before.buffers, bytes: device.held.bytes - before.bytes };
}

async function use(source: Parameters<typeof UNet2D.load>[1], work: (model: UNet2D) => Promise<void>) {
  const left = await held(async () => {
    const model = await UNet2D.load(device, source);
    try {
      await work(model);
    } finally {
      model.dispose();
    }
  });
  expect(left).toEqual({ buffers: 0, bytes: 0 });
}

const values = (out: ModelOutput) => out.read();

describe(`calls on ${adapter}`, () => {
  test('a batch is its items one by one, and buffers are as good as arrays', () =>
    use(fixture(CLASSES), async (model) => {
      const x = sample([2, 3, 4, 6]);
      const both = await values(await model.forward({ sample: x, timestep: [7, 600], classLabels: [3, 10] }));
      const half = x.data.length / 2;
      const items: Float32Array[] = [];
      for (const b of [0, 1]) {
        const data = x.data.slice(b * half, (b + 1) * half);
        const call = { timestep: [7, 600][b], classLabels: [[3], [10]][b] };
        items.push(await values(await model.forward({ ...call, sample: { data, shape: [1, 3, 4, 6] } })));
      }
      expectClose(both, [...items[0], ...items[1]], networkTolerance('f32', 16, 4), 'batch against items');

      const buffers = [0, 1].map((b) => {
        const buffer = device.createBuffer(4 * half, GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST, 'x');
        device.gpu.queue.writeBuffer(buffer, 0, Float32Array.from(x.data), b * half, half);
        return buffer;
      });
      const again = await model.forward({
        sample: { data: buffers, shape: [2, 3, 4, 6] },
        timestep: [7, 600],
        classLabels: [3, 10],
      });
      expect(again.shape).toEqual([2, 3, 4, 6]);
      expect(await values(again)).toEqual(both);
      buffers.forEach((buffer) => device.destroyBuffer(buffer));
    }));

  test('calls made at once wait for each other', () =>
    use(fixture(NAME), async (model) => {
      const shape = [1, 3, 4, 4];
      const alone = await values(await model.forward({ sample: sample(shape), timestep: 5 }));
      const [first] = await Promise.all([
        model.forward({ sample: sample(shape), timestep: 5 }).then(values),
        model.forward({ sample: sample([1, 3, 2, 2], 2), timestep: 900 }),
        model.forward({ sample: sample([1, 3, 6, 4], 3), timestep: 9 }),
      ]);
      expect(first).toEqual(alone);
    }));

  test('many sizes keep few programs', () =>
    use(fixture(NAME), async (model) => {
      const buffers: number[] = [];
      for (let width = 2; width <= 14; width += 2) {
        await model.forward({ sample: sample([1, 3, 2, width]), timestep: 0 });
        buffers.push(device.held.buffers);
      }
      // Fewer than five programs' worth: they differ by an arena at most.
      expect(Math.max(...buffers)).toBeLessThan(buffers[3] + buffers[1] - buffers[0]);
      // The first size comes back although its program has gone.
      const out = await model.forward({ sample: sample([1, 3, 2, 2]), timestep: 0 });
      expect((await values(out)).every(Number.isFinite)).toBe(true);
    }));

  test('rewrites change nothing but the number of dispatches', async () => {
    const x = sample([1, 3, 8, 8]);
    const results: Float32Array[] = [];
    for (const rewritesOff of [
      new Set<string>(),
      new Set(['fold-shift', 'fold-activation', 'fold-residual', 'fold-norm-activation']),
    ]) {
      const model = await UNet2D.load(device, fixture(NAME), { rewritesOff });
      results.push(await values(await model.forward({ sample: x, timestep: 77 })));
      model.dispose();
    }
    expectClose(results[0], results[1], networkTolerance('f32', 16, 4), 'on against off');
  });

  test('a plan is known before the call', () =>
    use(fixture(NAME), async (model) => {
      const report = model.plan({ batch: 1, height: 64, width: 64 });
      expect(report.dispatches).toBeGreaterThan(20);
      expect(report.largestBinding.bytes).toBeGreaterThanOrEqual(4 * 64 * 64 * 8);
      expect(() => model.plan({ batch: 1, height: 4096, width: 4096 })).toThrow(LimitError);
    }));
});

describe('calls that are refused', () => {
  test.each([
    [
      'a width that is not divisible',
      { sample: sample([1, 3, 4, 5]), timestep: 1, classLabels: [1] },
      /divisible by 2/,
    ],
    ['other channels', { sample: sample([1, 4, 4, 4]), timestep: 1, classLabels: [1] }, /expected 3 channels/],
    [
      'data of another length',
      { sample: { ...sample([1, 3, 4, 4]), shape: [1, 3, 4, 6] }, timestep: 1, classLabels: [1] },
      /expected sample/,
    ],
    ['three dimensions', { sample: sample([3, 4, 4]), timestep: 1, classLabels: [1] }, /\[B,C,H,W\]/],
    ['too many timesteps', { sample: sample([1, 3, 4, 4]), timestep: [1, 2], classLabels: [1] }, /one timestep or 1/],
    ['a timestep that is none', { sample: sample([1, 3, 4, 4]), timestep: NaN, classLabels: [1] }, /finite timestep/],
    ['no class', { sample: sample([1, 3, 4, 4]), timestep: 1 }, /1 class labels, got 0/],
    ['an unknown class', { sample: sample([1, 3, 4, 4]), timestep: 1, classLabels: [11] }, /0 … 10, got 11/],
    ['half a class', { sample: sample([1, 3, 4, 4]), timestep: 1, classLabels: [0.5] }, /integers/],
  ])('%s', (_what, call, message) =>
    use(fixture(CLASSES), async (model) => {
      const error = await failure(model.forward(call));
      expect(error).toBeInstanceOf(InvalidArgumentError);
      expect(error.message).toMatch(message);
      // The model is still good for the next call.
      await model.forward({ sample: sample([1, 3, 4, 4]), timestep: 1, classLabels: [1] });
    }),
  );

  test('a class where there is none', () =>
    use(fixture(NAME), async (model) => {
      const error = await failure(model.forward({ sample: sample([1, 3, 4, 4]), timestep: 1, classLabels: [1] }));
      expect(error).toBeInstanceOf(InvalidArgumentError);
    }));

  test('an aborted call, before and while it waits', () =>
    use(fixture(NAME), async (model) => {
      const call = { sample: sample([1, 3, 4, 4]), timestep: 1 };
      expect(await failure(model.forward({ ...call, signal: AbortSignal.abort() }))).toBeInstanceOf(AbortedError);
      const controller = new AbortController();
      const first = model.forward(call);
      const second = failure(model.forward({ ...call, signal: controller.signal }));
      controller.abort();
      expect(await second).toBeInstanceOf(AbortedError);
      expect(await values(await first)).toHaveLength(48);
    }));

  test('a model that has been disposed of', async () => {
    const model = await UNet2D.load(device, fixture(NAME));
    const running = model.forward({ sample: sample([1, 3, 4, 4]), timestep: 1 });
    await Promise.resolve();
    const waiting = failure(model.forward({ sample: sample([1, 3, 4, 4]), timestep: 1 }));
    model.dispose();
    await running;
    expect((await waiting).message).toMatch(/disposed/);
    const late = await failure(model.forward({ sample: sample([1, 3, 4, 4]), timestep: 1 }));
    expect(late).toBeInstanceOf(InvalidArgumentError);
  });
});

describe('checkpoints that are refused leave nothing behind', () => {
  const KEY = 'mid_block.resnets.0.conv1.weight';
  const refused: [string, Parameters<typeof changed>[1], string[] | undefined][] = [
    ['a missing weight', { weights: (t) => delete t[KEY] }, [KEY]],
    ['a weight too many', { weights: (t) => (t['mid_block.extra'] = t['conv_in.bias']) }, ['mid_block.extra']],
    ['a misshapen weight', { weights: (t) => t[KEY].shape.reverse() }, [KEY]],
    ['a weight that is not finite', { weights: (t) => t[KEY].bytes.fill(0xff, 10, 12) }, [KEY]],
    ['the config of another model', { config: (c) => (c.layers_per_block = 2) }, undefined],
  ];
  test.each(refused)('%s', async (_what, change, keys) => {
    const source = await changed(NAME, change);
    let error: Error | undefined;
    const left = await held(async () => {
      error = await failure(UNet2D.load(device, source));
    });
    expect(error).toBeInstanceOf(WeightError);
    if (keys) expect((error as WeightError).keys).toEqual(keys);
    expect(left).toEqual({ buffers: 0, bytes: 0 });
  });

  test('an unknown field, another class, no folder', async () => {
    const unknown = await changed(NAME, { config: (c) => (c.use_magic = true) });
    expect((await failure(UNet2D.load(device, unknown))) as ConfigError).toMatchObject({ field: 'use_magic' });
    expect(await failure(UNet2D.load(device, fixture('vae_kl_sd')))).toBeInstanceOf(ConfigError);
    expect(await failure(UNet2D.load(device, fixture('nowhere')))).toBeInstanceOf(NotFoundError);
    expect(await failure(UNet2D.load(device, filesDirectory({}, 'empty')))).toBeInstanceOf(NotFoundError);
  });

  test('an aborted load', async () => {
    const left = await held(async () => {
      const controller = new AbortController();
      const options = { signal: controller.signal, onProgress: () => controller.abort() };
      expect(await failure(UNet2D.load(device, fixture(NAME), options))).toBeInstanceOf(AbortedError);
    });
    expect(left).toEqual({ buffers: 0, bytes: 0 });
  });
});
