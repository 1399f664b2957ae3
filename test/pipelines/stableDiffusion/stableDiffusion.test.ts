/** StableDiffusionPipeline folders: recorded runs, prompts, pictures to start from, ControlNets, what is refused. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { InvalidArgumentError, UnsupportedError } from '../../../src/engine/index.ts';
import { filesDirectory, type Directory } from '../../../src/loading/index.ts';
import { ControlNet } from '../../../src/models/controlNet/controlNetModel.ts';
import { runParity } from '../../../src/node/parity/run.ts';
import { Pipeline } from '../../../src/pipelines/index.ts';
import { Turns } from '../../../src/pipelines/run/turns.ts';
import { ControlBranch } from '../../../src/pipelines/stableDiffusion/controlBranch.ts';
import { expectClose, networkTolerance } from '../../support/close.ts';
import { adapters } from '../../support/gpu.ts';
import { normals } from '../../support/random.ts';
import { openDevice } from '../../support/runGraph.ts';
import { failure, fixture, fixturesPath } from '../../models/fixtures.ts';

const PLAIN = 'pipe_sd_ddim';
const CONTROL = 'pipe_sd_controlnet_dpmpp_karras';

/** Every file of a fixture, and what is put in its place or added. */
function copy(name: string, changes: Record<string, Uint8Array<ArrayBuffer> | object> = {}): Directory {
  const files: Record<string, Blob> = {};
  const walk = (folder: string, prefix: string) => {
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
      const path = join(folder, entry.name);
      if (entry.isDirectory()) walk(path, `${prefix}${entry.name}/`);
      else files[prefix + entry.name] = new Blob([Uint8Array.from(readFileSync(path))]);
    }
  };
  walk(join(fixturesPath, name), '');
  for (const [path, content] of Object.entries(changes)) {
    files[path] = new Blob([content instanceof Uint8Array ? content : JSON.stringify(content)]);
  }
  return filesDirectory(files, name);
}

const index = (name: string) =>
  JSON.parse(readFileSync(join(fixturesPath, name, 'model_index.json'), 'utf8')) as Record<string, unknown>;

const states = (N: number, seed: number) => ({ data: normals(seed, N * 6 * 16), shape: [N, 6, 16] });

describe.each(adapters())('recorded pipelines on %s', async (adapter) => {
  const device = await openDevice(adapter);
  it.each([PLAIN, CONTROL])('%s', async (only) => {
    const before = { ...device.held };
    const { results } = await runParity(fixturesPath, { adapter, device, only, log: () => {} });
    expect(results.map(({ status }) => status)).toEqual(['pass']);
    expect(device.held).toEqual(before);
  });
});

