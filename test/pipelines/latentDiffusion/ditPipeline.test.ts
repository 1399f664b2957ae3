/** DiTPipeline folders: recorded latents and pictures, options, what is refused, what is left behind. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { ConfigError, InvalidArgumentError } from '../../../src/engine/index.ts';
import type { Directory } from '../../../src/loading/index.ts';
import { filesDirectory } from '../../../src/loading/index.ts';
import { runDiTPipeline } from '../../../src/node/parity/ditPipelineCase.ts';
import type { PipelineEntry } from '../../../src/node/parity/pipelineCase.ts';
import { Recording } from '../../../src/node/parity/recording.ts';
import { Pipeline } from '../../../src/pipelines/index.ts';
import { expectClose, NETWORK_NORM, networkTolerance } from '../../support/close.ts';
import { adapters } from '../../support/gpu.ts';
import { openDevice } from '../../support/runGraph.ts';
import { failure, fixture, fixturesPath } from '../../models/fixtures.ts';

const NAME = 'pipe_dit_dpmpp';
const entry = { num_inference_steps: 10, guidance_scale: 4, tol_abs_hint: {} } satisfies PipelineEntry;

/** A copy of the folder whose files may be changed. */
function copy(change: (files: Record<string, Uint8Array<ArrayBuffer>>) => void): Directory {
  const files: Record<string, Uint8Array<ArrayBuffer>> = {};
  for (const name of [
    'model_index.json',
    'scheduler/scheduler_config.json',
    ...['transformer', 'vae'].flatMap((part) => [`${part}/config.json`, `${part}/diffusion_pytorch_model.safetensors`]),
  ]) {
    files[name] = Uint8Array.from(readFileSync(`${fixturesPath}/${NAME}/${name}`));
  }
  change(files);
  return filesDirectory(Object.fromEntries(Object.entries(files).map(([k, v]) => [k, new Blob([v])])), NAME);
}

function edited(bytes: Uint8Array, change: (json: Record<string, unknown>) => void): Uint8Array<ArrayBuffer> {
  const json = JSON.parse(new TextDecoder().decode(bytes).replace('-Infinity', '-1e999')) as Record<string, unknown>;
  change(json);
  return Uint8Array.from(new TextEncoder().encode(JSON.stringify(json)));
}

describe.each(adapters())('DiTPipeline on %s', (adapter) => {
  it('takes the steps of the reference, and ends in its pictures', async () => {
    const device = await openDevice(adapter);
    const before = { ...device.held };
    const io = await Recording.open(fixture(NAME));
    const got = await runDiTPipeline({ device, folder: fixture(NAME), dtype: 'f32', entry, io });
    const latents = (await io.tensor('out.latents')).data;
    const largest = latents.reduce((a, v) => Math.max(a, Math.abs(v)), 0);
    expectClose(got.latents, latents, NETWORK_NORM * largest, 'latents');
    expectClose(got.image, (await io.tensor('out.image')).data, NETWORK_NORM, 'image');
    await io.close();
    expect(device.held).toEqual(before);
  });
});

describe('options', async () => {
  const device = await openDevice(adapters()[0]);

  it('guides in an interval only', async () => {
    const pipe = await Pipeline.fromPretrained(fixture(NAME), { device });
    const run = async (options: object) => {
      const { latents, images } = await pipe({ classLabels: 3, generator: 5, numInferenceSteps: 4, ...options });
      images.forEach((image) => image.dispose());
      return latents;
    };
    const [alone, everywhere] = [await run({ guidanceScale: 1 }), await run({})];
    // No step is that noisy.
    expect(await run({ guidanceInterval: [1e6, 1e7] })).toEqual(alone);
    const some = await run({ guidanceInterval: [0, 2] });
    expect(some).not.toEqual(alone);
    expect(some).not.toEqual(everywhere);
    await pipe.dispose();
  });

  it('classes by number or by one of their names; a batch is its pictures', async () => {
    const named = copy((files) => {
      files['model_index.json'] = edited(files['model_index.json'], (json) => {
        json.id2label = { 0: 'tench, Tinca tinca', 7: 'cock' };
      });
    });
    const pipe = await Pipeline.fromPretrained(named, { device });
    expect(pipe.labels[7]).toBe('cock');
    expect(pipe.sampleSize).toEqual({ width: 16, height: 16 });
    expect(pipe.sizeMultiple).toBe(4);
    const noise = new Float32Array(2 * 4 * 8 * 8).map((_, i) => Math.sin(i));
    const call = { numInferenceSteps: 2, guidanceScale: 3 };
    const both = await pipe({ ...call, classLabels: ['Tinca Tinca', 'cock'], latents: noise });
    const one = await pipe({ ...call, classLabels: 7, latents: noise.slice(256) });
    expectClose(both.latents.subarray(256), one.latents, networkTolerance('f32', 64, 1000), 'second of two');
    [...both.images, ...one.images].forEach((image) => image.dispose());
    expect((await failure(pipe({ classLabels: 'dog' }))).message).toMatch(/"dog"; see labels/);
    expect((await failure(pipe({ classLabels: 1000 }))).message).toMatch(/0 … 999, got 1000/);
    expect(await failure(pipe({ classLabels: [] }))).toBeInstanceOf(InvalidArgumentError);
    expect((await failure(pipe({ classLabels: 1, width: 18 }))).message).toMatch(/multiple of 4, got 18/);
    expect(pipe.plan({ width: 32 })).toMatchObject({ fits: true });
    await pipe.dispose();
  });

  it('a scale of 1 is the conditional network alone; sizes need not be square', async () => {
    const pipe = await Pipeline.fromPretrained(fixture(NAME), { device });
    const call = { classLabels: 3, numInferenceSteps: 2, generator: 5, width: 24, height: 16 };
    const [a, b] = [await pipe({ ...call, guidanceScale: 1 }), await pipe({ ...call, guidanceScale: 0.5 })];
    expect(a.latents).toHaveLength(4 * 8 * 12);
    expect(a.latents).toEqual(b.latents);
    expect(a.images[0]).toMatchObject({ width: 24, height: 16 });
    [...a.images, ...b.images].forEach((image) => image.dispose());
    await pipe.dispose();
  });

  it('parts that do not belong together are refused, and nothing is left behind', async () => {
    const before = { ...device.held };
    const mixed = copy((files) => {
      files['vae/config.json'] = edited(files['vae/config.json'], (json) => (json.latent_channels = 3));
    });
    expect((await failure(Pipeline.fromPretrained(mixed, { device }))).message).toMatch(/vae|AutoencoderKL/);
    const unknown = copy((files) => {
      const key = 'scheduler/scheduler_config.json';
      files[key] = edited(files[key], (json) => (json.algorithm_type = 'magic'));
    });
    expect(await failure(Pipeline.fromPretrained(unknown, { device }))).toBeInstanceOf(ConfigError);
    await device.idle();
    expect(device.held).toEqual(before);
  });
});
