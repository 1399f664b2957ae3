import { readFileSync } from 'node:fs';
import { afterAll, describe, expect, it } from 'vitest';
import { AbortedError, Device, InvalidArgumentError, NonFiniteError } from '../../../src/engine/index.ts';
import { Checkpoint } from '../../../src/loading/index.ts';
import { FileSource, pathDirectory } from '../../../src/node/fileSource.ts';
import { Pipeline } from '../../../src/pipelines/index.ts';
import { TorchGenerator } from '../../../src/sampler/index.ts';
import { SAME_PICTURE, expectClose, F16_PIPELINE } from '../../support/close.ts';
import { adapters, getGpu, isFullRun } from '../../support/gpu.ts';

const model = pathDirectory('weights/emoji');
const recipe = JSON.parse(readFileSync('weights/emoji-reference/config.json', 'utf8')) as Record<string, number>;
const { numInferenceSteps, guidanceScale, eta } = recipe;
const reference = Checkpoint.open(new FileSource('weights/emoji-reference/io.safetensors'));
afterAll(async () => (await reference).close());

/** Pictures that PyTorch made from the same noise; rows of a batch do not depend on each other. */
async function recorded(pictures: number) {
  const r = await reference;
  const [noise, labels, image] = await Promise.all(['in.noise', 'in.labels', 'out.image'].map((key) => r.read(key)));
  return {
    noise: noise.slice(0, (noise.length / 9) * pictures),
    labels: [...labels.slice(0, pictures)],
    image: image.slice(0, (image.length / 9) * pictures),
  };
}

describe.each(adapters())('class → picture on %s', (adapter) => {
  const open = async () => Device.open({ gpu: await getGpu(adapter) });

  it('makes the pictures that PyTorch makes from the same noise', async () => {
    const device = await open();
    const pipe = await Pipeline.fromPretrained(model, { device, dtype: 'f32' });
    const count = isFullRun ? 9 : adapter === 'swiftshader' ? 1 : 3;
    const { noise, labels, image } = await recorded(count);
    const { images } = await pipe({
      classLabels: labels,
      latents: noise,
      numInferenceSteps,
      guidanceScale,
      eta,
    });
    const got = (await Promise.all(images.map((i) => i.toTensor()))).flatMap((t) => [...t]);
    expectClose(got, image, SAME_PICTURE, 'picture');
    for (const i of images) i.dispose();
    await pipe.dispose();
    expect(device.held).toEqual({ bytes: 0, buffers: 0 });
    device.dispose();
  }, 600_000);

  if (adapter !== 'swiftshader') {
    it('stores halves within a percent of f32', async () => {
      const { noise, labels } = await recorded(isFullRun ? 9 : 3);
      const run = async (dtype: 'f32' | 'f16', without: GPUFeatureName[] = []) => {
        const device = await Device.open({ gpu: await getGpu(adapter), without });
        const pipe = await Pipeline.fromPretrained(model, { device, dtype });
        const { latents } = await pipe({ classLabels: labels, latents: noise, numInferenceSteps, guidanceScale });
        await pipe.dispose();
        device.dispose();
        return latents;
      };
      const f32 = await run('f32');
      const norm = Math.hypot(...f32);
      for (const f16 of [await run('f16'), await run('f16', ['shader-f16'])]) {
        expect(Math.hypot(...f16.map((v, i) => v - f32[i])) / norm).toBeLessThan(F16_PIPELINE);
      }
    }, 600_000);
  }

  it('aborts between submits, resumes to the same bits, and stays usable', async () => {
    const device = await open();
    const pipe = await Pipeline.fromPretrained(model, { device, dtype: 'f32' });
    const options = { classLabels: 2, numInferenceSteps: 3, guidanceScale: 1, sampler: 'ddpm' } as const;
    const whole = await pipe({ ...options, generator: 7 });
    const controller = new AbortController();
    let state;
    const stopped = pipe({
      ...options,
      generator: 7,
      signal: controller.signal,
      onStep: async (e) => {
        if (e.step < 2) return;
        state = await e.state();
        controller.abort();
      },
    });
    await expect(stopped).rejects.toThrow(AbortedError);
    const resumed = await pipe({ ...options, generator: new TorchGenerator(7), resume: state });
    expect(resumed.latents).toEqual(whole.latents);
    for (const image of [...whole.images, ...resumed.images]) image.dispose();
    await pipe.dispose();
    expect(device.held).toEqual({ bytes: 0, buffers: 0 });
    device.dispose();
  }, 600_000);

  it('says which option is wrong, and what it may be', async () => {
    const device = await open();
    const pipe = await Pipeline.fromPretrained(model, { device });
    const bad = (options: object) => expect(pipe({ classLabels: 0, ...options })).rejects;
    await bad({ numInferenceSteps: 0 }).toThrow(InvalidArgumentError);
    await bad({ numInferenceSteps: 1001 }).toThrow(/1000/);
    await bad({ width: 60 }).toThrow(/width to be a positive multiple of 16, got 60; choose 64/);
    await bad({ classLabels: 'Dragons' }).toThrow(/a class of 0 Smileys & Emotion.*"Dragons"/);
    await bad({ classLabels: 9 }).toThrow(InvalidArgumentError);
    await bad({ eta: -1 }).toThrow(/eta/);
    await bad({ latents: new Float32Array(5) }).toThrow(/latents \[1,4,16,16\] = 1024 elements, got 5/);
    await bad({ guidanceScale: NaN }).toThrow(/guidanceScale/);
    await bad({ generator: [new TorchGenerator(1), new TorchGenerator(2)] }).toThrow(/one generator or 1/);
    const plan = pipe.plan({ width: 64, height: 64 });
    expect(plan).toMatchObject({ fits: true });
    expect(pipe.plan({ width: 8192, height: 8192 })).toMatchObject({
      fits: false,
      advice: expect.stringMatching(/binding/),
    });
    await pipe.dispose();
    expect(device.held).toEqual({ bytes: 0, buffers: 0 });
    device.dispose();
  });
});

it('names what a folder lacks, and the class it cannot run', async () => {
  const gpu = undefined;
  await expect(Pipeline.fromPretrained(pathDirectory('weights/none'), { gpu })).rejects.toThrow(
    /expected a folder, got nothing/,
  );
  await expect(Pipeline.fromPretrained('not a name')).rejects.toThrow(/hub name 'org\/name'/);
});

it('refuses to show a picture made of NaN, and names the op on request', async () => {
  const device = await Device.open({ gpu: await getGpu('lavapipe') });
  const pipe = await Pipeline.fromPretrained(model, { device, dtype: 'f32' });
  const latents = new Float32Array(1024).fill(NaN);
  const run = (checkFinite: boolean) =>
    pipe({ classLabels: 0, latents, numInferenceSteps: 1, guidanceScale: 1, checkFinite }).catch((e: unknown) => e);
  expect(await run(false)).toBeInstanceOf(NonFiniteError);
  const named = (await run(true)) as NonFiniteError;
  expect(named).toBeInstanceOf(NonFiniteError);
  expect(named.op).toBe('fromNchw');
  await pipe.dispose();
  device.dispose();
}, 600_000);
