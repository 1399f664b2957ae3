/** ADM's networks on a device and their configs: what goes in, what is refused, what is left behind. */
import { describe, expect, test } from 'vitest';
import { ConfigError, InvalidArgumentError, ShapeError, WeightError } from '../../../src/engine/index.ts';
import type { RawConfig } from '../../../src/loading/index.ts';
import { readAdmConfig, readClassifierConfig } from '../../../src/models/adm/admConfig.ts';
import { AdmUNet, admWeights, planAdmUNet } from '../../../src/models/adm/admModel.ts';
import { AdmClassifier, classifierWeights } from '../../../src/models/classifier/classifierModel.ts';
import { expectClose, networkTolerance } from '../../support/close.ts';
import { adapters } from '../../support/gpu.ts';
import { normals } from '../../support/random.ts';
import { failure } from '../fixtures.ts';
import { generated } from './generated.ts';
import { openDevice } from '../../support/runGraph.ts';

const SMALL: RawConfig = {
  _class_name: 'UNetModel',
  in_channels: 3,
  model_channels: 32,
  out_channels: 3,
  num_res_blocks: 1,
  attention_resolutions: [2],
  channel_mult: [1, 1],
  num_classes: 4,
};
const SUPER: RawConfig = { ...SMALL, _class_name: 'SuperResModel', num_classes: null };
const { num_classes: _, ...ENCODER } = SMALL;
const JUDGE: RawConfig = { ...ENCODER, _class_name: 'EncoderUNetModel', out_channels: 5 };
const ATTENTION: RawConfig = { ...JUDGE, pool: 'attention', num_head_channels: 16, image_size: 8 };

const [adapter] = adapters();
const device = await openDevice(adapter);

const picture = (shape: number[], seed = 1) => ({
  shape,
  data: normals(
    seed,
    shape.reduce((a, b) => a * b, 1),
  ),
});

async function use(raw: RawConfig, work: (model: AdmUNet) => Promise<void>): Promise<void> {
  const model = await AdmUNet.load(device, await generated(raw, admWeights(readAdmConfig(raw))));
  try {
    await work(model);
  } finally {
    model.dispose();
  }
}

async function judge(
  raw: RawConfig,
  work: (model: AdmClassifier) => Promise<void>,
  dtype: 'f32' | 'f16' = 'f32',
): Promise<void> {
  const source = await generated(raw, classifierWeights(readClassifierConfig(raw)));
  const model = await AdmClassifier.load(device, source, { dtype });
  try {
    await work(model);
  } finally {
    model.dispose();
  }
}

describe(`calls on ${adapter}`, () => {
  test('a batch is its items one by one', () =>
    judge(ATTENTION, async (model) => {
      const sample = picture([2, 3, 8, 8]);
      const call = { sample, timestep: [3, 700], classLabels: [4, 0] };
      const both = await (await model.gradient(call)).gradient.read();
      const half = sample.data.length / 2;
      for (const b of [0, 1]) {
        const one = { shape: [1, 3, 8, 8], data: sample.data.slice(b * half, (b + 1) * half) };
        const { gradient } = await model.gradient({ sample: one, timestep: [3, 700][b], classLabels: [[4], [0]][b] });
        const own = both.subarray(b * half, (b + 1) * half);
        expectClose(await gradient.read(), own, networkTolerance('f32', 64, 1), `item ${b}`);
      }
      expect(Math.max(...both)).toBeGreaterThan(networkTolerance('f32', 64, 1));
    }));

  test('gradients of all classes, each by its probability, cancel', () =>
    judge(JUDGE, async (model) => {
      const sample = picture([1, 3, 6, 5]);
      const logits = await (await model.forward({ sample, timestep: 10 })).read();
      const weights = logits.map(Math.exp);
      const sum = weights.reduce((a, b) => a + b);
      const mean = new Float64Array(sample.data.length);
      for (const [y, weight] of weights.entries()) {
        const { gradient } = await model.gradient({ sample, timestep: 10, classLabels: [y] });
        (await gradient.read()).forEach((v, i) => (mean[i] += (weight / sum) * v));
      }
      expectClose(mean, new Float64Array(mean.length), networkTolerance('f32', 64, 0.1), 'Σ p·∇ log p = 0');
    }));

  test('small gradients survive storage in halves', async () => {
    const call = { sample: picture([1, 3, 8, 8]), timestep: 900, classLabels: [2] };
    const found: Float32Array[] = [];
    for (const dtype of ['f32', 'f16'] as const) {
      await judge(ATTENTION, async (m) => void found.push(await (await m.gradient(call)).gradient.read()), dtype);
    }
    const largest = Math.max(...found[0].map(Math.abs));
    expectClose(found[1], found[0], networkTolerance('f16', 64, largest), 'halves');
  });

  test('a plan is known before the call', () => {
    const shape = { batch: 1, height: 32, width: 16 };
    const [plain, superRes] = [SMALL, SUPER].map((raw) => planAdmUNet(readAdmConfig(raw), shape));
    expect(superRes.edgeBytes).toBeGreaterThan(plain.edgeBytes);
    expect(superRes.dispatches).toBeGreaterThan(20);
  });

  test('nothing is left on the device', async () => {
    const before = { ...device.held };
    await judge(ATTENTION, async (model) => {
      await model.gradient({ sample: picture([1, 3, 8, 8]), timestep: 1, classLabels: [1] });
    });
    await device.idle();
    expect(device.held).toEqual(before);
  });
});

