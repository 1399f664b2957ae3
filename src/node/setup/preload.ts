import { existsSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { neededLibraries } from './elf.ts';

/** glibc's and musl's flag that keeps a library mapped when Node, which finds no addon in it, closes it again. */
const RTLD_NODELETE = 0x1000;

const preloaded = new Set<string>();

/**
 * Maps a shared library and everything it needs from `folders` into this process, so that a later `dlopen` by bare name
 * finds them. It stands in for LD_LIBRARY_PATH, which the dynamic linker reads only when a process starts.
 * @returns whether the library is there and all could be mapped.
 */
export function preload(name: string, folders: string[]): boolean {
  const file = folders.map((folder) => join(folder, name)).find((path) => existsSync(path));
  if (!file) return false;
  if (preloaded.has(file)) return true;
  preloaded.add(file);
  for (const needed of neededLibraries(file)) preload(needed, folders);
  try {
    process.dlopen({ exports: {} }, file, constants.dlopen.RTLD_LAZY | RTLD_NODELETE);
    return true;
  } catch (error) {
    // Node complains that a plain library is no addon, after having mapped it: that is what we wanted.
    return /did not self-register/.test((error as Error).message);
  }
}
