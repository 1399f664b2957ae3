/** Recorded runs of the authors' code as the folders and calls of a pipeline. */
import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';
import { AbortedError } from '../../../src/engine/index.ts';
import { filesDirectory, type Checkpoint, type Directory, type RawConfig } from '../../../src/loading/index.ts';
import { pathDirectory } from '../../../src/node/fileSource.ts';
import { weightFiles } from '../../../src/node/parity/original/admCase.ts';
import { OriginalCase } from '../../../src/node/parity/original/recorded.ts';
import { mergedWeights } from '../../../src/node/parity/original/weights.ts';
import type { Pipeline, StepProgress } from '../../../src/pipelines/index.ts';
import type { SamplerState } from '../../../src/sampler/index.ts';
import { file, type Tensor } from '../../loading/files.ts';
import { adapters } from '../../support/gpu.ts';
import { openDevice } from '../../support/runGraph.ts';
import { failure } from '../../models/fixtures.ts';
import { heldBy } from '../folders.ts';

const root = pathDirectory(fileURLToPath(new URL('../../fixtures/original', import.meta.url)));
/** The last one named, by default the quicker one: the networks themselves are tested on every adapter. */
export const adapter = adapters().at(-1)!;
export const device = await openDevice(adapter);

/** A case and the weights of its network, as far as the network of a config knows them. */
export async function caseOf<Config>(name: string, keysOf: (config: Config) => ReadonlyMap<string, readonly number[]>) {
  const dir = root.folder(name);
  const recording = await OriginalCase.open<Config>(dir);
  const { model } = await weightFiles({ dir, root, name, device: async () => device, dtype: 'f32' });
  return { recording, checkpoint: await mergedWeights({ root, name }, model, keysOf(recording.config)) };
}

/** The file of a checkpoint, with keys under a prefix. */
export async function bytesOf(checkpoint: Checkpoint, prefix = ''): Promise<Uint8Array> {
  const tensors: Record<string, Tensor> = {};
  for (const key of checkpoint.keys()) {
    const { dtype, shape } = checkpoint.info(key);
    tensors[prefix + key] = { dtype, shape: [...shape], bytes: await checkpoint.readRaw(key) };
  }
  return file(tensors);
}

/** A folder of one network. */
export function folderOf(config: RawConfig, weights: Uint8Array, name = 'model.safetensors'): Directory {
  const blob = new Blob([weights as Uint8Array<ArrayBuffer>]);
  return filesDirectory({ 'config.json': new Blob([JSON.stringify(config)]), [name]: blob }, 'original');
}

/** Plays recorded draws, the first of them `from`. */
export class Draws {
  state: number;
  constructor(
    private readonly recording: OriginalCase<unknown>,
    from = 0,
  ) {
    this.state = from;
  }
  randn(): Float32Array {
    return Float32Array.from(this.recording.item('draws', this.state++));
  }
}

/** Every step is told, with pictures of it; the last of them is what comes out; nothing else stays on the GPU. */
export async function showsSteps(
  pipe: Pipeline,
  options: object,
  want: { count: number; batch: number },
): Promise<void> {
  await pipe({ ...options, outputType: 'latent' }); // the first call of a size leaves its program
  const before = await heldBy(device);
  const seen: number[] = [];
  let shown = new Float32Array();
  const { images, latents, timing } = await pipe({
    ...options,
    onStep: async ({ step, steps, preview }: StepProgress) => {
      seen.push(step / steps);
      const pictures = await preview();
      expect(pictures).toHaveLength(want.batch);
      shown = (await pictures[0].toPlanes()) as Float32Array<ArrayBuffer>;
      pictures.forEach((picture) => picture.dispose());
    },
  });
  expect(seen).toEqual(Array.from({ length: want.count }, (_, i) => (i + 1) / want.count));
  expect([images.length, timing.stepMs.length]).toEqual([want.batch, want.count]);
  expect(shown.every(Number.isFinite)).toBe(true);
  expect(latents.length).toBe(want.batch * shown.length);
  images.forEach((image) => image.dispose());
  expect(await heldBy(device)).toEqual(before);
}

/** Stopped after its first step and gone on with: the same bits as in one go. */
export async function resumes(pipe: Pipeline, options: object): Promise<void> {
  const calls = { ...options, outputType: 'latent' as const };
  const states: SamplerState[] = [];
  const whole = await pipe({ ...calls, onStep: async ({ state }: StepProgress) => void states.push(await state()) });
  const resume = JSON.parse(JSON.stringify(states[0])) as SamplerState;
  expect((await pipe({ ...calls, resume })).latents).toEqual(whole.latents);
}

/** Aborted after the first step: a typed error, nothing left on the GPU, and the next call as if nothing had been. */
export async function abortsCleanly(pipe: Pipeline, options: object): Promise<void> {
  const before = await heldBy(device);
  const calls = { ...options, outputType: 'latent' as const };
  const want = await pipe(calls);
  const stop = new AbortController();
  let steps = 0;
  const onStep = () => {
    steps++;
    stop.abort();
  };
  expect(await failure(pipe({ ...calls, onStep, signal: stop.signal }))).toBeInstanceOf(AbortedError);
  expect(steps).toBe(1);
  expect(await heldBy(device)).toEqual(before);
  expect((await pipe(calls)).latents).toEqual(want.latents);
}