describe('calls that are refused', () => {
  const sample = picture([1, 3, 4, 4]);
  test.each([
    [
      'a width that is not divisible',
      { sample: picture([1, 3, 4, 5]), timestep: 1, classLabels: [1] },
      /divisible by 2/,
    ],
    ['other channels', { sample: picture([1, 4, 4, 4]), timestep: 1, classLabels: [1] }, /3 channels/],
    ['too many timesteps', { sample, timestep: [1, 2], classLabels: [1] }, /one timestep or 1/],
    ['no class', { sample, timestep: 1 }, /1 class labels.*got 0/],
    ['an unknown class', { sample, timestep: 1, classLabels: [4] }, /0 … 3, got 4/],
    ['a small picture', { sample, timestep: 1, classLabels: [1], lowRes: sample }, /no super-resolution/],
  ])('%s', (_what, call, message) =>
    use(SMALL, async (model) => {
      const error = await failure(model.forward(call));
      expect(error).toBeInstanceOf(InvalidArgumentError);
      expect(error.message).toMatch(message);
    }),
  );

  test('super-resolution without its small picture, or with another batch', () =>
    use(SUPER, async (model) => {
      expect((await failure(model.forward({ sample, timestep: 1 }))).message).toMatch(/expected lowRes/);
      const lowRes = picture([2, 3, 2, 2]);
      expect((await failure(model.forward({ sample, timestep: 1, lowRes }))).message).toMatch(/1 items/);
      expect((await failure(model.forward({ sample, timestep: 1, lowRes, classLabels: [1] }))).message).toMatch(
        /1 items/,
      );
    }));

  test('a classifier asked for a class that it does not have, or of another size', () =>
    judge(ATTENTION, async (model) => {
      const call = { sample: picture([1, 3, 8, 8]), timestep: 1 };
      expect((await failure(model.gradient({ ...call, classLabels: [5] }))).message).toMatch(/0 … 4, got 5/);
      const small = { sample: picture([1, 3, 4, 8]), timestep: 1 };
      expect((await failure(model.forward(small))).message).toMatch(/16 pixels for image_size 8, got 2×4/);
      expect(await failure(model.forward({ sample: picture([1, 1, 8, 8]), timestep: 1 }))).toBeInstanceOf(
        InvalidArgumentError,
      );
    }));
});

describe('configs and checkpoints that are refused', () => {
  test.each([
    ['an unknown field', { ...SMALL, use_magic: true }, 'use_magic'],
    ['three dimensions', { ...SMALL, dims: 3 }, 'dims'],
    ['channels that 32 groups do not divide', { ...SMALL, model_channels: 48 }, 'channel_mult'],
    ['heads that do not divide', { ...SMALL, num_heads: 5 }, 'num_heads'],
    ['heads on the way up that do not divide', { ...SMALL, num_heads_upsample: 5 }, 'num_heads_upsample'],
    ['channels of a head that do not divide', { ...SMALL, num_head_channels: 24 }, 'num_head_channels'],
    ['attention of another kind', { ...SMALL, attention_type: 'sparse' }, 'attention_type'],
    ['no levels', { ...SMALL, channel_mult: [] }, 'channel_mult'],
  ])('%s', (_what, raw, field) => {
    expect(() => readAdmConfig(raw)).toThrow(expect.objectContaining({ name: 'ConfigError', field }) as ConfigError);
  });

  test.each([
    ['a pool that nobody built', { ...JUDGE, pool: 'median' }, 'pool'],
    ['attention pooling without channels of a head', { ...ATTENTION, num_head_channels: -1 }, 'num_head_channels'],
    ['attention pooling of no size', { ...ATTENTION, image_size: null }, 'image_size'],
  ])('%s', (_what, raw, field) => {
    expect(() => readClassifierConfig(raw)).toThrow(expect.objectContaining({ field }) as ConfigError);
  });

  test('fields that cannot change the result are let pass', () => {
    const raw = { ...SMALL, dropout: 0.3, use_checkpoint: true, use_fp16: true, dims: 2, num_heads_upsample: -1 };
    expect(readAdmConfig(raw)).toEqual(readAdmConfig(SMALL));
  });

  test('weights of another network', async () => {
    const other = await generated(SMALL, admWeights(readAdmConfig({ ...SMALL, num_classes: null })));
    const error = await failure(AdmUNet.load(device, other));
    expect(error).toBeInstanceOf(WeightError);
    expect((error as WeightError).keys).toEqual(['label_emb.weight']);
    expect(await failure(AdmClassifier.load(device, other))).toBeInstanceOf(ConfigError);
  });

  test('shapes are said by name', () => {
    expect(() => planAdmUNet(readAdmConfig(SMALL), { batch: 1, height: 0, width: 4 })).toThrow(ShapeError);
  });
});
