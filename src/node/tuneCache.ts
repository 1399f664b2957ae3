/** Measurements of the tuner in files, one for each adapter. */
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { TuneStore } from '../engine/index.ts';
import { cacheFolder } from './setup/cacheFolder.ts';

/** A store in a folder; default: `tuning` in the folder that holds fetched adapters. */
export function fileTuneStore(folder = join(cacheFolder(), 'tuning')): TuneStore {
  const fileOf = (name: string) => join(folder, `${name}.json`);
  return {
    async read(name) {
      try {
        return await readFile(fileOf(name), 'utf8');
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
        throw error;
      }
    },
    async write(name, text) {
      await mkdir(folder, { recursive: true });
      // Another process may read at any time: it must find the old file or the new one, never half of one.
      const temporary = `${fileOf(name)}.${process.pid}`;
      await writeFile(temporary, text);
      await rename(temporary, fileOf(name));
    },
  };
}
