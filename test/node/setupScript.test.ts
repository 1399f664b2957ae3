import { mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { buildIsCurrent, checkNode, packagesAreCurrent } from '../../scripts/setup.mjs';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'daguerre-script-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function write(name: string, content: unknown, seconds = 0): void {
  const file = join(folder, name);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, JSON.stringify(content));
  // Times are set, not waited for; the folder's own time counts too.
  for (const path of [file, dirname(file)]) utimesSync(path, 1000 + seconds, 1000 + seconds);
}

const LOCK = {
  packages: {
    '': { version: '1.0.0' },
    'node_modules/a': { version: '1.0.0' },
    'node_modules/for-another-system': { version: '2.0.0', optional: true },
  },
};

test('Node too old is told with what to do', () => {
  expect(checkNode('20.18.9')).toMatch(/needs Node 20\.19 or newer, and this is 20\.18\.9; install/);
  expect(checkNode('20.19.0')).toBeUndefined();
  expect(checkNode('24.1.0')).toBeUndefined();
});

test('packages: absent, current, other version, missing one', () => {
  write('package-lock.json', LOCK);
  expect(packagesAreCurrent(folder)).toBe(false);
  write('node_modules/.package-lock.json', { packages: { 'node_modules/a': { version: '1.0.0' } } });
  expect(packagesAreCurrent(folder)).toBe(true);
  write('node_modules/.package-lock.json', { packages: { 'node_modules/a': { version: '0.9.0' } } });
  expect(packagesAreCurrent(folder)).toBe(false);
  write('node_modules/.package-lock.json', { packages: {} });
  expect(packagesAreCurrent(folder)).toBe(false);
});

test('build: absent, current, older than a source, incomplete', () => {
  write('src/engine/a.ts', 0, 0);
  utimesSync(join(folder, 'src'), 1000, 1000);
  expect(buildIsCurrent(folder)).toBe(false);
  for (const name of ['index.js', 'node.js', 'cli.js', 'demo/index.html']) write(`dist/${name}`, 0, 10);
  expect(buildIsCurrent(folder)).toBe(true);
  write('src/engine/a.ts', 1, 20);
  expect(buildIsCurrent(folder)).toBe(false);
  write('dist/index.js', 1, 30);
  expect(buildIsCurrent(folder)).toBe(false);
});
