import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, resolve, sep } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Folder of Daguerre's own package.json, above this file whether it runs from `src` or from the bundle in `dist`. */
export function packageRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  for (;;) {
    const file = join(folder, 'package.json');
    if (existsSync(file) && (JSON.parse(readFileSync(file, 'utf8')) as { name?: string }).name === 'daguerre') {
      return folder;
    }
    const parent = dirname(folder);
    if (parent === folder) return process.cwd();
    folder = parent;
  }
}

/**
 * Folder that holds fetched adapters and browsers: `DAGUERRE_CACHE`, else `.cache` in the project, else (installed as a
 * dependency) `node_modules/.cache/daguerre` of the project that installed it, which outlives a reinstall.
 */
export function cacheFolder(): string {
  const chosen = process.env.DAGUERRE_CACHE;
  if (chosen) return resolve(chosen);
  const root = packageRoot();
  const modules = `${sep}node_modules${sep}`;
  const at = root.lastIndexOf(modules);
  if (at < 0) return join(root, '.cache');
  return join(root.slice(0, at + modules.length), '.cache', 'daguerre');
}
