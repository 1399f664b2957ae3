/** Builds the library, its declarations and the demo into dist/. */
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const bin = (name) => join(root, 'node_modules', name);
const vite = bin('vite/bin/vite.js');
const steps = [
  [vite, 'build', '--logLevel', 'warn'],
  [bin('typescript/bin/tsc'), '-p', 'tsconfig.build.json'],
];
if (existsSync(join(root, 'demo/vite.config.ts'))) {
  steps.push([vite, 'build', '--config', 'demo/vite.config.ts', '--logLevel', 'warn']);
}

rmSync(join(root, 'dist'), { recursive: true, force: true });
for (const step of steps) {
  const { status } = spawnSync(process.execPath, step, { cwd: root, stdio: ['ignore', 2, 2] });
  if (status !== 0) process.exit(status ?? 1);
}
// npm makes the command executable when it installs, and `npx daguerre` runs what a later build has put in its place.
chmodSync(join(root, 'dist', 'cli.js'), 0o755);
