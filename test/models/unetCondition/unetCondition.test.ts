/**
 * Conditional U-Nets and ControlNets: options that the shared recordings leave out, what goes together, what is
 * refused.
 */
import { afterAll, describe, expect, test } from 'vitest';
import { ConfigError, InvalidArgumentError, ShapeError, WeightError } from '../../../src/engine/index.ts';
import { MemorySource } from '../../../src/loading/source.ts';
import { Lora } from '../../../src/models/lora/loraFile.ts';
import { ControlNet, type ControlOutput } from '../../../src/models/controlNet/controlNetModel.ts';
import { readControlNetConfig } from '../../../src/models/controlNet/controlNetConfig.ts';
import { readUNetConditionConfig } from '../../../src/models/unetCondition/unetConditionConfig.ts';
import {
  UNet2DCondition,
  unet2dConditionWeights,
  type ControlResiduals,
  type UNet2DConditionCall,
} from '../../../src/models/unetCondition/unetConditionModel.ts';
import { Recording } from '../../../src/node/parity/recording.ts';
import { runControlNetCase, runUNetConditionCase } from '../../../src/node/parity/unetConditionCase.ts';
import { expectClose, networkTolerance } from '../../support/close.ts';
import { adapters } from '../../support/gpu.ts';
import { normals } from '../../support/random.ts';
import { f32, file, type Tensor } from '../../loading/files.ts';
import { changed, failure, fixture } from '../fixtures.ts';
import { openDevice } from '../../support/runGraph.ts';

/**
 * Results of the trunk that are stored one after the other, and by how much the largest recorded output exceeds one.
 */
const LAYERS = 256;
const [adapter] = adapters();
const device = await openDevice(adapter);

const tensor = (shape: readonly number[], seed = 1) => ({
  shape,
  data: normals(
    seed,
    shape.reduce((a, b) => a * b, 1),
  ),
});

describe(`recorded on ${adapter}`, () => {
  // Largest absolute value of each recorded output.
  test.each([
    ['odd_sizes', 2.1],
    ['attn_blocks', 1.9],
    ['simple_group_norm', 1.9],
    ['simple_skip_act', 2.4],
    ['depths_nested', 1.8],
    ['class_projection_concat', 2.2],
    ['class_simple', 2.7],
    ['fourier_cond', 1.6],
    ['add_text', 1.5],
    ['kandinsky21', 2.6],
    ['kandinsky22_hint', 1],
    ['adapters', 2.4],
    ['pixel_mask', 1.5],
    ['k_upscaler', 4.7],
    ['gligen', 3],
    ['gligen_pictures', 1.9],
  ])('U-Net %s', async (name, scale) => {
    const error = await runUNetConditionCase(device, fixture(`unet_cond_extra_${name}`), 'f32');
    expect(error).toBeLessThan(networkTolerance('f32', LAYERS, scale));
  });

  test.each([
    ['sdxl', 8],
    ['guess', 7.9],
    ['pool', 3.3],
  ])('ControlNet %s', async (name, scale) => {
    const error = await runControlNetCase(device, fixture(`controlnet_extra_${name}`), 'f32');
    expect(error).toBeLessThan(networkTolerance('f32', LAYERS, scale));
  });
});

