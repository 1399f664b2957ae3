/** Transformers: configs, positions, packing, guidance, what is refused, what is left behind. */
import { describe, expect, test } from 'vitest';
import { ConfigError, FormatError, InvalidArgumentError, WeightError } from '../../../src/engine/index.ts';
import { Checkpoint, MemorySource } from '../../../src/loading/index.ts';
import { readDiTConfig } from '../../../src/models/transformers/ditConfig.ts';
import { ditKeys, originalDiTConfig } from '../../../src/models/transformers/ditKeys.ts';
import { DiT } from '../../../src/models/transformers/ditModel.ts';
import { readFluxConfig } from '../../../src/models/transformers/fluxConfig.ts';
import { FluxTransformer, type FluxCall } from '../../../src/models/transformers/fluxModel.ts';
import { fluxImageIds, packLatents, unpackLatents } from '../../../src/models/transformers/packing.ts';
import { gridPositions, paddedRows, rotaryTable } from '../../../src/models/transformers/positions.ts';
import { readPriorConfig } from '../../../src/models/transformers/priorConfig.ts';
import { PriorTransformer, type PriorCall } from '../../../src/models/transformers/priorModel.ts';
import { readSD3Config } from '../../../src/models/transformers/sd3Config.ts';
import { SD3Transformer } from '../../../src/models/transformers/sd3Model.ts';
import { angleTolerance, expectClose, networkTolerance, ROUNDOFF } from '../../support/close.ts';
import { adapters } from '../../support/gpu.ts';
import { normals } from '../../support/random.ts';
import { openDevice } from '../../support/runGraph.ts';
import { changed, failure, fixture } from '../fixtures.ts';

const field = (read: () => unknown): string => {
  try {
    read();
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    return (error as ConfigError).field;
  }
  throw new Error('expected a ConfigError');
};

describe('configs', () => {
  test('empty ones are the defaults of the classes', () => {
    expect(readDiTConfig({})).toMatchObject({ layers: 28, heads: 16, headDim: 72, outChannels: 4, classRows: 1001 });
    expect(readDiTConfig({ _class_name: 'DiT' })).toMatchObject({ layers: 28, outChannels: 8, freqShift: 0 });
    expect(readSD3Config({})).toMatchObject({ layers: 18, posEmbedMaxSize: 96, dualAttentionLayers: [] });
    expect(readFluxConfig({})).toMatchObject({ layers: 19, singleLayers: 38, outChannels: 64, guidanceEmbeds: false });
    expect(readPriorConfig({})).toMatchObject({ layers: 20, timeEmbedDim: 2048, clipEmbedDim: 768, prdToken: true });
  });

  const patched = { _class_name: 'Transformer2DModel', norm_type: 'ada_norm_zero', in_channels: 4, sample_size: 64 };
  const whole = { ...patched, patch_size: 2, num_embeds_ada_norm: 10 };

  test('Transformer2DModel has defaults of its own', () => {
    const config = { headDim: 88, activation: 'geglu', attentionBias: false, normAffine: true, interpolationScale: 1 };
    expect(readDiTConfig(whole)).toMatchObject(config);
    expect(readDiTConfig({ ...whole, sample_size: 200 }).interpolationScale).toBe(3);
  });

  test.each([
    ['norm_type', readDiTConfig, { ...whole, norm_type: 'ada_norm_single' }],
    ['norm_type', readDiTConfig, { norm_type: 'layer_norm' }],
    ['patch_size', readDiTConfig, { ...patched, num_embeds_ada_norm: 10 }],
    ['num_embeds_ada_norm', readDiTConfig, { ...patched, patch_size: 2 }],
    ['caption_channels', readDiTConfig, { ...whole, caption_channels: 8 }],
    ['cross_attention_dim', readDiTConfig, { ...whole, cross_attention_dim: 8 }],
    ['interpolation_scale', readDiTConfig, { interpolation_scale: 2 }],
    ['activation_fn', readDiTConfig, { activation_fn: 'relu' }],
    ['attention_head_dim', readDiTConfig, { attention_head_dim: 3, num_attention_heads: 2 }],
    ['num_heads', readDiTConfig, { _class_name: 'DiT', num_heads: 7 }],
    ['num_attention_heads', readDiTConfig, { _class_name: 'DiT', num_attention_heads: 7 }],
    ['caption_projection_dim', readSD3Config, { caption_projection_dim: 64 }],
    ['qk_norm', readSD3Config, { qk_norm: 'layer_norm_across_heads' }],
    ['axes_dims_rope', readFluxConfig, { axes_dims_rope: [16, 56] }],
    ['axes_dims_rope', readFluxConfig, { axes_dims_rope: [3, 61, 64] }],
    ['theta', readFluxConfig, { theta: 1000 }],
    ['time_embed_act_fn', readPriorConfig, { time_embed_act_fn: 'tanhshrink' }],
    ['norm_in_type', readPriorConfig, { norm_in_type: 'group' }],
    ['added_emb_type', readPriorConfig, { added_emb_type: 'ptd' }],
  ] as const)('%s is refused', (name, read, config) => {
    expect(field(() => read(config))).toBe(name);
  });
});

