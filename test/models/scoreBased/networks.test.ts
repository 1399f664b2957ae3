/** Score-based networks: what their configs may say, what goes in, what is refused, what is left behind. */
import { describe, expect, test } from 'vitest';
import { ConfigError, InvalidArgumentError, WeightError } from '../../../src/engine/index.ts';
import type { RawConfig } from '../../../src/loading/index.ts';
import {
  EdmNetwork,
  edmWeights,
  NCSNpp,
  NCSNv2,
  ncsnppWeights,
  ncsnv2Weights,
  readEdmConfig,
  readNcsnppConfig,
  readNcsnv2Config,
} from '../../../src/models/all.ts';
import { mergedWeights } from '../../../src/node/parity/original/weights.ts';
import { edmDenoise, preconditioningOf } from '../../../src/pipelines/original/edmDenoiser.ts';
import { edmLevel, edmPreconditioning, HostSpace, LinearForm, type HostVec } from '../../../src/sampler/index.ts';
import { edm } from '../../../src/sampler/index.ts';
import { expectClose, networkTolerance } from '../../support/close.ts';
import { adapters } from '../../support/gpu.ts';
import { normals } from '../../support/random.ts';
import { failure, fixture, fixturesPath } from '../fixtures.ts';
import { pathDirectory } from '../../../src/node/fileSource.ts';
import { openDevice } from '../../support/runGraph.ts';

const [adapter] = adapters();
const device = await openDevice(adapter);

const root = pathDirectory(fixturesPath).folder('original');

type Net = Record<string, unknown>;

async function configOf(name: string): Promise<Net> {
  const { config } = (await fixture(`original/${name}`).json('config.json')) as { config: { net: Net } };
  return config.net;
}

const song = async (): Promise<Net> => {
  const { precond, ...net } = await configOf('d-edm-ddpmpp-forward');
  return { _class_name: precond, ...net };
};
const ncsnpp = async () => ({ _class_name: 'NCSNpp', ...(await configOf('e-sde-ncsnpp-forward')) }) as RawConfig;
const ncsnv2 = async () => ({ _class_name: 'NCSNv2', ...(await configOf('e-ncsnv2-forward')) }) as RawConfig;

const weights = (name: string, wanted: ReadonlyMap<string, readonly number[]>) =>
  mergedWeights({ root, name }, ['weights.safetensors'], wanted);

async function loadSong(): Promise<EdmNetwork> {
  const config = await song();
  const checkpoint = await weights('d-edm-ddpmpp-forward', edmWeights(readEdmConfig(config)));
  return EdmNetwork.load(device, { config, checkpoint });
}

describe('configs', () => {
  test.each([
    [{ encoder_type: 'dense' }, 'encoder_type'],
    [{ resample_filter: [1, 2, 1] }, 'resample_filter'],
    [{ img_resolution: 9 }, 'img_resolution'],
    [{ model_channels: 2 }, 'model_channels'],
    [{ attention_heads: 3 }, 'attention_heads'],
    [{ sigma_data: 0 }, 'sigma_data'],
    [{ model_type: 'UNet' }, 'model_type'],
  ])('EDM refuses %o', async (change, field) => {
    const raw = { ...(await song()), ...change };
    expect(() => readEdmConfig(raw)).toThrow(expect.objectContaining({ name: 'ConfigError', field }) as Error);
  });

  test('EDM ignores what only training reads, and takes the infinity that Python writes', async () => {
    const raw = { ...(await song()), sigma_max: Infinity, label_dropout: 0.1, use_fp16: true, dropout: 0.3 };
    expect(readEdmConfig(raw)).toEqual(readEdmConfig(await song()));
  });

  test.each([
    ['model', { resblock_type: 'wide' }],
    ['model', { nonlinearity: 'gelu' }],
    ['model', { progressive: 'residual' }],
    ['model', { fir_kernel: [1, 2, 1] }],
    ['model', { conv_groups: 2 }],
    ['data', { image_size: 9 }],
  ])('NCSN++ refuses %s %o', async (part, change) => {
    const raw = await ncsnpp();
    const changed = { ...raw, [part]: { ...(raw[part] as object), ...change } };
    expect(() => readNcsnppConfig(changed)).toThrow(ConfigError);
    expect(() => readNcsnppConfig({ ...raw, [part]: undefined })).toThrow(ConfigError);
  });

  test.each([{ normalization: 'LayerNorm' }, { nonlinearity: 'gelu' }, { ngf: 1 }, { depth: 3 }])(
    'NCSNv2 refuses %o',
    async (change) => {
      const raw = await ncsnv2();
      expect(() => readNcsnv2Config({ ...raw, model: { ...(raw.model as object), ...change } })).toThrow(ConfigError);
    },
  );
});