describe('objects in their places (GLIGEN)', async () => {
  const io = await Recording.open(fixture('unet_cond_extra_gligen'));
  afterAll(() => io.close());
  const gligen = {
    boxes: await io.tensor('in.gligen.boxes'),
    masks: await io.tensor('in.gligen.masks'),
    positiveEmbeddings: await io.tensor('in.gligen.positive_embeddings'),
  };
  const call: UNet2DConditionCall = {
    sample: await io.tensor('in.sample'),
    timestep: [...(await io.numbers('in.timestep'))],
    encoderHiddenStates: await io.tensor('in.encoder_hidden_states'),
  };

  test('without objects the network is the plain one; with them, again the placed one', async () => {
    const before = { ...device.held };
    const model = await UNet2DCondition.load(device, fixture('unet_cond_extra_gligen'));
    const plain = await (await model.forward(call)).read();
    const { data: want } = await io.tensor('without');
    expectClose(plain, want, networkTolerance('f32', LAYERS, 3), 'without objects');
    const placed = await (await model.forward({ ...call, crossAttentionKwargs: { gligen } })).read();
    expect(placed).not.toEqual(plain);
    expect(await (await model.forward(call)).read()).toEqual(plain);
    // What a mask hides does not matter.
    const [B, N] = gligen.masks.shape;
    const hidden = Array.from({ length: B * N }, (_, i) => gligen.masks.data[i] === 0);
    const moved = Float32Array.from(gligen.boxes.data, (v, i) => (hidden[Math.floor(i / 4)] ? 1 - v : v));
    const boxes = { ...gligen.boxes, data: moved };
    const same = await model.forward({ ...call, crossAttentionKwargs: { gligen: { ...gligen, boxes } } });
    expect(await same.read()).toEqual(placed);
    expect(model.plan({ batch: 2, height: 8, width: 6, tokens: 5 }).dispatches).toBeGreaterThan(0);

    const refused: [Partial<typeof gligen>, RegExp][] = [
      [{ positiveEmbeddings: undefined }, /gligen\.positiveEmbeddings \[2,3,12\] on the host, got none/],
      [{ masks: { ...gligen.masks, shape: [3, 2] } }, /gligen\.masks \[2,3\]/],
      [{ boxes: { data: gligen.boxes.data, shape: [2, 4, 3] } }, /gligen\.boxes \[2,N,4\]/],
    ];
    for (const [change, message] of refused) {
      const error = await failure(
        model.forward({ ...call, crossAttentionKwargs: { gligen: { ...gligen, ...change } } }),
      );
      expect(error).toBeInstanceOf(InvalidArgumentError);
      expect(error.message).toMatch(message);
    }
    // An adapter of a layer behind a gate, which the gate would have to multiply, and of one that is not.
    const at = 'down_blocks.0.attentions.0.transformer_blocks.0.fuser.attn';
    const lora = (layer: string) => {
      const halves = { lora_A: [1, 8], lora_B: [8, 1] };
      const tensors = Object.entries(halves).map(([half, shape]) => [`unet.${at}.${layer}.${half}.weight`, f32(shape)]);
      return Lora.open(new MemorySource(file(Object.fromEntries(tensors) as Record<string, Tensor>), 'lora'));
    };
    const gated = await failure(model.setLoras([{ lora: await lora('to_out.0') }]));
    expect(gated).toBeInstanceOf(WeightError);
    expect(gated.message).toMatch(/no such weight/);
    await model.setLoras([{ lora: await lora('to_q') }]);
    const adapted = await model.forward({ ...call, crossAttentionKwargs: { gligen } });
    expect(await adapted.read()).not.toEqual(placed);
    await model.setLoras([]);
    expect(await (await model.forward({ ...call, crossAttentionKwargs: { gligen } })).read()).toEqual(placed);
    model.dispose();
    await device.idle();
    expect(device.held).toEqual(before);
  });

  test('a network that places none refuses them, and so do configs that no network has', async () => {
    const model = await UNet2DCondition.load(device, fixture('unet_cond_extra_text_on_the_way_up'));
    const encoderHiddenStates = tensor([1, 5, 8]);
    const other = { sample: tensor([1, 4, 6, 8]), timestep: 3, encoderHiddenStates };
    expect((await failure(model.forward({ ...other, crossAttentionKwargs: { gligen } }))).message).toMatch(
      /no crossAttentionKwargs\.gligen, this config/,
    );
    model.dispose();
    const config = { _class_name: 'UNet2DConditionModel', attention_type: 'gated' };
    expect(() => readUNetConditionConfig({ ...config, dual_cross_attention: true })).toThrow(ConfigError);
    expect(() => readUNetConditionConfig({ ...config, cross_attention_dim: [8, 8, 16, 16] })).toThrow(/one width/);
    expect(() => readUNetConditionConfig({ ...config, attention_type: 'other' })).toThrow(/attention_type/);
  });
});