describe('positions', () => {
  test('a grid of the trained size counts patches, another is stretched over it', () => {
    const trained = gridPositions(8, { rows: 2, columns: 3, base: 2, scale: 1 });
    expect(trained).toHaveLength(6 * 8);
    // Row 1, column 2 of three on a base of two: x = 2 / (3/2), y = 1; frequencies 1 and 1/100.
    const [x, y] = [Math.fround(2 / 1.5), 1];
    const want = [x, x / 100].map(Math.sin).concat([x, x / 100].map(Math.cos));
    want.push(...[y, y / 100].map(Math.sin), ...[y, y / 100].map(Math.cos));
    expectClose(trained.subarray(5 * 8), want, angleTolerance(x), 'positions');
    expect(() => gridPositions(6, { rows: 1, columns: 1, base: 1 })).toThrow(InvalidArgumentError);
  });

  test('rotary angles lie in pairs, rows padded to four', () => {
    const table = rotaryTable([0, 3, 5, 0], [2, 4]);
    expect(table).toHaveLength(2 * 2 * 8);
    const cos = [1, 1, Math.cos(3), Math.cos(3), Math.cos(3 / 100), Math.cos(3 / 100), 0, 0];
    expectClose(table.subarray(0, 8), cos, ROUNDOFF.f32, 'cosines');
    expect(table[16]).toBe(Math.fround(Math.cos(5)));
    expect(table[24]).toBe(Math.fround(Math.sin(5)));
  });

  test('padding of rows', () => {
    expect([...paddedRows([1, 2, 3, 4, 5, 6], 3)]).toEqual([1, 2, 3, 0, 4, 5, 6, 0]);
    expect([...paddedRows([1, 2, 3, 4], 4)]).toEqual([1, 2, 3, 4]);
  });
});

test('packed latents hold squares of two by two, channels first, and come back', () => {
  const shape = [2, 3, 4, 6];
  const data = Float32Array.from({ length: 2 * 3 * 4 * 6 }, (_, i) => i);
  const packed = packLatents({ data, shape });
  expect(packed.shape).toEqual([2, 6, 12]);
  expect([...packed.data.subarray(12, 16)]).toEqual([2, 3, 8, 9]);
  expect(unpackLatents(packed, { height: 4, width: 6 })).toEqual({ data, shape });
  expect([...fluxImageIds(2, 2)]).toEqual([0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 1, 1]);
  expect(() => packLatents({ data, shape: [2, 3, 6, 3] })).toThrow(InvalidArgumentError);
  expect(() => unpackLatents(packed, { height: 6, width: 6 })).toThrow(/\[B,9,4·C\]/);
});

