/**
 * Attention maps of chosen tokens: against softmax in f64 on the network's own queries and keys, and through a
 * pipeline.
 */
import { describe, expect, it } from 'vitest';
import { InvalidArgumentError, UnsupportedError, type Tensor } from '../../../src/engine/index.ts';
import { fromNchw, reshape, toNchw } from '../../../src/kernels/index.ts';
import { LoadedModel, type ModelDefinition } from '../../../src/models/loadedModel.ts';
import { declareConditions, readConditions } from '../../../src/models/unetCondition/conditionInputs.ts';
import { unetCondition } from '../../../src/models/unetCondition/unetCondition.ts';
import { readUNetConditionConfig } from '../../../src/models/unetCondition/unetConditionConfig.ts';
import { UNet2DCondition } from '../../../src/models/unetCondition/unetConditionModel.ts';
import type { AttentionMap } from '../../../src/pipelines/options/attentionMaps.ts';
import { Pipeline } from '../../../src/pipelines/index.ts';
import type { TextToImageOptions } from '../../../src/pipelines/options/textToImage.ts';
import { failure, fixture } from '../../models/fixtures.ts';
import { expectClose, networkTolerance } from '../../support/close.ts';
import { adapters } from '../../support/gpu.ts';
import { normals } from '../../support/random.ts';
import { openDevice } from '../../support/runGraph.ts';
import { heldBy } from '../folders.ts';
import { directory, json, modelIndex, schedule, textFiles, unetFiles, vaeFiles } from '../tinyModels.ts';

const [adapter] = adapters();
const device = await openDevice(adapter);
const UNET = 'pipe_sd_ddim/unet';
/** Layers that a probability has come through: those before the attention that is looked at last. */
const LAYERS = 32;
const UNITY = networkTolerance('f32', LAYERS, 1);

interface Layer {
  heads: number;
  size: readonly [number, number];
}

/** The same network, which says the queries and keys of every cross-attention. */
async function queriesAndKeys(call: Parameters<UNet2DCondition['forward']>[0]) {
  const layers: Layer[] = [];
  const raw = await fixture(UNET).json('config.json');
  const config = readUNetConditionConfig(raw as Record<string, unknown>);
  const [B, C, H, W] = call.sample.shape;
  const read = readConditions('test', config, B, call);
  const definition: ModelDefinition<typeof config, { form: typeof read.form }> = {
    className: 'UNet2DConditionModel',
    readConfig: readUNetConditionConfig,
    probes: () => [{ form: read.form }],
    record(g, w, c, { form }) {
      layers.length = 0;
      const flat = (x: Tensor) => toNchw(reshape(x, [x.shape[0], x.shape[1], 1, x.shape[2]]));
      const out = unetCondition(c, w, {
        ...declareConditions(g, c, form),
        sample: fromNchw(g.input('sample', [B, C, H, W])),
        controls: [],
        adapters: [],
        probe: (q, k, { heads, size }) => {
          g.output(`q${layers.length}`, flat(q));
          g.output(`k${layers.length}`, flat(k));
          layers.push({ heads, size });
        },
      });
      g.output('out', toNchw(out));
    },
  };
  const model = await LoadedModel.load(device, fixture(UNET), definition, { dtype: 'f32' });
  const outputs = await model.runAll({ form: read.form }, { ...read.inputs, sample: call.sample.data });
  const all = [];
  for (const [i, layer] of layers.entries()) {
    const [q, k] = [outputs[`q${i}`], outputs[`k${i}`]];
    all.push({ ...layer, q: await q.read(), k: await k.read(), inner: q.shape[1], T: q.shape[2], S: k.shape[2] });
  }
  model.dispose();
  return all;
}

