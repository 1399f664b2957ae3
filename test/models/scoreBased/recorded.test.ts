/** Score-based networks in their own layouts and the trajectories over them, against what the original code gave. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { runOriginalCase } from '../../../src/node/parity/original/index.ts';
import { pathDirectory } from '../../../src/node/fileSource.ts';
import { adapters, isFullRun } from '../../support/gpu.ts';
import { openDevice } from '../../support/runGraph.ts';
import { fixturesPath } from '../fixtures.ts';

const PATTERN =
  /^(d-(edm|abl|iddpm|ve|vp)-(?!grids)|e-sde-(ncsnpp|ddpmpp|pc-ncsnpp|pc-ddpmpp|likelihood-ddpmpp)|e-ncsnv2-(forward|ald-net))/;
const CASES = readdirSync(join(fixturesPath, 'original')).filter((name) => PATTERN.test(name));
/** The same calls with other options, by the authors' code. */
const OPTIONS = readdirSync(join(fixturesPath, 'scoreBased')).filter((name) => !name.endsWith('.md'));

/** A minute each: hundreds of calls. */
const LONG = ['e-sde-likelihood-ddpmpp'];
/** lavapipe compiles slowly: one of each kind there. */
const FEW = ['d-edm-adm-forward', 'd-ve-ncsnpp-forward', 'e-sde-ncsnpp-forward', 'e-ncsnv2-forward'];

function chosen(adapter: string, names: readonly string[]): readonly string[] {
  if (isFullRun) return names;
  return names.filter((name) => (adapter === 'swiftshader' ? !LONG.includes(name) : FEW.includes(name)));
}

async function run(adapter: string, folder: string, name: string): Promise<void> {
  const root = pathDirectory(join(fixturesPath, folder));
  const network = { root, name, device: () => openDevice(adapter), dtype: 'f32' } as const;
  const { error, tolerance } = await runOriginalCase(root.folder(name), network);
  if (process.env.SHOW) console.log(adapter, name, error, tolerance);
  expect(error).toBeLessThanOrEqual(tolerance);
}

test('every recording is here', () => {
  expect(CASES).toHaveLength(24);
  expect(OPTIONS).toHaveLength(15);
});

describe.each(adapters())('recorded on %s', (adapter) => {
  test.each(chosen(adapter, CASES))('%s', (name) => run(adapter, 'original', name));
  test.each(chosen(adapter, OPTIONS))('%s', (name) => run(adapter, 'scoreBased', name));
});
