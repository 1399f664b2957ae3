/** docs/samplers.md keeps up with the methods: tables, pictures and links. `npm run plots` writes the first two. */
import { existsSync, readFileSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { expectClose, ORDER_SLOPE } from '../../support/close.ts';
import { FLOWS } from './flows.ts';
import { METHODS } from './methods.ts';
import { STOCHASTIC } from './stochastic.ts';

const file = fileURLToPath(new URL('../../../docs/samplers.md', import.meta.url));
const text = readFileSync(file, 'utf8');
const rows = text
  .split('\n')
  .filter((line) => line.startsWith('| '))
  .map((line) => line.slice(2, -2).split(' | '));

/** Pictures in the repository are kept small. */
const LARGEST_PICTURE = 150 * 1024;

describe('docs/samplers.md', () => {
  test.each([...METHODS, ...FLOWS].map((m) => [m.name, m.order] as const))('%s has its orders', (name, order) => {
    const row = rows.find(([first]) => first === name);
    expect(row, 'no row: npm run plots -- tables').toBeDefined();
    expectClose(row!.slice(3, 5).map(Number), [order, order], ORDER_SLOPE, name);
  });

  test.each(STOCHASTIC.map((m) => [m.name, m] as const))('%s has its orders', (name, { weak, strong }) => {
    const row = rows.find(([first]) => first === name);
    expect(row, 'no row: npm run plots -- tables').toBeDefined();
    expectClose([row![3], row![5]].map(Number), [weak, strong], ORDER_SLOPE, name);
  });

  test('links and pictures are there, pictures are small', () => {
    const targets = [...text.matchAll(/\]\((?!https?:|#)([^)\s]+)\)/g)].map(([, path]) => join(dirname(file), path));
    expect(targets.length).toBeGreaterThan(0);
    expect(targets.filter((path) => !existsSync(path))).toEqual([]);
    const pictures = targets.filter((path) => path.endsWith('.svg'));
    expect(pictures.filter((path) => statSync(path).size > LARGEST_PICTURE)).toEqual([]);
  });
});