/** P[b, h, t, s] of a layer, meant over its heads: [B, S, T]. */
function probabilities({ q, k, inner, T, S, heads }: Awaited<ReturnType<typeof queriesAndKeys>>[number], B: number) {
  const d = inner / heads;
  const mean = new Float64Array(B * S * T);
  for (let b = 0; b < B; b++) {
    for (let h = 0; h < heads; h++) {
      for (let t = 0; t < T; t++) {
        const scores = Array.from({ length: S }, (_, s) => {
          let sum = 0;
          for (let c = h * d; c < (h + 1) * d; c++) sum += q[(b * inner + c) * T + t] * k[(b * inner + c) * S + s];
          return sum / Math.sqrt(d);
        });
        const most = Math.max(...scores);
        const weights = scores.map((v) => Math.exp(v - most));
        const total = weights.reduce((a, v) => a + v);
        weights.forEach((v, s) => (mean[(b * S + s) * T + t] += v / total / heads));
      }
    }
  }
  return mean;
}

describe(`where a U-Net looks, on ${adapter}`, () => {
  const S = 7;
  const call = {
    sample: { data: normals(1, 2 * 4 * 8 * 6), shape: [2, 4, 8, 6] },
    timestep: 500,
    encoderHiddenStates: { data: normals(2, 2 * S * 16, { std: 3 }), shape: [2, S, 16] },
  };

  it('gives the probabilities of any tokens, and the same picture', async () => {
    const unet = await UNet2DCondition.load(device, fixture(UNET), { dtype: 'f32' });
    const plain = Float32Array.from(await (await unet.forward(call)).read());
    const layers = await queriesAndKeys(call);
    expect(new Set(layers.map(({ size }) => size.join())).size).toBe(2);
    const wanted = layers.map((layer) => probabilities(layer, 2));
    // One token each, and more than a head has channels.
    for (const tokens of [
      [[2], [5]],
      [Array.from({ length: S }, (_, i) => i), Array.from({ length: S }, (_, i) => S - 1 - i)],
    ]) {
      const { out, maps } = await unet.attend({ ...call, tokens });
      expect(Float32Array.from(await out.read())).toEqual(plain);
      const n = tokens[0].length;
      for (const map of maps) {
        const [B, channels, h, w] = map.shape;
        expect([B, channels]).toEqual([2, n]);
        const got = await map.read();
        const want = new Float64Array(got.length);
        layers.forEach(({ size, T }, l) => {
          if (size[0] !== h || size[1] !== w) return;
          tokens.forEach((row, b) =>
            row.forEach((s, i) => {
              for (let t = 0; t < T; t++) want[(b * n + i) * T + t] += wanted[l][(b * S + s) * T + t] / layers.length;
            }),
          );
        });
        expectClose(got, want, UNITY, `maps ${h}×${w}`);
        const spoilt = want.map((v) => v * 1.001 + 1e-3);
        expect(() => expectClose(got, spoilt, UNITY, 'spoilt')).toThrow();
      }
    }
    expect(await failure(unet.attend({ ...call, tokens: [[S], [0]] }))).toBeInstanceOf(InvalidArgumentError);
    expect(await failure(unet.attend({ ...call, tokens: [[1]] }))).toBeInstanceOf(InvalidArgumentError);
    unet.dispose();
  });

  it('refuses networks that have no such attention', async () => {
    const unet = await UNet2DCondition.load(device, fixture('unet_cond_extra_attn_blocks'), { dtype: 'f32' });
    const { inChannels, crossAttentionDim } = unet.config;
    const sample = { data: normals(1, inChannels * 64), shape: [1, inChannels, 8, 8] };
    const encoderHiddenStates = { data: normals(2, 7 * crossAttentionDim[0]), shape: [1, 7, crossAttentionDim[0]] };
    const error = await failure(unet.attend({ sample, timestep: 3, encoderHiddenStates, tokens: [[1]] }));
    expect(error).toBeInstanceOf(UnsupportedError);
    unet.dispose();
  });
});

