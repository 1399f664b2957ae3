import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, test, vi } from 'vitest';
import { DEFAULT_LIMITS, doctor, isNodeSupported } from '../../src/node/doctor.ts';
import { formatReport } from '../../src/node/doctorText.ts';

let folder = '';
afterEach(() => {
  vi.unstubAllEnvs();
  if (folder) rmSync(folder, { recursive: true, force: true });
});

test('tells adapters, drivers, features and limits of this machine', async () => {
  const report = await doctor();
  const lavapipe = report.adapters.find((adapter) => adapter.name === 'lavapipe')!;
  expect(lavapipe).toMatchObject({ available: true, isFallback: true, backend: 'Vulkan' });
  expect(lavapipe.driver).toMatch(/Mesa \d+/);
  expect(lavapipe.features).toContain('shader-f16');
  expect(lavapipe.limits).toHaveLength(Object.keys(DEFAULT_LIMITS).length);
  for (const { name, offered, standard } of lavapipe.limits) expect(offered, name).toBeGreaterThanOrEqual(standard);
  const text = formatReport(report);
  expect(text).toMatch(/lavapipe: mesa/);
  expect(text).toMatch(/\+shader-f16/);
  expect(text).toMatch(/maxStorageBufferBindingSize +128 MiB \(128 MiB\)/);
  expect(text).toContain(`node      ${process.versions.node}`);
});

test('an empty cache is told with one command per missing thing, and nothing is fetched', async () => {
  folder = mkdtempSync(join(tmpdir(), 'daguerre-doctor-'));
  vi.stubEnv('DAGUERRE_CACHE', folder);
  const report = await doctor();
  expect(report.cache).toMatchObject({ folder, components: [] });
  for (const problem of report.problems) expect(problem.command).not.toBe('');
  const swiftshader = report.problems.find((problem) => /SwiftShader/.test(problem.what));
  expect(swiftshader?.command).toMatch(/daguerre doctor --fetch|apt-get|puppeteer/);
  expect(formatReport(report)).toContain(swiftshader!.command);
});

test('with fetching forbidden the command is another', async () => {
  folder = mkdtempSync(join(tmpdir(), 'daguerre-doctor-'));
  vi.stubEnv('DAGUERRE_CACHE', folder);
  vi.stubEnv('DAGUERRE_NO_FETCH', '1');
  const { problems, adapters } = await doctor({ fetch: true });
  const problem = problems.find(({ what }) => /SwiftShader/.test(what));
  // An installed browser brings SwiftShader along, and copying that is no fetching.
  expect(problem === undefined).toBe(adapters.some(({ name, available }) => name === 'swiftshader' && available));
  for (const { what, command } of problems) {
    expect(what).toContain('DAGUERRE_NO_FETCH is set');
    expect(command).not.toMatch(/--fetch/);
  }
});

test('Node versions', () => {
  expect(['20.18.3', '20.19.0', '18.20.1', '22.0.0', '21.1.0'].map((v) => isNodeSupported(v))).toEqual([
    false,
    true,
    false,
    true,
    true,
  ]);
});