describe('the authors’ layout', () => {
  test('its config shows in its sizes, but for the heads', async () => {
    const folder = fixture('original').folder('a-dit-forward');
    const { config } = (await folder.json('config.json')) as { config: { model: Record<string, unknown> } };
    const checkpoint = await Checkpoint.open(await folder.open('weights.safetensors'));
    expect(originalDiTConfig(checkpoint.view(ditKeys), 4)).toEqual({ _class_name: 'DiT', ...config.model });
    expect(() => readDiTConfig(originalDiTConfig(checkpoint)!)).toThrow(ConfigError);
    await checkpoint.close();
  });

  test('other layouts are none of it, halves of it an error', async () => {
    const other = await Checkpoint.open(await fixture('dit_xl2').open('diffusion_pytorch_model.safetensors'));
    expect(originalDiTConfig(other)).toBeUndefined();
    await other.close();
    const header = JSON.stringify({
      'x_embedder.proj.weight': { dtype: 'F32', shape: [1, 1, 1, 1], data_offsets: [0, 4] },
      'y_embedder.embedding_table.weight': { dtype: 'F32', shape: [1, 1], data_offsets: [4, 8] },
    });
    const bytes = new Uint8Array(8 + header.length + 8);
    new DataView(bytes.buffer).setBigUint64(0, BigInt(header.length), true);
    bytes.set(new TextEncoder().encode(header), 8);
    const half = await Checkpoint.open(new MemorySource(bytes, 'half'));
    expect(() => originalDiTConfig(half)).toThrow(FormatError);
  });
});

const [adapter] = adapters();
const tensor = (seed: number, shape: readonly number[]) => ({
  shape,
  data: normals(
    seed,
    shape.reduce((a, b) => a * b, 1),
  ),
});