describe(`maps of words on ${adapter}`, () => {
  const source = directory(
    {
      ...vaeFiles(),
      ...unetFiles(`${UNET}/config.json`, {}),
      ...textFiles('', 'CLIPTextModel', 16, 100),
      'scheduler/scheduler_config.json': json(schedule('DDIMScheduler', { steps_offset: 1, clip_sample: false })),
      'model_index.json': modelIndex('StableDiffusionPipeline', [
        'unet',
        'vae',
        'scheduler',
        'text_encoder',
        'tokenizer',
      ]),
    },
    'words',
  );
  const options: TextToImageOptions = {
    prompt: ['a red heart', 'a cat on a red sofa'],
    latents: normals(3, 2 * 4 * 6 * 8),
    width: 16,
    height: 12,
    numInferenceSteps: 3,
    guidanceScale: 5,
  };

  it('of every prompt that has the word, in the size of the picture, and nothing else changes', async () => {
    const before = await heldBy(device);
    const pipe = await Pipeline.fromPretrained(source, { device, dtype: 'f32' });
    const run = async (more: TextToImageOptions = {}) => {
      const { images, latents, attentionMaps } = await pipe({ ...options, ...more });
      images.forEach((image) => image.dispose());
      return { latents, attentionMaps };
    };
    const plain = await run();
    expect(plain.attentionMaps).toBeUndefined();
    const watched = await run({ attentionMaps: { tokens: ['red', 'heart', 'cat', 3] } });
    expect(watched.latents).toEqual(plain.latents);
    const maps = watched.attentionMaps!;
    expect(maps.map(({ token, image }) => `${token} ${image}`)).toEqual([
      'red 0',
      'red 1',
      'heart 0',
      'cat 1',
      '3 0',
      '3 1',
    ]);
    for (const { width, height, data } of maps) {
      expect([width, height, data.length]).toEqual([16, 12, 16 * 12]);
      for (const p of data) expect(p).toBeGreaterThanOrEqual(0);
    }
    // In both prompts the word stands behind the article; a place says the same as the word that stands there.
    const [red] = maps;
    const places = await run({ attentionMaps: { tokens: red.positions } });
    const mean = red.data.map((_, i) => {
      const of = places.attentionMaps!.filter(({ image }) => image === 0);
      return of.reduce((sum, { data }) => sum + data[i], 0) / of.length;
    });
    expectClose(red.data, mean, UNITY, 'a word is the mean of its places');
    // Calls that go on at once share the network; what is seen in one of them stays its own.
    const calls: TextToImageOptions[] = [
      {},
      { prompt: ['a red cat', 'a red sofa'], latents: normals(4, 2 * 4 * 6 * 8) },
    ];
    const asked = calls.map((more) => () => run({ ...more, attentionMaps: { tokens: ['red'] } }));
    const apart = [await asked[0](), await asked[1]()];
    expect(await Promise.all(asked.map((ask) => ask()))).toEqual(apart);
    await pipe.dispose();
    expect(await heldBy(device)).toEqual(before);
  });

  it('of all tokens add up to one at every pixel, whatever steps are looked at', async () => {
    const pipe = await Pipeline.fromPretrained(source, { device, dtype: 'f32' });
    const tokens = Array.from({ length: 12 }, (_, i) => i);
    const maps: AttentionMap[][] = [];
    for (const every of [1, 2]) {
      const { attentionMaps } = await pipe({ ...options, attentionMaps: { tokens, every } });
      for (const image of [0, 1]) {
        const own = attentionMaps!.filter((map) => map.image === image);
        const sums = own[0].data.map((_, i) => own.reduce((sum, { data }) => sum + data[i], 0));
        expectClose(sums, new Float32Array(sums.length).fill(1), UNITY, `picture ${image}, every ${every}`);
      }
      maps.push(attentionMaps!);
    }
    expect(maps[0][3].data).not.toEqual(maps[1][3].data);

    const refused: [object, RegExp][] = [
      [{ tokens: ['dog'] }, /word of the prompt.*dog/],
      [{ tokens: [] }, /expected tokens/],
      [{ tokens: [12] }, /0 … 11/],
      [{ tokens: ['red'], every: 0 }, /every/],
    ];
    for (const [attentionMaps, message] of refused) {
      const error = await failure(pipe({ ...options, attentionMaps } as TextToImageOptions));
      expect(error).toBeInstanceOf(InvalidArgumentError);
      expect(error.message).toMatch(message);
    }
    await pipe.dispose();
  });
});
