/** Text encoders: recorded numbers, masks, states, what is refused, what is left behind. */
import { describe, expect, test } from 'vitest';
import { ConfigError, InvalidArgumentError, numel, type WeightError } from '../../../src/engine/index.ts';
import { decode } from '../../../src/loading/convert.ts';
import { endPositions } from '../../../src/models/textEncoders/clipText.ts';
import { readClipTextConfig } from '../../../src/models/textEncoders/clipTextConfig.ts';
import {
  CLIPTextModel,
  CLIPTextModelWithProjection,
  clipTextWeights,
  type ClipTextOptions,
} from '../../../src/models/textEncoders/clipTextModel.ts';
import { readT5Config } from '../../../src/models/textEncoders/t5Config.ts';
import { relativeBuckets } from '../../../src/models/textEncoders/t5Encoder.ts';
import { T5EncoderModel } from '../../../src/models/textEncoders/t5EncoderModel.ts';
import { runClipTextCase, runClipTextProjectionCase, runT5Case } from '../../../src/node/parity/textCase.ts';
import { expectClose, NETWORK_NORM, networkTolerance } from '../../support/close.ts';
import { adapters } from '../../support/gpu.ts';
import { changed, failure, fixture } from '../fixtures.ts';
import { openDevice } from '../../support/runGraph.ts';

const FILE = 'model.safetensors';

describe.each(adapters())('recorded text encoders on %s', async (adapter) => {
  const device = await openDevice(adapter);

  // Their outputs are normed, so of magnitude one and more.
  test.each([
    ['clip_text', runClipTextCase],
    ['clip_text_projection', runClipTextProjectionCase],
    ['clip_text_extra_mask', runClipTextProjectionCase],
    ['t5_encoder', runT5Case],
    ['t5_extra_relu_mask', runT5Case],
  ] as const)('%s', async (name, run) => {
    const worst = await run(device, fixture(name), 'f32');
    if (process.env.SHOW) console.log(adapter, name, worst);
    expect(worst).toBeLessThan(NETWORK_NORM);
  });
});

const device = await openDevice(adapters()[0]);

const tokens = (rows: number[][]) => ({ data: rows.flat(), shape: [rows.length, rows[0].length] });
const [short, long] = [
  [3, 9, 2, 7],
  [3, 9, 2, 7, 1, 1, 1],
];