describe('options', async () => {
  const device = await openDevice(adapters()[0]);
  const call = { numInferenceSteps: 3, guidanceScale: 3, generator: 7 };

  it('several pictures per prompt stand behind each other, and each is itself', async () => {
    const pipe = await Pipeline.fromPretrained(fixture(PLAIN), { device });
    expect(pipe.sampleSize).toEqual({ width: 16, height: 16 });
    const latents = normals(1, 4 * 4 * 8 * 8);
    const promptEmbeds = states(2, 2);
    const negativePromptEmbeds = states(1, 3);
    const both = await pipe({ ...call, promptEmbeds, negativePromptEmbeds, numImagesPerPrompt: 2, latents });
    expect(both.images).toHaveLength(4);
    const one = await pipe({
      ...call,
      promptEmbeds: { data: promptEmbeds.data.slice(96), shape: [1, 6, 16] },
      negativePromptEmbeds,
      latents: latents.slice(3 * 256),
    });
    expectClose(both.latents.subarray(3 * 256), one.latents, networkTolerance('f32', 64, 100), 'the last of four');
    [...both.images, ...one.images].forEach((image) => image.dispose());
    await pipe.dispose();
  });

  it('starts from a picture: strength says how much of it is left, a mask where', async () => {
    const before = { ...device.held };
    const pipe = await Pipeline.fromPretrained(fixture(PLAIN), { device });
    const image = { data: normals(4, 3 * 256, { std: 0.3 }), shape: [1, 3, 16, 16] };
    const text = { promptEmbeds: states(1, 2), negativePromptEmbeds: states(1, 3) };
    const steps: number[] = [];
    const onStep = ({ steps: n }: { steps: number }) => void steps.push(n);
    const little = await pipe({ ...call, ...text, numInferenceSteps: 5, image, strength: 0.4, onStep });
    expect(steps).toHaveLength(2);
    const nothing = { data: new Float32Array(256), shape: [1, 1, 16, 16] };
    const kept = await pipe({ ...call, ...text, image, maskImage: nothing });
    const again = await pipe({ ...call, ...text, image, maskImage: nothing, promptEmbeds: states(1, 9) });
    // Nothing was to be new, so the text does not matter.
    expect(kept.latents).toEqual(again.latents);
    expect(kept.latents).not.toEqual(little.latents);
    for (const { images } of [little, kept, again]) images.forEach((picture) => picture.dispose());
    await pipe.dispose();
    expect(device.held).toEqual(before);
  });

  it('a ControlNet of scale 0, or outside its part of the run, is not there', async () => {
    const pipe = await Pipeline.fromPretrained(fixture(CONTROL), { device });
    const controlImage = { data: normals(5, 3 * 64 * 96).map(Math.abs), shape: [1, 3, 64, 96] };
    const text = { promptEmbeds: states(1, 2), negativePromptEmbeds: states(1, 3) };
    const size = { width: 24, height: 16 };
    const run = async (options: object) => {
      const { latents, images } = await pipe({ ...call, ...text, ...size, controlImage, ...options });
      images.forEach((image) => image.dispose());
      return latents;
    };
    const off = await run({ controlnetConditioningScale: 0 });
    expect(await run({ controlGuidanceStart: 0.99 })).toEqual(off);
    const guess = await run({ guessMode: true });
    expect(guess).not.toEqual(off);
    expect(guess).not.toEqual(await run({}));
    // Calls that go on at once share the networks; what a ControlNet says in one of them stays its own.
    const calls = [{}, { promptEmbeds: states(1, 7), latents: normals(8, 4 * 8 * 12) }];
    const apart = [await run(calls[0]), await run(calls[1])];
    expect(await Promise.all(calls.map(run))).toEqual(apart);
    await pipe.dispose();
  });

  it('a ControlNet’s picture that does not fit leaves nothing of those before it', async () => {
    const net = await ControlNet.load(device, fixture(CONTROL).folder('controlnet'));
    const before = { ...device.held };
    const picture = (side: number) => ({ data: new Float32Array(3 * side * side), shape: [1, 3, side, side] });
    const controlImage = [picture(32), picture(31)];
    expect(() => new ControlBranch(device, [net, net], { controlImage }, 1, [4, 4], new Turns())).toThrow(/32×32/);
    expect(device.held).toEqual(before);
    net.dispose();
  });

  it('says what is wrong', async () => {
    const pipe = await Pipeline.fromPretrained(fixture(PLAIN), { device });
    const ok = { ...call, promptEmbeds: states(1, 1), negativePromptEmbeds: states(1, 2) };
    const wrong: [object, RegExp][] = [
      [{ prompt: 'a heart' }, /expected prompt or promptEmbeds, got both/],
      [{ promptEmbeds: undefined }, /got neither/],
      [{ promptEmbeds: undefined, prompt: 'a heart' }, /no text encoder/],
      [{ negativePromptEmbeds: states(3, 1) }, /1 or 1 of negativePromptEmbeds, got 3/],
      [{ negativePromptEmbeds: { data: normals(1, 5 * 16), shape: [1, 5, 16] } }, /\[1,6,16\], got \[1,5,16\]/],
      [{ numImagesPerPrompt: 0 }, /numImagesPerPrompt of 1 or more/],
      [{ image: { data: new Float32Array(3 * 4), shape: [1, 3, 2, 3] } }, /got \[1,3,2,3\] and 12 values/],
      [{ image: { data: new Float32Array(3 * 9), shape: [1, 3, 3, 3] } }, /multiple of 2, got 3/],
      [
        {
          image: { data: new Float32Array(3 * 256), shape: [1, 3, 16, 16] },
          maskImage: { data: new Float32Array(64), shape: [1, 1, 8, 8] },
        },
        /maskImage of 16×16 as image, got 8×8/,
      ],
      [{ image: { data: new Float32Array(3 * 256), shape: [1, 3, 16, 16] }, strength: 0 }, /strength/],
      [{ width: 15 }, /multiple of 2, got 15/],
    ];
    for (const [options, message] of wrong) {
      const error = await failure(pipe({ ...ok, ...options }));
      expect(error, String(message)).toBeInstanceOf(InvalidArgumentError);
      expect(error.message).toMatch(message);
    }
    await pipe.dispose();
  });

  it('refuses folders of other parts', async () => {
    const unknown = copy(PLAIN, { 'model_index.json': { ...index(PLAIN), gligen: ['diffusers', 'Gligen'] } });
    expect(await failure(Pipeline.fromPretrained(unknown, { device }))).toBeInstanceOf(UnsupportedError);
    const control = await failure(
      (async () => {
        const pipe = await Pipeline.fromPretrained(fixture(CONTROL), { device });
        try {
          await pipe({ ...call, promptEmbeds: states(1, 1), negativePromptEmbeds: states(1, 2) });
        } finally {
          await pipe.dispose();
        }
      })(),
    );
    expect(control.message).toMatch(/1 of controlImage .* got 0/);
  });
});
