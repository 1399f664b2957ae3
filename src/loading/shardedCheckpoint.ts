import { FormatError, NotFoundError } from '../engine/errors.ts';
import { Checkpoint, type CheckpointOptions } from './checkpoint.ts';
import { joinPath, normalisePath, type Directory } from './directory.ts';
import { isObject, kindOf } from './json.ts';
import type { ByteSource } from './source.ts';

/** Which shard holds which key, as `NAME.safetensors.index.json` says. */
export type WeightIndex = ReadonlyMap<string, string>;

/** Reads a shard index. @throws NotFoundError, FormatError */
export async function readIndex(directory: Directory, path: string, signal?: AbortSignal): Promise<WeightIndex> {
  const where = `index ${joinPath(directory.name, path)}`;
  const json = await directory.json(path, signal);
  const map = isObject(json) ? json['weight_map'] : undefined;
  if (!isObject(map)) {
    const got = isObject(json) ? kindOf(map) : kindOf(json);
    throw new FormatError(
      `${where}: expected an object with weight_map, got ${got}; this is not an index of safetensors shards`,
    );
  }
  const index = new Map<string, string>();
  for (const [key, shard] of Object.entries(map)) {
    if (typeof shard !== 'string' || !shard.endsWith('.safetensors') || !isInside(shard)) {
      throw new FormatError(
        `${where}: expected ${JSON.stringify(key)} to be in a .safetensors file of the folder, got ` +
          `${JSON.stringify(shard)}; convert the shards to safetensors, or write the index again`,
      );
    }
    index.set(key, shard);
  }
  return index;
}

/**
 * Opens every shard that an index names and checks that index and shards say the same.
 * @throws NotFoundError naming a shard that is missing and a key in it; FormatError when a key is where the index does
 * not say, or is not where it says
 */
export async function openSharded(
  directory: Directory,
  path: string,
  options: CheckpointOptions = {},
): Promise<Checkpoint> {
  const where = `index ${joinPath(directory.name, path)}`;
  const index = await readIndex(directory, path, options.signal);
  const firstKey = new Map<string, string>();
  for (const [key, shard] of index) if (!firstKey.has(shard)) firstKey.set(shard, key);
  // An index may lie in a folder below the directory; its shards lie beside it.
  const slash = path.lastIndexOf('/');
  const folder = slash < 0 ? directory : directory.folder(path.slice(0, slash));
  const sources = new Map<string, ByteSource>();
  try {
    for (const [shard, key] of firstKey) {
      try {
        sources.set(shard, await folder.open(shard, options.signal));
      } catch (cause) {
        if (!(cause instanceof NotFoundError)) throw cause;
        throw new NotFoundError(
          `${where}: expected the shard ${shard}, which holds ${key}, got none (${cause.message}); add the missing file`,
          { cause },
        );
      }
    }
    const checkpoint = await Checkpoint.open([...sources.values()], { signal: options.signal });
    checkAgainst(index, checkpoint, sources, where);
    return options.rename ? checkpoint.view(options.rename) : checkpoint;
  } catch (error) {
    for (const source of sources.values()) await source.close?.();
    throw error;
  }
}

function checkAgainst(
  index: WeightIndex,
  checkpoint: Checkpoint,
  sources: ReadonlyMap<string, ByteSource>,
  where: string,
): void {
  for (const [key, shard] of index) {
    const file = sources.get(shard)?.name;
    if (checkpoint.has(key) && checkpoint.info(key).file === file) continue;
    const got = checkpoint.has(key) ? `it in ${checkpoint.info(key).file}` : 'no such key in any shard';
    throw new FormatError(
      `${where}: expected ${key} in ${shard}, got ${got}; index and shards are of different checkpoints`,
    );
  }
  const extra = checkpoint.keys().find((key) => !index.has(key));
  if (extra !== undefined) {
    throw new FormatError(
      `${where}: expected every key of the shards in the index, got ${extra} only in ${checkpoint.info(extra).file}; ` +
        'index and shards are of different checkpoints',
    );
  }
}

function isInside(path: string): boolean {
  try {
    return normalisePath(path) === path;
  } catch {
    return false;
  }
}