describe('CLIP', () => {
  test('states by index, alone and beside the rest; nothing is left behind', async () => {
    const before = { ...device.held };
    const model = await CLIPTextModel.load(device, fixture('clip_text'));
    const input: ClipTextOptions = { inputIds: tokens([long]), hiddenStates: 'all', normedHiddenStates: [3, -2] };
    const out = await model.forward(input);
    expect(out.hiddenStates.map((s) => s.shape.join())).toEqual(Array(4).fill('1,7,32'));
    expect(out.textEmbeds).toBeUndefined();
    const all = await Promise.all(out.hiddenStates.map((s) => s.read()));
    // The last state behind the norm is what the model is asked for in the first place.
    expect(await out.normedHiddenStates[0].read()).toEqual(await out.lastHiddenState.read());
    const some = await model.hidden({ inputIds: tokens([long]), hiddenStates: [-2, 0, -2] });
    expect(await some.hiddenStates[0].read()).toEqual(all[2]);
    expect(await some.hiddenStates[1].read()).toEqual(all[0]);
    expect(await some.hiddenStates[2].read()).toEqual(all[2]);
    const half = model.plan({ hidden: [1], final: false });
    expect(half.flops).toBeLessThan(model.plan().flops / 2);
    model.dispose();
    await device.idle();
    expect(device.held).toEqual(before);
  });

  test('later tokens do not change earlier ones; a batch is its prompts', async () => {
    const model = await CLIPTextModel.load(device, fixture('clip_text'));
    const [one] = (await model.hidden({ inputIds: tokens([short]), hiddenStates: [-1] })).hiddenStates;
    const alone = await one.read();
    const [two] = (await model.hidden({ inputIds: tokens([long, long]), hiddenStates: [-1] })).hiddenStates;
    const both = await two.read();
    const tolerance = networkTolerance('f32', 16, 8);
    expectClose(both.subarray(0, alone.length), alone, tolerance, 'prefix');
    expectClose(both.subarray(long.length * 32, long.length * 32 + alone.length), alone, tolerance, 'second prompt');
    model.dispose();
  });

  test('the end token: the largest id in old files, the first of its kind in new ones, else the start', () => {
    const ids = [3, 9, 9, 2, 5, 2, 2, 9, 1, 1, 1, 1];
    expect(endPositions(ids, 3, 4, 2)).toEqual([1, 3, 0]);
    expect(endPositions(ids, 3, 4, 9)).toEqual([1, 3, 0]);
    expect(endPositions(ids, 3, 4, 3)).toEqual([0, 0, 0]);
    expect(endPositions(ids, 3, 4, 1)).toEqual([0, 0, 0]);
    expect(endPositions([7, 1, 9, 1], 1, 4, 1)).toEqual([1]);
  });

  test('a whole CLIP gives its text half', async () => {
    const whole = await changed(
      'clip_text',
      {
        config: (json) => {
          json['text_config'] = { ...json };
          for (const key of Object.keys(json)) if (key !== 'text_config') delete json[key];
          Object.assign(json, { architectures: ['CLIPModel'], logit_scale_init_value: 2.6592, vision_config: {} });
        },
        weights: (tensors) => {
          const one = tensors['text_model.final_layer_norm.bias'];
          for (const key of ['logit_scale', 'vision_model.a.weight', 'text_projection.weight']) tensors[key] = one;
        },
      },
      FILE,
    );
    const results: Float32Array[] = [];
    for (const source of [whole, fixture('clip_text')]) {
      const model = await CLIPTextModel.load(device, source);
      results.push(await (await model.forward({ inputIds: tokens([long]) })).poolerOutput.read());
      model.dispose();
    }
    expect(results[0]).toEqual(results[1]);
  });

  test('what does not fit', async () => {
    const model = await CLIPTextModel.load(device, fixture('clip_text'));
    const refused = async (options: ClipTextOptions, message: RegExp) => {
      const error = await failure(model.forward(options));
      expect(error).toBeInstanceOf(InvalidArgumentError);
      expect(error.message).toMatch(message);
    };
    await refused({ inputIds: tokens([[1, 60]]) }, /ids from 0 to 59, got 60 at position 1/);
    await refused({ inputIds: tokens([Array(17).fill(1)]) }, /at most 16 tokens, got 17; truncate/);
    await refused({ inputIds: { data: [1, 2, 3], shape: [1, 2] } }, /inputIds of shape \[B,T\]/);
    await refused({ inputIds: tokens([long]), attentionMask: tokens([short]) }, /attentionMask of shape \[1,7\]/);
    await refused({ inputIds: tokens([long]), hiddenStates: [4] }, /states from -4 to 3, got 4/);
    expect((await failure(model.hidden({ inputIds: tokens([long]) }))).message).toMatch(/got none/);
    model.dispose();
    const projected = failure(CLIPTextModelWithProjection.load(device, fixture('clip_text')));
    expect(await projected).toBeInstanceOf(ConfigError);
    const lacking = await changed(
      'clip_text',
      { weights: (tensors) => delete tensors['text_model.encoder.layers.2.mlp.fc1.bias'] },
      FILE,
    );
    const error = (await failure(CLIPTextModel.load(device, lacking))) as WeightError;
    expect(error.keys).toEqual(['text_model.encoder.layers.2.mlp.fc1.bias']);
  });

  test.each([
    ['hidden_act', { hidden_act: 'softplus' }],
    ['num_attention_heads', { hidden_size: 10, num_attention_heads: 4 }],
    ['rope_theta', { rope_theta: 1 }],
    ['pruned_heads', { pruned_heads: { 0: [1] } }],
  ])('%s of %o is refused', (field, config) => {
    expect(() => readClipTextConfig(config)).toThrow(expect.objectContaining({ field }) as ConfigError);
  });
});

