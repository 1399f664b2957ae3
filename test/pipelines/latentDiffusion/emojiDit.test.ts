/** The transformer that ships, `weights/emoji-dit`, against what PyTorch made of the same files. */
import { readFileSync } from 'node:fs';
import { afterAll, describe, expect, it } from 'vitest';
import { Device } from '../../../src/engine/index.ts';
import { Checkpoint } from '../../../src/loading/index.ts';
import { FileSource, pathDirectory } from '../../../src/node/fileSource.ts';
import { Pipeline } from '../../../src/pipelines/index.ts';
import { SAME_PICTURE, expectClose } from '../../support/close.ts';
import { adapters, getGpu, isFullRun } from '../../support/gpu.ts';

const model = pathDirectory('weights/emoji-dit');
const recipe = JSON.parse(readFileSync('weights/emoji-dit-reference/config.json', 'utf8')) as Record<string, number>;
const { numInferenceSteps, guidanceScale, eta } = recipe;
const reference = Checkpoint.open(new FileSource('weights/emoji-dit-reference/io.safetensors'));
afterAll(async () => (await reference).close());

describe.each(adapters())('class → picture by a transformer on %s', (adapter) => {
  it('makes the pictures that PyTorch makes from the same noise', async () => {
    const device = await Device.open({ gpu: await getGpu(adapter) });
    const pipe = await Pipeline.fromPretrained(model, { device, dtype: 'f32' });
    expect(Object.values(pipe.labels)).toHaveLength(9);
    expect(pipe.sampleSize).toEqual({ width: 64, height: 64 });
    const count = isFullRun ? 9 : adapter === 'swiftshader' ? 1 : 3;
    const r = await reference;
    const [noise, labels, image] = await Promise.all(['in.noise', 'in.labels', 'out.image'].map((key) => r.read(key)));
    const { images } = await pipe({
      classLabels: [...labels.slice(0, count)],
      latents: noise.slice(0, (noise.length / 9) * count),
      numInferenceSteps,
      guidanceScale,
      eta,
    });
    const got = (await Promise.all(images.map((i) => i.toTensor()))).flatMap((t) => [...t]);
    expectClose(got, image.slice(0, (image.length / 9) * count), SAME_PICTURE, 'picture');
    for (const i of images) i.dispose();
    await pipe.dispose();
    expect(device.held).toEqual({ bytes: 0, buffers: 0 });
    device.dispose();
  }, 600_000);

  it('knows its classes by name, and a step with learned variance ends in numbers', async () => {
    const device = await Device.open({ gpu: await getGpu(adapter) });
    const pipe = await Pipeline.fromPretrained(model, { device, dtype: 'f32' });
    const run = { numInferenceSteps: 2, guidanceScale, generator: 3 };
    const byName = await pipe({ ...run, classLabels: 'flags' });
    const byNumber = await pipe({ ...run, classLabels: 8 });
    expect(byName.latents).toEqual(byNumber.latents);
    const noisy = await pipe({ ...run, classLabels: 8, sampler: 'ddpm' });
    expect(noisy.latents.every(Number.isFinite)).toBe(true);
    expect(noisy.latents).not.toEqual(byNumber.latents);
    for (const image of [...byName.images, ...byNumber.images, ...noisy.images]) image.dispose();
    await pipe.dispose();
    device.dispose();
  }, 600_000);
});
