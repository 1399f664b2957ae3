/** Adapters of low rank: recorded by merging W + weight·(α/r)·B·A with PyTorch and running diffusers' U-Net. */
import { afterAll, describe, expect, test } from 'vitest';
import { UnsupportedError, WeightError } from '../../../src/engine/index.ts';
import { Checkpoint, MemorySource } from '../../../src/loading/index.ts';
import { ldmNames } from '../../../src/models/lora/ldmNames.ts';
import { Lora } from '../../../src/models/lora/loraFile.ts';
import { loraChange, type LoraUse } from '../../../src/models/lora/mergeLoras.ts';
import { CLIPTextModel } from '../../../src/models/textEncoders/clipTextModel.ts';
import { UNet2DCondition } from '../../../src/models/unetCondition/unetConditionModel.ts';
import { Recording } from '../../../src/node/parity/recording.ts';
import { f32, file } from '../../loading/files.ts';
import { expectClose, networkTolerance } from '../../support/close.ts';
import { adapters } from '../../support/gpu.ts';
import { normals } from '../../support/random.ts';
import { failure, fixture } from '../fixtures.ts';
import { openDevice } from '../../support/runGraph.ts';

const BASE = 'unet_cond_eps_f16';
/** Results of the trunk that are stored one after the other. */
const LAYERS = 64;
const TOLERANCE = networkTolerance('f32', LAYERS, 3);
const [adapter] = adapters();
const device = await openDevice(adapter);

const opened: { close?(): Promise<void> }[] = [];
afterAll(() => Promise.all(opened.map((source) => source.close?.())));
const open = async (name: string) => {
  const source = await fixture('lora').open(`${name}.safetensors`);
  opened.push(source);
  return source;
};
const lora = async (name: string) => Lora.open(await open(name));
const made = (tensors: Parameters<typeof file>[0], metadata?: Record<string, string>) =>
  Lora.open(new MemorySource(file(tensors, metadata) as Uint8Array<ArrayBuffer>, 'made'));

