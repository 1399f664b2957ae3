/** Text → picture with the weights that ship, `weights/emoji-text`, against what PyTorch made of the same files. */
import { readFileSync } from 'node:fs';
import { afterAll, describe, expect, it } from 'vitest';
import { Device } from '../../../src/engine/index.ts';
import { Checkpoint } from '../../../src/loading/index.ts';
import { Tokenizer } from '../../../src/loading/tokenizers/tokenizer.ts';
import { CLIPTextModel } from '../../../src/models/textEncoders/clipTextModel.ts';
import { encodeClipPrompts } from '../../../src/models/textEncoders/clipPrompts.ts';
import { FileSource, pathDirectory } from '../../../src/node/fileSource.ts';
import { Pipeline } from '../../../src/pipelines/index.ts';
import { NETWORK_NORM, SAME_PICTURE, expectClose } from '../../support/close.ts';
import { adapters, getGpu, isFullRun } from '../../support/gpu.ts';

interface Recipe {
  prompts: string[];
  numInferenceSteps: number;
  guidanceScale: number;
  eta: number;
}

const model = pathDirectory('weights/emoji-text');
const recipe = JSON.parse(readFileSync('weights/emoji-text-reference/config.json', 'utf8')) as Recipe;
const { prompts, numInferenceSteps, guidanceScale, eta } = recipe;
const reference = Checkpoint.open(new FileSource('weights/emoji-text-reference/io.safetensors'));
afterAll(async () => (await reference).close());

it('reads prompts as the trained tokenizer does', async () => {
  const r = await reference;
  const tokenizer = await Tokenizer.open(model.folder('tokenizer'));
  expect([...tokenizer.encode(prompts).inputIds.data]).toEqual([...(await r.read('in.inputIds'))]);
  expect([...tokenizer.encode('').inputIds.data]).toEqual([...(await r.read('in.nullInputIds'))]);
  expect(tokenizer.decode(tokenizer.encode(prompts[1]).inputIds.data)).toContain('medium skin tone');
});

describe.each(adapters())('text → emoji on %s', (adapter) => {
  it('has the text states of PyTorch', async () => {
    const device = await Device.open({ gpu: await getGpu(adapter) });
    const tokenizer = await Tokenizer.open(model.folder('tokenizer'));
    const text = await CLIPTextModel.load(device, model.folder('text_encoder'), { dtype: 'f32' });
    const expected = await (await reference).read('out.hiddenStates');
    const largest = expected.reduce((a, v) => Math.max(a, Math.abs(v)), 0);
    const { data, shape } = await encodeClipPrompts(tokenizer, text, prompts);
    expect(shape).toEqual([prompts.length, tokenizer.maxLength, text.config.hiddenSize]);
    expectClose(data, expected, NETWORK_NORM * largest, 'states');
    text.dispose();
    device.dispose();
  }, 600_000);

  it('draws the pictures that PyTorch draws from the same noise', async () => {
    const device = await Device.open({ gpu: await getGpu(adapter) });
    const pipe = await Pipeline.fromPretrained(model, { device, dtype: 'f32' });
    expect(pipe.sampleSize).toEqual({ width: 64, height: 64 });
    const count = isFullRun ? prompts.length : adapter === 'swiftshader' ? 1 : 3;
    const r = await reference;
    const [noise, image] = await Promise.all(['in.noise', 'out.image'].map((key) => r.read(key)));
    const { images } = await pipe({
      prompt: prompts.slice(0, count),
      latents: noise.slice(0, (noise.length / prompts.length) * count),
      numInferenceSteps,
      guidanceScale,
      eta,
    });
    const got = (await Promise.all(images.map((i) => i.toTensor()))).flatMap((t) => [...t]);
    expectClose(got, image.slice(0, (image.length / prompts.length) * count), SAME_PICTURE, 'picture');
    for (const i of images) i.dispose();
    await pipe.dispose();
    expect(device.held).toEqual({ bytes: 0, buffers: 0 });
    device.dispose();
  }, 600_000);
});
