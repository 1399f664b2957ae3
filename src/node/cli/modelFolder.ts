import { existsSync, statSync } from 'node:fs';
import type { ByteSource, Directory } from '../../loading/index.ts';
import { resolveSource } from '../../pipelines/index.ts';
import { resolveFile } from '../../pipelines/source/singleFileSource.ts';
import { FileSource, pathDirectory } from '../fileSource.ts';

const WEIGHTS = /\.(safetensors|ckpt|pt|pth|bin|pkl)$/i;

/** What a text that names a place here stands for; undefined for a hub name or a URL. */
function local(name: string): Directory | ByteSource | undefined {
  if (!existsSync(name) && !/^([./~]|[A-Za-z]:[/\\])/.test(name)) return undefined;
  const info = statSync(name, { throwIfNoEntry: false });
  const isFile = info ? info.isFile() : WEIGHTS.test(name);
  return isFile ? new FileSource(name) : pathDirectory(name);
}

/** The model that a path, a URL or a hub name stands for: a folder, or a checkpoint in one file. */
export function openModelSource(model: string): { folder: Directory } | { file: ByteSource } {
  const file = resolveFile(model, { local });
  return file ? { file } : { folder: resolveSource(model, { local }) };
}