describe(`merged on ${adapter}`, async () => {
  const io = await Recording.open(fixture(BASE));
  const want = await Checkpoint.open(await open('io'));
  opened.push(io);
  const call = {
    sample: await io.tensor('in.sample'),
    timestep: (await io.numbers('in.timestep'))[0],
    encoderHiddenStates: await io.tensor('in.encoder_hidden_states'),
  };
  const [peft, kohya] = [await lora('peft'), await lora('kohya')];

  test('both layouts, with weights, together, and taken off to the bit', async () => {
    const model = await UNet2DCondition.load(device, fixture(BASE));
    const run = async (uses: readonly LoraUse[]) => {
      await model.setLoras(uses);
      return (await model.forward(call)).read();
    };
    const before = await run([]);
    const bytes = model.weightBytes;
    for (const [name, uses] of [
      ['peft', [{ lora: peft }]],
      ['kohya', [{ lora: kohya, weight: 0.7 }]],
      [
        'both',
        [
          { lora: peft, weight: -0.5 },
          { lora: kohya, weight: 1.5 },
        ],
      ],
    ] as const) {
      const truth = await want.read(`out.${name}`);
      expectClose(await run(uses), truth, TOLERANCE, name);
    }
    // A size that is compiled while adapters are on reads the same weights.
    expect(model.weightBytes).toBe(bytes);
    expect(await run([])).toEqual(before);
    model.dispose();
  });

  test('an aborted change is finished by the next call', async () => {
    const model = await UNet2DCondition.load(device, fixture(BASE));
    await expect(model.setLoras([{ lora: peft }], { signal: AbortSignal.abort() })).rejects.toThrow(/abort/i);
    const plain = await (await model.forward(call)).read();
    const controller = new AbortController();
    const change = model.setLoras([{ lora: peft }], { signal: controller.signal });
    await Promise.resolve();
    controller.abort();
    await change.catch(() => undefined);
    const out = await (await model.forward(call)).read();
    const merged = await want.read('out.peft');
    // Either it had not begun, or it is whole; never half.
    const near = (a: Float32Array, b: Float32Array) => a.every((v, i) => Math.abs(v - b[i]) < TOLERANCE);
    expect(near(out, plain) || near(out, merged)).toBe(true);
    model.dispose();
  });

  test('one for another model names its keys and changes nothing', async () => {
    const model = await UNet2DCondition.load(device, fixture(BASE));
    const before = await (await model.forward(call)).read();
    const other = await made({
      'unet.down_blocks.7.attentions.0.to_q.lora_A.weight': f32([1, 4]),
      'unet.down_blocks.7.attentions.0.to_q.lora_B.weight': f32([4, 1]),
      'unet.conv_in.lora_A.weight': f32([1, 5]),
      'unet.conv_in.lora_B.weight': f32([8, 1]),
    });
    const error = await failure(model.setLoras([{ lora: peft }, { lora: other }]));
    expect(error).toBeInstanceOf(WeightError);
    expect((error as WeightError).keys).toContain('unet.down_blocks.7.attentions.0.to_q.lora_A.weight');
    expect((error as WeightError).keys).toContain('unet.conv_in.lora_B.weight');
    expect(error.message).toMatch(/another model/);
    expect(await (await model.forward(call)).read()).toEqual(before);
    model.dispose();
  });

  test('a text encoder takes its own layers only', async () => {
    const model = await CLIPTextModel.load(device, fixture('clip_text'));
    const D = model.config.hiddenSize;
    const key = 'text_model.encoder.layers.0.self_attn.q_proj';
    const tokens = { inputIds: { data: [1, 5, 9, 2], shape: [1, 4] } };
    const before = await (await model.forward(tokens)).lastHiddenState.read();
    const text = await made({
      [`text_encoder.${key}.lora_linear_layer.down.weight`]: f32([1, D], normals(1, D)),
      [`text_encoder.${key}.lora_linear_layer.up.weight`]: f32([D, 1], normals(2, D)),
    });
    await model.setLoras([{ lora: text }]);
    expect(await (await model.forward(tokens)).lastHiddenState.read()).not.toEqual(before);
    expect(await failure(model.setLoras([{ lora: peft }]))).toBeInstanceOf(WeightError);
    await model.setLoras([]);
    expect(await (await model.forward(tokens)).lastHiddenState.read()).toEqual(before);
    model.dispose();
  });
});