describe('U-Net and ControlNet together', async () => {
  const [unet, control] = [fixture('unet_cond_sd15'), fixture('controlnet_sd15')];
  const seen = await Recording.open(control);
  const want = await Recording.open(fixture('unet_cond_sd15_residuals'));
  afterAll(() => Promise.all([seen.close(), want.close()]));
  const shared = {
    sample: await seen.tensor('in.sample'),
    timestep: (await seen.numbers('in.timestep'))[0],
    encoderHiddenStates: await seen.tensor('in.encoder_hidden_states'),
  };
  const controlnetCond = await seen.tensor('in.controlnet_cond');
  const conditioningScale = (await seen.numbers('in.conditioning_scale'))[0];

  test('residuals go from one to the other without leaving the GPU', async () => {
    const [net, model] = [await ControlNet.load(device, control), await UNet2DCondition.load(device, unet)];
    const controls = await net.forward({ ...shared, controlnetCond, conditioningScale });
    const out = await model.forward({ ...shared, controls });
    const error = await want.worst({ out: { shape: out.shape, data: await out.read() } });
    expect(error).toBeLessThan(networkTolerance('f32', LAYERS, 2));
    net.dispose();
    model.dispose();
  });

  test('several act as the sum of what each says, by its weight', async () => {
    const nets = [await ControlNet.load(device, control), await ControlNet.load(device, control)];
    const model = await UNet2DCondition.load(device, unet);
    const other = { ...controlnetCond, data: controlnetCond.data.map((v) => -v) };
    const both = [
      await nets[0].forward({ ...shared, controlnetCond, conditioningScale: 0.25 }),
      await nets[1].forward({ ...shared, controlnetCond: other, conditioningScale: 0.75, guessMode: true }),
    ];
    const together = await (await model.forward({ ...shared, controls: both })).read();
    const added = async (a: ControlOutput, b: ControlOutput) => {
      const [x, y] = [await a.read(), await b.read()];
      return { shape: a.shape, data: x.map((v, i) => v + y[i]) };
    };
    const sum: ControlResiduals = {
      down: await Promise.all(both[0].down.map((t, i) => added(t, both[1].down[i]))),
      mid: await added(both[0].mid, both[1].mid),
    };
    const once = await (await model.forward({ ...shared, controls: sum })).read();
    expectClose(together, once, networkTolerance('f32', LAYERS, 2), 'two against their sum');
    [...nets, model].forEach((m) => m.dispose());
  });

  test('what does not fit is refused, and the model stays usable', async () => {
    const [net, model] = [await ControlNet.load(device, control), await UNet2DCondition.load(device, unet)];
    const small = { ...shared, controlnetCond: tensor([2, 3, 32, 64]) };
    expect((await failure(net.forward(small))).message).toMatch(/64×64, got 32×64/);
    const controls = await net.forward({ ...shared, controlnetCond });
    const refused: [Partial<UNet2DConditionCall>, new (...args: never[]) => Error, RegExp][] = [
      [{ controls: { ...controls, down: controls.down.slice(1) } }, InvalidArgumentError, /4 residuals.*got 3/],
      [{ controls: { ...controls, mid: tensor([2, 24, 8, 4]) } }, ShapeError, /operand/],
      [{ sample: tensor([2, 5, 8, 8]) }, InvalidArgumentError, /sample of shape \[B,4,H,W\]/],
      [{ encoderHiddenStates: undefined }, InvalidArgumentError, /encoderHiddenStates/],
      [{ encoderHiddenStates: tensor([2, 7, 23]) }, InvalidArgumentError, /\[2,S,24\]/],
      [{ encoderHiddenStates: tensor([1, 7, 24]) }, InvalidArgumentError, /\[2,S,24\]/],
      [{ timestep: [1, 2, 3] }, InvalidArgumentError, /one timestep or 2/],
      [{ classLabels: [1, 2] }, InvalidArgumentError, /no classLabels/],
      [{ timestepCond: tensor([2, 4]) }, InvalidArgumentError, /no timestepCond/],
      [{ attentionMask: tensor([2, 5]) }, InvalidArgumentError, /64 keys, got 5/],
      [{ encoderAttentionMask: tensor([2, 6]) }, InvalidArgumentError, /\[2,7\]/],
    ];
    for (const [call, type, message] of refused) {
      const error = await failure(model.forward({ ...shared, ...call }));
      expect(error).toBeInstanceOf(type);
      expect(error.message).toMatch(message);
    }
    const out = await model.forward(shared);
    expect(out.shape).toEqual([2, 4, 8, 8]);
    net.dispose();
    model.dispose();
  });
});

test('a batch is its items one by one, at an odd size, and everything goes again', async () => {
  const before = { ...device.held };
  const model = await UNet2DCondition.load(device, fixture('unet_cond_sd21'));
  const sample = tensor([2, 4, 7, 5]);
  const context = tensor([2, 9, 20], 2);
  const item = (t: ReturnType<typeof tensor>, b: number) => {
    const size = t.data.length / 2;
    return { shape: [1, ...t.shape.slice(1)], data: t.data.slice(b * size, (b + 1) * size) };
  };
  const both = await (await model.forward({ sample, timestep: [3, 900], encoderHiddenStates: context })).read();
  const each: number[] = [];
  for (const b of [0, 1]) {
    const call = { sample: item(sample, b), timestep: [3, 900][b], encoderHiddenStates: item(context, b) };
    each.push(...(await (await model.forward(call)).read()));
  }
  expectClose(both, each, networkTolerance('f32', LAYERS, 2), 'batch against items');
  expect(model.plan({ batch: 1, height: 7, width: 5 }).dispatches).toBeGreaterThan(100);
  model.dispose();
  await device.idle();
  expect(device.held).toEqual(before);
});

test('levels that cannot give back an odd size say so', async () => {
  const model = await UNet2DCondition.load(device, fixture('unet_cond_unclip'));
  const call = {
    sample: tensor([1, 3, 7, 8]),
    timestep: 1,
    encoderHiddenStates: tensor([1, 6, 24]),
    classLabels: [...normals(1, 32)],
  };
  const error = await failure(model.forward(call));
  expect(error).toBeInstanceOf(InvalidArgumentError);
  expect(error.message).toMatch(/halve and double/);
  model.dispose();
});

