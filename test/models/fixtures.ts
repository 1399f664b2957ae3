/** Recorded models as directories, and copies of them with one thing changed. */
import { fileURLToPath } from 'node:url';
import { Checkpoint, filesDirectory, type Directory } from '../../src/loading/index.ts';
import { pathDirectory } from '../../src/node/fileSource.ts';
import { file, type Tensor } from '../loading/files.ts';

const WEIGHTS = 'diffusion_pytorch_model.safetensors';

export const fixturesPath = fileURLToPath(new URL('../fixtures', import.meta.url));

export const fixture = (name: string): Directory => pathDirectory(fixturesPath).folder(name);

type Change<T> = (value: T) => void;

/** The tensors of a recorded model, as stored. */
export async function tensorsOf(name: string, weightFile = WEIGHTS): Promise<Record<string, Tensor>> {
  const checkpoint = await Checkpoint.open(await fixture(name).open(weightFile));
  const tensors: Record<string, Tensor> = {};
  for (const key of checkpoint.keys()) {
    const { dtype, shape } = checkpoint.info(key);
    tensors[key] = { dtype, shape: [...shape], bytes: await checkpoint.readRaw(key) };
  }
  await checkpoint.close();
  return tensors;
}

/** A copy in memory; `config` and `weights` may be changed in place. */
export async function changed(
  name: string,
  { config, weights }: { config?: Change<Record<string, unknown>>; weights?: Change<Record<string, Tensor>> },
  weightFile = WEIGHTS,
): Promise<Directory> {
  const json = (await fixture(name).json('config.json')) as Record<string, unknown>;
  config?.(json);
  const tensors = await tensorsOf(name, weightFile);
  weights?.(tensors);
  return filesDirectory(
    {
      'config.json': new Blob([JSON.stringify(json)]),
      [weightFile]: new Blob([file(tensors) as Uint8Array<ArrayBuffer>]),
    },
    name,
  );
}

/** The error that a promise ends in. */
export async function failure(promise: Promise<unknown>): Promise<Error> {
  try {
    await promise;
  } catch (error) {
    return error as Error;
  }
  throw new Error('expected a failure, got a result');
}