describe('T5', () => {
  // Distances at which the next bucket begins, as the reference has them.
  test.each([
    [600, 32, 128, [1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 23, 32, 46, 64, 91]],
    [18, 8, 12, [1, 2, 5]],
    [77, 33, 20, [1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 15, 16, 18]],
    [200, 12, 97, [1, 2, 3, 10, 31]],
    [1, 32, 128, []],
  ])('buckets of %i tokens, %i up to %i', (T, buckets, maxDistance, steps) => {
    const rows = [...relativeBuckets(T, { buckets, maxDistance })];
    const [before, after] = [rows.slice(0, T).reverse(), rows.slice(T - 1)];
    const starts = (list: number[]) => list.flatMap((row, i) => (i > 0 && row !== list[i - 1] ? [i] : []));
    expect(starts(before)).toEqual(steps);
    expect(starts(after)).toEqual(steps);
    expect(before).toEqual(before.map((_, n) => steps.filter((start) => start <= n).length));
    expect(after.slice(1)).toEqual(before.slice(1).map((row) => row + Math.floor(buckets / 2)));
  });

  test('padding that is masked changes nothing', async () => {
    const model = await T5EncoderModel.load(device, fixture('t5_encoder'));
    const alone = await (await model.forward({ inputIds: tokens([short]) })).lastHiddenState.read();
    const attentionMask = tokens([
      [1, 1, 1, 1, 0, 0, 0],
      [1, 1, 1, 1, 1, 1, 1],
    ]);
    const padded = await model.forward({ inputIds: tokens([long, long]), attentionMask });
    const both = await padded.lastHiddenState.read();
    expectClose(both.subarray(0, alone.length), alone, networkTolerance('f32', 16, 8));
    // And padding that is not masked does.
    expect(both.subarray(7 * 24, 8 * 24)).not.toEqual(both.subarray(0, 24));
    model.dispose();
  });

  test.each(['t5_encoder', 't5_extra_relu_mask'])('in halves, %s keeps sums that no half can hold', async (name) => {
    const wide = async (gain: number) =>
      changed(
        name,
        {
          weights: (tensors) => {
            for (const [key, tensor] of Object.entries(tensors)) {
              if (!/\.(o|wo)\.weight$|shared|embed_tokens/.test(key)) continue;
              const values = decode(tensor.dtype, tensor.bytes).map((x) => gain * x);
              tensors[key] = { ...tensor, dtype: 'F32', bytes: new Uint8Array(values.buffer) };
            }
          },
        },
        FILE,
      );
    for (const gain of [1, 12000]) {
      const results: Float32Array[] = [];
      for (const dtype of ['f32', 'f16'] as const) {
        const model = await T5EncoderModel.load(device, await wide(gain), { dtype });
        results.push(await (await model.forward({ inputIds: tokens([long]) })).lastHiddenState.read());
        model.dispose();
      }
      expectClose(results[1], results[0], networkTolerance('f16', 16, 4), `gain ${gain}`);
    }
  });

  test('the table under its other name; a decoder is left alone', async () => {
    const renamed = await changed(
      't5_encoder',
      {
        config: (json) => (json['architectures'] = ['T5ForConditionalGeneration']),
        weights: (tensors) => {
          tensors['encoder.embed_tokens.weight'] = tensors['shared.weight'];
          tensors['decoder.block.0.layer.0.SelfAttention.q.weight'] = tensors['shared.weight'];
          delete tensors['shared.weight'];
        },
      },
      FILE,
    );
    const results: Float32Array[] = [];
    for (const source of [renamed, fixture('t5_encoder')]) {
      const model = await T5EncoderModel.load(device, source);
      results.push(await (await model.forward({ inputIds: tokens([long]) })).lastHiddenState.read());
      model.dispose();
    }
    expect(results[0]).toEqual(results[1]);
  });

  test.each([
    [{}, 'relu', false],
    [{ feed_forward_proj: 'gated-gelu' }, 'gelu_tanh', true],
    [{ feed_forward_proj: 'gated-silu' }, 'silu', true],
    [{ feed_forward_proj: 'gated-gelu', dense_act_fn: 'gelu', is_gated_act: true }, 'gelu', true],
  ])('%o', (config, act, gated) => {
    expect(readT5Config(config)).toMatchObject({ act, gated });
  });

  test.each([
    ['feed_forward_proj', { feed_forward_proj: 'gated-softplus' }],
    ['relative_attention_max_distance', { relative_attention_max_distance: 8 }],
    ['quantization_config', { quantization_config: {} }],
  ])('%s of %o is refused', (field, config) => {
    expect(() => readT5Config(config)).toThrow(expect.objectContaining({ field }) as ConfigError);
  });
});

test('a text model of one layer has the weights of its formula', () => {
  const config = readClipTextConfig({ num_hidden_layers: 1, hidden_size: 8, intermediate_size: 16, vocab_size: 5 });
  const sizes = [...clipTextWeights(config).values()].map(numel);
  const layer = 4 * (64 + 8) + (2 * 128 + 16 + 8) + 4 * 8;
  expect(sizes.reduce((a, b) => a + b)).toBe(5 * 8 + 77 * 8 + layer + 2 * 8);
});
