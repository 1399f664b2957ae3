/**
 * `npm run check`: types, lint without a warning, format, every kernel and variant compiled. Runs all, then reports.
 */
import { spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const bin = (name) => join(root, 'node_modules', name);
const steps = {
  types: [bin('typescript/bin/tsc'), '--noEmit'],
  'lint, import directions, cycles': [bin('eslint/bin/eslint.js'), '.', '--max-warnings', '0'],
  format: [bin('prettier/bin/prettier.cjs'), '--check', '.', '--log-level', 'warn'],
  kernels: [bin('vitest/vitest.mjs'), 'run', '--config', 'vitest.check.config.ts'],
};
const failed = [];
for (const [name, step] of Object.entries(steps)) {
  console.log(`check: ${name}`);
  if (spawnSync(process.execPath, step, { cwd: root, stdio: 'inherit' }).status !== 0) failed.push(name);
}
console.log(failed.length ? `check: failed: ${failed.join('; ')}` : 'check: all good');
process.exit(failed.length ? 1 : 0);