describe('files', () => {
  const weights = new Map([['a.to_q.weight', [2, 3]]]);
  const pair = (layer: string, down: string, up: string) => ({
    [`${layer}${down}`]: f32([1, 3], [1, 2, 4]),
    [`${layer}${up}`]: f32([2, 1], [1, 0.5]),
  });
  const merged = async (loras: Lora, rows?: readonly [number, number]) => {
    const data = new Float32Array(rows ? 3 * (rows[1] - rows[0]) : 6).fill(1);
    await loraChange(weights, 'unet', [{ lora: loras, weight: 2 }]).apply('a.to_q.weight', data, rows);
    return [...data];
  };
  const full = [3, 5, 9, 2, 3, 5];

  test.each([
    ['PEFT', pair('unet.a.to_q', '.lora_A.weight', '.lora_B.weight')],
    ['PEFT with a name', pair('base_model.model.unet.a.to_q', '.lora_A.style.weight', '.lora_B.style.weight')],
    ['without a part', pair('a.to_q', '.lora_A.weight', '.lora_B.weight')],
    ['attention processors', pair('unet.a.processor.to_q', '_lora.down.weight', '_lora.up.weight')],
    ['older linear layers', pair('unet.a.to_q', '.lora.down.weight', '.lora.up.weight')],
    ['kohya', pair('lora_unet_a_to_q', '.lora_down.weight', '.lora_up.weight')],
  ])('%s', async (_, tensors) => {
    expect(await merged(await made(tensors))).toEqual(full);
    // Tables in several bindings read their rows only.
    expect(await merged(await made(tensors), [1, 2])).toEqual(full.slice(3));
  });

  test('attention processors by the names of the layers they stood for', async () => {
    const of = (layer: string) => pair(layer, '_lora.down.weight', '_lora.up.weight');
    const old = await made({
      ...of('unet.b.attn1.processor.to_out'),
      ...of('text_encoder.text_model.encoder.layers.0.self_attn.to_k'),
    });
    expect(old.layers('unet')[0].name).toBe('b.attn1.to_out.0');
    expect(old.layers('text_encoder')[0].name).toBe('text_model.encoder.layers.0.self_attn.k_proj');
  });

  test('large weights let the page breathe', async () => {
    const [O, K, r] = [96, 4096, 32];
    const [A, B] = [normals(1, r * K), normals(2, O * r)];
    const large = await made({ 'a.lora_A.weight': f32([r, K], A), 'a.lora_B.weight': f32([O, r], B) });
    const data = new Float32Array(O * K);
    let ticks = 0;
    const timer = setInterval(() => ticks++, 0);
    await loraChange(new Map([['a.weight', [O, K]]]), 'unet', [{ lora: large }]).apply('a.weight', data, undefined);
    clearInterval(timer);
    expect(ticks).toBeGreaterThan(0);
    const want = (o: number, k: number) =>
      A.reduce((sum, _, i) => (i % K === k ? sum + A[i] * B[o * r + Math.floor(i / K)] : sum), 0);
    for (const [o, k] of [
      [0, 0],
      [64, 5],
      [O - 1, K - 1],
    ])
      expect(data[o * K + k]).toBe(Math.fround(want(o, k)));
  });

  test('α from the file and from its metadata', async () => {
    const tensors = pair('unet.a.to_q', '.lora_A.weight', '.lora_B.weight');
    const half = [2, 3, 5, 1.5, 2, 3];
    expect(await merged(await made({ ...tensors, 'unet.a.to_q.alpha': f32([], [0.5]) }))).toEqual(half);
    const metadata = { lora_adapter_metadata: JSON.stringify({ 'unet.r': 1, 'unet.lora_alpha': 0.5 }) };
    expect(await merged(await made(tensors, metadata))).toEqual(half);
  });

  test('other kinds and halves are refused by name', async () => {
    const tensors = pair('lora_unet_a_to_q', '.lora_down.weight', '.lora_up.weight');
    for (const key of ['lora_unet_a_to_q.hada_w1_a', 'lora_unet_a_to_q.dora_scale', 'lora_unet_a_to_q.diff_b']) {
      const error = await failure(made({ ...tensors, [key]: f32([2, 1]) }));
      expect(error).toBeInstanceOf(UnsupportedError);
      expect(error.message).toContain(key);
    }
    const { 'lora_unet_a_to_q.lora_down.weight': alone } = tensors;
    const error = await failure(made({ 'lora_unet_a_to_q.lora_down.weight': alone }));
    expect((error as WeightError).keys).toEqual(['lora_unet_a_to_q.lora_down.weight']);
  });
});

test('original names of layers', () => {
  const paths: string[] = [];
  // SDXL: two layers per level, attention in the lower two of three levels.
  for (const level of [0, 1, 2]) {
    for (const layer of [0, 1]) paths.push(`down_blocks.${level}.resnets.${layer}.conv1`);
    for (const layer of [0, 1, 2]) paths.push(`up_blocks.${level}.resnets.${layer}.conv1`);
    if (level > 0) paths.push(`down_blocks.${level}.attentions.0.proj_in`);
    if (level < 2) paths.push(`up_blocks.${level}.attentions.0.proj_in`);
  }
  const name = ldmNames(paths);
  expect(name('down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q')).toBe(
    'input_blocks.4.1.transformer_blocks.0.attn1.to_q',
  );
  expect(name('down_blocks.2.resnets.1.conv2')).toBe('input_blocks.8.0.out_layers.3');
  expect(name('down_blocks.1.downsamplers.0.conv')).toBe('input_blocks.6.0.op');
  expect(name('mid_block.resnets.1.time_emb_proj')).toBe('middle_block.2.emb_layers.1');
  expect(name('mid_block.attentions.0.proj_out')).toBe('middle_block.1.proj_out');
  expect(name('up_blocks.0.upsamplers.0.conv')).toBe('output_blocks.2.2.conv');
  expect(name('up_blocks.2.resnets.0.conv_shortcut')).toBe('output_blocks.6.0.skip_connection');
  expect(name('add_embedding.linear_2')).toBe('label_emb.0.2');
});