describe(`calls on ${adapter}`, () => {
  const sample = (B: number, seed = 1) => ({ data: normals(seed, B * 192), shape: [B, 3, 8, 8] });

  test('a batch is its items, class ids are one-hot rows, no class is zeros, and nothing is left behind', async () => {
    const before = { ...device.held };
    const network = await loadSong();
    const run = async (call: Parameters<EdmNetwork['forward']>[0]) => (await network.forward(call)).read();
    const both = await run({ sample: sample(2), noiseLabels: [-0.4, 0.7], classLabels: [3, 0] });
    const rows = Float32Array.from([0, 0, 0, 1, 0, 1, 0, 0, 0, 0]);
    expect(await run({ sample: sample(2), noiseLabels: [-0.4, 0.7], classLabels: rows })).toEqual(both);
    const second = { data: sample(2).data.slice(192), shape: [1, 3, 8, 8] };
    const alone = await run({ sample: second, noiseLabels: 0.7, classLabels: [0] });
    expectClose(alone, both.subarray(192), networkTolerance('f32', 16, 4), 'item');
    const none = await run({ sample: second, noiseLabels: 0.7 });
    expect(none).toEqual(await run({ sample: second, noiseLabels: 0.7, classLabels: new Float32Array(5) }));
    expect(none).not.toEqual(alone);
    network.dispose();
    await device.idle();
    expect(device.held).toEqual(before);
  });

  test('what does not fit is said before anything runs', async () => {
    const network = await loadSong();
    for (const [call, message] of [
      [{ sample: sample(2), noiseLabels: [1, 2, 3] }, /one noise label or 2, got 3/],
      [{ sample: sample(1), noiseLabels: NaN }, /finite noise labels/],
      [{ sample: sample(1), noiseLabels: 0, classLabels: [5] }, /class ids in 0 … 4, got 5/],
      [{ sample: sample(1), noiseLabels: 0, augmentLabels: new Float32Array(9) }, /no augmentLabels/],
      [{ sample: { data: new Float32Array(75), shape: [1, 3, 5, 5] }, noiseLabels: 0 }, /divisible by 2/],
    ] as const) {
      const error = await failure(network.forward(call));
      expect(error).toBeInstanceOf(InvalidArgumentError);
      expect(error.message).toMatch(message);
    }
    const error = await failure(edmDenoise(network, { sample: sample(1), sigma: 0 }));
    expect(error.message).toMatch(/above 0, got 0/);
    network.dispose();
  });

  test('a checkpoint with a key too many or too few is refused', async () => {
    const config = await song();
    const wanted = edmWeights(readEdmConfig(config));
    const whole = await weights('d-edm-ddpmpp-forward', wanted);
    const fewer = await weights(
      'd-edm-ddpmpp-forward',
      new Map([...wanted].filter(([key]) => !key.endsWith('map_layer0.bias'))),
    );
    const error = await failure(EdmNetwork.load(device, { config, checkpoint: fewer }));
    expect(error).toBeInstanceOf(WeightError);
    expect(error.message).toMatch(/model\.map_layer0\.bias/);
    const none = { ...config, label_dim: 0 };
    expect(await failure(EdmNetwork.load(device, { config: none, checkpoint: whole }))).toBeInstanceOf(WeightError);
  });

  test('NCSN++ and NCSNv2 say what does not fit', async () => {
    const plus = await ncsnpp();
    const checkpoint = await weights('e-sde-ncsnpp-forward', ncsnppWeights(readNcsnppConfig(plus)));
    const one = await NCSNpp.load(device, { config: plus, checkpoint });
    expect((await failure(one.forward({ sample: sample(2), timeCond: [1] }))).message).toMatch(/one timeCond or 2/);
    expect((await failure(one.forward({ sample: sample(1), timeCond: 0 }))).message).toMatch(/positive timestep/);
    one.dispose();
    const second = await ncsnv2();
    const own = await weights('e-ncsnv2-forward', ncsnv2Weights(readNcsnv2Config(second)));
    const two = await NCSNv2.load(device, { config: second, checkpoint: own });
    expect((await failure(two.forward({ sample: sample(1), noiseIndex: 10 }))).message).toMatch(/in 0 … 9, got 10/);
    two.dispose();
  });
});