describe('configs', () => {
  const nested = [[1, 2], 1, 1, 1];
  test.each([
    [{ attention_type: 'sparse' }, 'attention_type'],
    [{ num_attention_heads: 8 }, 'num_attention_heads'],
    [{ down_block_types: ['SkipDownBlock2D', 'DownBlock2D', 'DownBlock2D', 'DownBlock2D'] }, 'down_block_types'],
    [{ up_block_types: ['UpBlock2D'] }, 'up_block_types'],
    [{ mid_block_type: 'UNetMidBlock3D' }, 'mid_block_type'],
    [{ transformer_layers_per_block: nested }, 'reverse_transformer_layers_per_block'],
    [{ transformer_layers_per_block: [[1], 1, 1, 1] }, 'transformer_layers_per_block'],
    [{ attention_head_dim: [8, 8] }, 'attention_head_dim'],
    [{ norm_num_groups: null }, 'norm_num_groups'],
    [{ norm_num_groups: 24 }, 'norm_num_groups'],
    [
      { down_block_types: Array(4).fill('KDownBlock2D'), norm_num_groups: null, block_out_channels: [112, 64, 64, 64] },
      'block_out_channels',
    ],
    [{ addition_embed_type: 'text', addition_embed_type_num_heads: 7 }, 'addition_embed_type_num_heads'],
    [{ addition_embed_type: 'image_hint', encoder_hid_dim: 4 }, 'in_channels'],
    [{ class_embed_type: 'projection' }, 'projection_class_embeddings_input_dim'],
    [{ class_embeddings_concat: true }, 'class_embeddings_concat'],
    [{ addition_embed_type: 'text_time', projection_class_embeddings_input_dim: 9 }, 'addition_time_embed_dim'],
    [{ addition_embed_type: 'image' }, 'encoder_hid_dim'],
    [{ encoder_hid_dim_type: 'ip_image_proj', encoder_hid_dim: 4 }, 'encoder_hid_dim_type'],
    [{ resnet_time_scale_shift: 'spatial' }, 'resnet_time_scale_shift'],
    [{ time_embedding_type: 'learned' }, 'time_embedding_type'],
    [{ use_magic: true }, 'use_magic'],
  ])('refuses %j', (fields, field) => {
    const error = (() => {
      try {
        readUNetConditionConfig(fields);
      } catch (e) {
        return e as ConfigError;
      }
      throw new Error('expected a failure');
    })();
    expect(error).toBeInstanceOf(ConfigError);
    expect(error.field).toBe(field);
  });

  test('refuse levels that want contexts of other widths than there are', () => {
    const config = readUNetConditionConfig({ cross_attention_dim: [1280, 640, 1280, 1280] });
    const field = 'cross_attention_dim';
    expect(() => unet2dConditionWeights(config)).toThrow(expect.objectContaining({ field }) as ConfigError);
  });

  test('depths, heads and defaults', () => {
    const config = readUNetConditionConfig({
      transformer_layers_per_block: nested,
      reverse_transformer_layers_per_block: [1, 1, 1, [3, 2, 1]],
      only_cross_attention: true,
    });
    expect(config.transformerDepths).toEqual([
      [1, 2],
      [1, 1],
      [1, 1],
      [1, 1],
    ]);
    expect(config.upTransformerDepths).toEqual([
      [1, 1, 1],
      [1, 1, 1],
      [1, 1, 1],
      [3, 2, 1],
    ]);
    expect(config.midOnlyCrossAttention).toBe(true);
    expect(config.timeEmbeddingDim).toBe(1280);
    expect(readUNetConditionConfig({ time_embedding_type: 'fourier' }).timeEmbeddingDim).toBe(640);
  });

  test('of ControlNets', async () => {
    for (const [fields, field] of [
      [{ mid_block_type: null }, 'mid_block_type'],
      [{ addition_embed_type: 'image', encoder_hid_dim: 4 }, 'addition_embed_type'],
      [{ conv_in_kernel: 5 }, 'conv_in_kernel'],
    ] as const) {
      expect(() => readControlNetConfig(fields)).toThrow(field);
    }
    // Weights of a projection that the network holds and never reads are no surplus.
    const idle = await changed('controlnet_sd15', {
      config: (c) => (c.encoder_hid_dim = 5),
      weights: (t) => {
        t['encoder_hid_proj.weight'] = { dtype: 'F32', shape: [24, 5], bytes: new Uint8Array(4 * 24 * 5) };
        t['encoder_hid_proj.bias'] = { dtype: 'F32', shape: [24], bytes: new Uint8Array(4 * 24) };
      },
    });
    (await ControlNet.load(device, idle)).dispose();
  });
});