describe(`calls on ${adapter}`, async () => {
  const device = await openDevice(adapter);

  test('a DiT: guidance of all channels is the sum it stands for; nothing is left behind', async () => {
    const before = { ...device.held };
    const model = await DiT.load(device, fixture('dit_xl2'));
    expect(model.nullClass).toBe(10);
    const sample = tensor(1, [1, 4, 8, 8]);
    const call = { sample, timestep: 400, classLabels: [3] };
    const [c, u] = [
      await (await model.forward(call)).read(),
      await (await model.forward({ ...call, classLabels: [10] })).read(),
    ];
    const guided = await model.forwardGuided({ ...call, guidanceScale: 4, guidedChannels: 4 });
    expect(guided.shape).toEqual([2, 8, 8, 8]);
    const both = await guided.read();
    const [eps, rest] = [4 * 64, 8 * 64];
    const want = c.map((v, i) => (i < eps ? u[i] + 4 * (v - u[i]) : v));
    expectClose(both.subarray(0, rest), want, networkTolerance('f32', 16, 20), 'first half');
    expectClose(both.subarray(rest, rest + eps), want.subarray(0, eps), networkTolerance('f32', 16, 20), 'second half');
    expectClose(both.subarray(rest + eps), u.subarray(eps), networkTolerance('f32', 16, 20), 'variance without class');
    model.dispose();
    await device.idle();
    expect(device.held).toEqual(before);
  });

  test('blocks that have the same embedding share it', async () => {
    const rest = 'norm1.emb.class_embedder.embedding_table.weight';
    const sources = [false, true].map((tell) =>
      changed('dit_xl2', {
        weights: (w) => {
          for (const key of Object.keys(w).filter((k) => k.startsWith('transformer_blocks.0.norm1.emb.'))) {
            const later = key.replace('.0.', '.1.');
            w[later] = { ...w[later], bytes: Uint8Array.from(w[key].bytes) };
          }
          // One byte of a class that nobody asks for, so that the two embeddings are not the same.
          if (tell) w[`transformer_blocks.1.${rest}`].bytes[0] ^= 1;
        },
      }),
    );
    const call = { sample: tensor(1, [1, 4, 8, 8]), timestep: 77, classLabels: [5] };
    const results: Float32Array[] = [];
    const bytes: number[] = [];
    const dispatches: number[] = [];
    for (const source of sources) {
      const model = await DiT.load(device, await source);
      results.push(await (await model.forward(call)).read());
      bytes.push(model.weightBytes);
      dispatches.push(model.plan({ batch: 1, height: 8, width: 8 }).dispatches);
      model.dispose();
    }
    // Two embeddings are one product over rows that lie side by side, and sum in another order than one does.
    expectClose(results[0], results[1], networkTolerance('f32', 16, 4));
    expect(bytes[0]).toBeLessThan(bytes[1]);
    expect(dispatches[0]).toBeLessThan(dispatches[1]);
  });

  test('a DiT refuses labels, channels and sizes that it does not know', async () => {
    const model = await DiT.load(device, fixture('dit_xl2'));
    const call = { sample: tensor(1, [2, 4, 8, 8]), timestep: 1, classLabels: [1, 2] };
    expect((await failure(model.forward({ ...call, classLabels: [1] }))).message).toMatch(/expected 2 class labels/);
    expect((await failure(model.forward({ ...call, classLabels: [1, 11] }))).message).toMatch(/from 0 to 10, got 11/);
    expect((await failure(model.forward({ ...call, timestep: [1, 2, 3] }))).message).toMatch(/one timestep or 2/);
    expect((await failure(model.forward({ ...call, sample: tensor(1, [2, 3, 8, 8]) }))).message).toMatch(/\[B,4,H,W\]/);
    expect((await failure(model.forward({ ...call, sample: tensor(1, [2, 4, 1, 8]) }))).message).toMatch(/2×2/);
    model.dispose();
    expect(await failure(model.forward(call))).toBeInstanceOf(InvalidArgumentError);
  });

  test('keys of another network are named', async () => {
    const source = await changed('dit_extra_swiglu', { weights: (w) => delete w['proj_out_2.bias'] });
    const error = await failure(DiT.load(device, source));
    expect(error).toBeInstanceOf(WeightError);
    expect(error.message).toMatch(/1 missing: proj_out_2\.bias/);
  });

  test('Flux wants guidance exactly where it was distilled, and positions', async () => {
    const model = await FluxTransformer.load(device, fixture('flux_extra_schnell'));
    const call: FluxCall = {
      hiddenStates: tensor(1, [1, 6, 6]),
      encoderHiddenStates: tensor(2, [1, 3, 7]),
      pooledProjections: tensor(3, [1, 5]),
      timestep: 0.5,
      grid: [2, 3],
    };
    expect((await failure(model.forward({ ...call, guidance: 3 }))).message).toMatch(/expected no guidance/);
    expect((await failure(model.forward({ ...call, grid: undefined }))).message).toMatch(/imageIds \[6,3\]/);
    expect((await failure(model.forward({ ...call, textIds: [0] }))).message).toMatch(/textIds \[3,3\]/);
    const byGrid = await (await model.forward(call)).read();
    const byIds = await (await model.forward({ ...call, imageIds: fluxImageIds(2, 3), grid: undefined })).read();
    expect(byIds).toEqual(byGrid);
    model.dispose();
  });

  test('SD3 has no positions beyond its table', async () => {
    const model = await SD3Transformer.load(device, fixture('sd3_extra_dual'));
    const shape = { batch: 1, width: 4, textTokens: 2 };
    expect(() => model.plan({ ...shape, height: 20 })).toThrow(/2 … 18/);
    expect(model.plan({ ...shape, height: 18 }).dispatches).toBeGreaterThan(20);
    model.dispose();
  });

  test('a prior wants its text, its mask and its length', async () => {
    const model = await PriorTransformer.load(device, fixture('prior_extra_mask'));
    const call: PriorCall = {
      hiddenStates: tensor(1, [1, 9]),
      projEmbedding: tensor(2, [1, 9]),
      encoderHiddenStates: tensor(3, [1, 5, 9]),
      timestep: 3,
    };
    expect((await model.forward(call)).shape).toEqual([1, 4]);
    const without = { ...call, encoderHiddenStates: undefined };
    expect((await failure(model.forward(without))).message).toMatch(/expected encoderHiddenStates/);
    const short = { ...call, encoderHiddenStates: tensor(3, [1, 4, 9]) };
    expect((await failure(model.forward(short))).message).toMatch(/expected 9 tokens/);
    expect((await failure(model.forward({ ...call, attentionMask: [1, 0] }))).message).toMatch(/\[1,5\]/);
    model.dispose();
  });
});
