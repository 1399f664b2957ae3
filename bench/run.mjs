/**
 * Builds the bench from its sources and runs it; as first argument `report` shows reports instead, `all` runs the whole
 * in slices, `commit` measures what a commit changed, `tune` what ships with the library. Plain JavaScript, because
 * Node 20 runs no TypeScript.
 */
import { mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const [, , first] = process.argv;
const command = ['report', 'all', 'commit', 'tune'].includes(first) ? first : 'bench';
const argv = process.argv.slice(command === 'bench' ? 2 : 3);
const { build } = await import('vite');
const here = process.cwd();
// Vite resolves the folders of its config against the working directory; file names among the options are the caller's.
process.chdir(root);
mkdirSync('.bench', { recursive: true });
const configFile = join(root, 'bench', 'vite.config.ts');
await build({ configFile, mode: 'node' });
if (command === 'bench' && !argv.includes('--node')) await build({ configFile, mode: 'page' });
process.chdir(here);
const { start } = await import(pathToFileURL(join(root, '.bench', 'node', 'main.js')).href);
await start(command, argv);
