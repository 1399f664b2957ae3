/** Weights of cases recorded from original research code: several files, of which a model takes what it knows. */
import { FormatError } from '../../../engine/errors.ts';
import { formatShape, type Device } from '../../../engine/index.ts';
import { Checkpoint } from '../../../loading/checkpoint.ts';
import type { Directory } from '../../../loading/directory.ts';
import { readHeader, type TensorEntry } from '../../../loading/safetensors.ts';
import { MemorySource } from '../../../loading/source.ts';

/** What a case with a network is run with. */
export interface NetworkCase {
  /** The folder of the case. */
  readonly dir: Directory;
  /** The folder of all cases: weights may lie beside another case. */
  readonly root: Directory;
  /** The name of the case's folder in it. */
  readonly name: string;
  /** Opens the device. @throws AdapterError */
  device(): Promise<Device>;
  /** Storage of the network. */
  readonly dtype: 'f32' | 'f16';
}

/**
 * The weights of one network of a case: files in order, a later one overrides, and what has a name or shape that the
 * model does not want is left out. These recordings were made that way; the loader itself is never so lenient.
 * @param files relative to the case's folder
 * @param wanted every key with its shape
 * @throws NotFoundError, FormatError; a key that no file holds is missed when the model checks its keys
 */
export async function mergedWeights(
  { root, name }: Pick<NetworkCase, 'root' | 'name'>,
  files: readonly string[],
  wanted: ReadonlyMap<string, readonly number[]>,
): Promise<Checkpoint> {
  const found = new Map<string, { entry: TensorEntry; bytes: Uint8Array }>();
  for (const file of files) {
    const source = await root.open(pathOf(name, file));
    try {
      for (const [key, entry] of (await readHeader(source)).tensors) {
        const shape = wanted.get(key);
        if (!shape || formatShape(shape) !== formatShape(entry.shape)) continue;
        found.set(key, { entry, bytes: (await source.read(entry.start, entry.end)).slice() });
      }
    } finally {
      await source.close?.();
    }
  }
  return Checkpoint.open(new MemorySource(safetensorsOf(found), `${name}/weights`));
}

/**
 * Shapes in one of a case's files: where a recorded config leaves sizes to the weights. @throws NotFoundError,
 * FormatError
 */
export async function storedShapes(
  { root, name }: Pick<NetworkCase, 'root' | 'name'>,
  file: string,
): Promise<(key: string) => readonly number[]> {
  const source = await root.open(pathOf(name, file));
  try {
    const { tensors } = await readHeader(source);
    return (key) => {
      const found = tensors.get(key);
      if (found) return found.shape;
      throw new FormatError(`parity: expected ${key} in ${name}/${file}, got ${[...tensors.keys()].join(', ')}`);
    };
  } finally {
    await source.close?.();
  }
}

const pathOf = (name: string, file: string) => (file.startsWith('../') ? file.slice(3) : `${name}/${file}`);

function safetensorsOf(tensors: ReadonlyMap<string, { entry: TensorEntry; bytes: Uint8Array }>): Uint8Array {
  const header: Record<string, object> = {};
  let at = 0;
  for (const [key, { entry, bytes }] of tensors) {
    header[key] = { dtype: entry.dtype, shape: entry.shape, data_offsets: [at, (at += bytes.length)] };
  }
  const plain = JSON.stringify(header);
  const json = new TextEncoder().encode(plain.padEnd(8 * Math.ceil(plain.length / 8)));
  const file = new Uint8Array(8 + json.length + at);
  new DataView(file.buffer).setBigUint64(0, BigInt(json.length), true);
  file.set(json, 8);
  let into = 8 + json.length;
  for (const { bytes } of tensors.values()) {
    file.set(bytes, into);
    into += bytes.length;
  }
  return file;
}
