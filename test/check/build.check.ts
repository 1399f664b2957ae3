/** What `npm run build` leaves, as `npx daguerre` meets it. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { packageRoot } from '../../src/node/setup/cacheFolder.ts';

it.runIf(process.platform !== 'win32')('builds a command that can be run as it is', () => {
  const root = packageRoot();
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
  const { error, stdout } = spawnSync(join(root, 'dist', 'cli.js'), ['--version'], { encoding: 'utf8' });
  expect(error).toBeUndefined();
  expect(stdout.trim()).toBe(version);
});