describe(`stored in halves on ${adapter}`, () => {
  const x = normals(7, 192);
  const sample = { data: x, shape: [1, 3, 8, 8] };
  const scaleOf = (values: Float32Array) => Math.max(...values.map(Math.abs));
  /** As good as halves are, and not as good as f32: were it so, halves would not have been used. */
  const expectHalves = (halves: Float32Array, whole: Float32Array) => {
    const worst = expectClose(halves, whole, networkTolerance('f16', 32, scaleOf(whole)), 'halves');
    expect(worst).toBeGreaterThan(networkTolerance('f32', 32, scaleOf(whole)));
  };

  test('EDM, NCSN++ and NCSNv2', async () => {
    const found: Float32Array[][] = [];
    for (const dtype of ['f32', 'f16'] as const) {
      const config = await song();
      const one = await EdmNetwork.load(
        device,
        { config, checkpoint: await weights('d-edm-ddpmpp-forward', edmWeights(readEdmConfig(config))) },
        { dtype },
      );
      const plus = await ncsnpp();
      const two = await NCSNpp.load(
        device,
        { config: plus, checkpoint: await weights('e-sde-ncsnpp-forward', ncsnppWeights(readNcsnppConfig(plus))) },
        { dtype },
      );
      const second = await ncsnv2();
      const three = await NCSNv2.load(
        device,
        { config: second, checkpoint: await weights('e-ncsnv2-forward', ncsnv2Weights(readNcsnv2Config(second))) },
        { dtype },
      );
      found.push([
        await (await one.forward({ sample, noiseLabels: 0.3, classLabels: [1] })).read(),
        await (await two.forward({ sample, timeCond: 3 })).read(),
        await (await three.forward({ sample, noiseIndex: 4 })).read(),
      ]);
      for (const model of [one, two, three]) model.dispose();
    }
    found[0].forEach((whole, i) => expectHalves(found[1][i], whole));
  });
});

describe('preconditioning', () => {
  const space = new HostSpace('f64');
  const [x, out] = [space.vec([0.3, -2, 5]), space.vec([1, 0.5, -0.25])];
  const values = (form: LinearForm) => (form.materialise() as HostVec).data;

  test.each([0.002, 0.5, 80])('EDM at sigma %f is that of the other name', (sigma) => {
    const [ours, theirs] = [edm.edmPrecond({ sigmaData: 0.5 }), edmPreconditioning(0.5)];
    const level = ours.level(sigma);
    expectClose([level.timestep], [edmLevel(sigma).timestep], networkTolerance('f32', 1, 2));
    const form = LinearForm.of(out);
    expectClose(values(ours.x0(x, form, level)), values(theirs.x0(x, form, level)), networkTolerance('f32', 1, 5));
    expectClose([ours.input!(level)], [theirs.input!(level)], networkTolerance('f32', 1, 2));
  });

  test('levels of iDDPM are rounded to those of training', () => {
    const { roundSigma, noiseLabel, sigmaMin, sigmaMax } = edm.iddpmPrecond([9, 3, 1, 0]);
    expect([0.4, 0.6, 2.1, 100].map(roundSigma)).toEqual([0, 1, 3, 9]);
    expect([1, 3, 9].map(noiseLabel)).toEqual([0, 1, 2]);
    expect([sigmaMin, sigmaMax]).toEqual([1, 9]);
    expect(() => edm.iddpmPrecond([0])).toThrow(InvalidArgumentError);
  });

  test('a network alone has none', async () => {
    const { _class_name, sigma_data, img_channels, ...rest } = await song();
    expect([_class_name, sigma_data]).toEqual(['EDMPrecond', 0.5]);
    const config = { ...rest, _class_name: 'SongUNet', in_channels: img_channels, out_channels: img_channels };
    delete (config as Net).model_type;
    const read = readEdmConfig(config);
    expect(read.precond).toBeUndefined();
    expect([...edmWeights(read).keys()][0]).not.toMatch(/^model\./);
    const bare = { config: read, levels: new Float32Array() } as unknown as EdmNetwork;
    expect(() => preconditioningOf(bare)).toThrow(/a network with a preconditioning/);
  });

  test('the general sampler refuses what it does not know', async () => {
    const call = (o: object) =>
      edm.generalSampler({
        x,
        numInferenceSteps: 4,
        noise: () => x,
        denoiser: () => Promise.reject(new Error()),
        ...o,
      });
    for (const o of [
      { solver: 'rk4' },
      { schedule: 'cosine' },
      { scaling: 've' },
      { alpha: 0 },
      { numInferenceSteps: 1 },
    ])
      expect(await failure(call(o))).toBeInstanceOf(InvalidArgumentError);
  });
});
