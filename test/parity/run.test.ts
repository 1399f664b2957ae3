/** The runner itself: what it lists, chooses, prints, and that a wrong result fails. */
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { AbortedError, FormatError, InvalidArgumentError, NotFoundError } from '../../src/engine/index.ts';
import { matchesGlob } from '../../src/node/parity/cases.ts';
import { runParity, type ParityResult } from '../../src/node/parity/run.ts';
import { failure, fixturesPath } from '../models/fixtures.ts';
import { HINT_FACTOR } from '../support/close.ts';
import { adapters } from '../support/gpu.ts';

const [adapter] = adapters();
const folder = await mkdtemp(join(tmpdir(), 'parity-'));
afterAll(() => rm(folder, { recursive: true }));

async function run(dir: string, options: Parameters<typeof runParity>[1] = {}) {
  const lines: string[] = [];
  const reasons: string[] = [];
  const report = await runParity(dir, {
    log: (line) => lines.push(line),
    warn: (line) => reasons.push(line),
    adapter,
    ...options,
  });
  return { ...report, lines, reasons };
}

const manifest = (cases: unknown) => writeFile(join(folder, 'manifest.json'), JSON.stringify(cases));

test.each([
  ['*', 'ddim_eta0', true],
  ['ddim_*', 'ddim_eta0', true],
  ['ddim_*', 'ddpm_eta0', false],
  ['dd?m_*', 'ddpm_eta0', true],
  ['ddim', 'ddim_eta0', false],
  ['a.c', 'abc', false],
  ['unet*, ddim_*', 'ddim_eta0', true],
])('%s chooses %s: %s', (glob, name, chosen) => {
  expect(matchesGlob(glob, name)).toBe(chosen);
});

test('every sampler and the noise, on the host', async () => {
  const json = join(folder, 'results.json');
  const { results, passed, failed, lines } = await run(fixturesPath, { only: 'dd*,torch_randn', json });
  expect(passed).toBeGreaterThan(12);
  expect(failed).toBe(0);
  expect(lines).toHaveLength(results.length + 1);
  expect(lines.at(-1)).toBe(`${passed} passed, 0 failed`);
  expect(lines[0]).toMatch(/^pass dd\w+ [\d.e-]+ [\d.e-]+$/);
  const written = JSON.parse(await readFile(json, 'utf8')) as ParityResult[];
  expect(written).toEqual(results);
  expect(Object.keys(written[0]).sort()).toEqual(['adapter', 'case', 'error', 'kind', 'status', 'tolerance']);
});

test('kinds that are not built are unsupported and count as failed', async () => {
  await manifest({
    cases: { hologram: { kind: 'hologram', tol_abs_hint: 1e-4 } },
    pipelines: { sd: { tol_abs_hint: 1 } },
    schedulers: {},
  });
  await mkdir(join(folder, 'sd'), { recursive: true });
  await writeFile(join(folder, 'sd', 'model_index.json'), JSON.stringify({ _class_name: 'HologramPipeline' }));
  const { results, failed, lines, reasons } = await run(folder);
  expect(failed).toBe(2);
  expect(results.map((r) => r.status)).toEqual(['unsupported', 'unsupported']);
  expect(results[0]).toMatchObject({ case: 'hologram', kind: 'hologram', error: null, tolerance: HINT_FACTOR * 1e-4 });
  expect(results[1]).toMatchObject({ case: 'sd', kind: 'pipeline', tolerance: HINT_FACTOR });
  expect(lines.at(-1)).toBe('0 passed, 2 failed');
  expect(reasons[0]).toMatch(/hologram.*not built/);
});

test('originals run by the call they recorded; an unknown call, with a network or without, is unsupported', async () => {
  const names = ['i-k-ode-euler', 'a-dit', 'b-adm'];
  await manifest({ format: 1, cases: names.map((name) => ({ case: name })) });
  await cp(join(fixturesPath, 'original', names[0]), join(folder, names[0]), { recursive: true });
  for (const [name, config] of [
    ['a-dit', { call: 'Elsewhere.forward', weights: { model: ['weights.safetensors'] } }],
    ['b-adm', { call: 'something else' }],
  ] as const) {
    await mkdir(join(folder, name));
    await writeFile(join(folder, name, 'config.json'), JSON.stringify(config));
  }
  const { results, lines, reasons } = await run(folder);
  expect(results.map((r) => r.status)).toEqual(['pass', 'unsupported', 'unsupported']);
  expect(lines.at(-1)).toBe('1 passed, 2 failed');
  expect(reasons).toEqual([expect.stringMatching(/a-dit.*is built/), expect.stringMatching(/b-adm.*is built/)]);
});

test('a model that computes something else fails, and one that cannot run does not stop the others', async () => {
  const name = 'unet2d_eps_f16';
  const entry = { kind: 'unet2d', tol_abs_hint: 6e-5 };
  await manifest({ cases: { [name]: entry, gone: entry } });
  await cp(join(fixturesPath, name), join(folder, name), { recursive: true });
  expect((await run(folder, { only: name })).results[0]).toMatchObject({ status: 'pass', adapter });
  const config = join(folder, name, 'config.json');
  await writeFile(config, (await readFile(config, 'utf8')).replace('"norm_eps": 1e-06', '"norm_eps": 1e-05'));
  const { results, failed, reasons } = await run(folder);
  expect(failed).toBe(2);
  expect(results[0].status).toBe('fail');
  expect(results[0].error).toBeGreaterThan(results[0].tolerance!);
  expect(results[1]).toMatchObject({ status: 'fail', error: null });
  expect(reasons).toHaveLength(1);
});

test('folders without cases, patterns without matches, an abort', async () => {
  await manifest([]);
  expect(await failure(run(folder))).toBeInstanceOf(FormatError);
  await manifest({ cases: { x: {} } });
  expect(await failure(run(folder))).toBeInstanceOf(FormatError);
  expect(await failure(run(join(folder, 'nowhere')))).toBeInstanceOf(NotFoundError);
  expect(await failure(run(fixturesPath, { only: 'nothing' }))).toBeInstanceOf(InvalidArgumentError);
  const aborted = run(fixturesPath, { only: 'dd*', signal: AbortSignal.abort() });
  expect(await failure(aborted)).toBeInstanceOf(AbortedError);
});
