import { build } from 'vite';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { runBench, type RunBenchOptions } from '../../bench/index.ts';
import { main } from '../../bench/main.ts';
import { readReport } from '../../bench/result.ts';
import { NotFoundError } from '../../src/engine/errors.ts';

const folder = mkdtempSync(join(tmpdir(), 'daguerre-bench-'));
const small = {
  suites: ['kernels'],
  only: 'matmul/cube-64*',
  dtypes: ['f32'],
  reps: 3,
  quick: true,
  peers: [],
} as const;

afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** What issues and tools read from the file; null where an adapter has no timestamps. */
const matmul = {
  suite: 'kernels',
  name: 'matmul/cube-64x64x64',
  dtype: 'f32',
  ms: expect.any(Number),
  firstMs: expect.any(Number),
  gflops: expect.any(Number),
  gbps: expect.any(Number),
  peakBytes: expect.any(Number),
  dispatches: 1,
  peers: [],
};

async function check(options: RunBenchOptions, adapter: RegExp) {
  const report = await runBench(options);
  expect(report.failures).toEqual([]);
  expect(report.results).toMatchObject([matmul]);
  expect(report.results[0]).toHaveProperty('gpuMs');
  expect(report.results[0].maxError).toBeLessThan(1);
  expect(report.adapter).toMatch(adapter);
  expect(report.commit).toMatch(/^([0-9a-f]{7,}\+?|v\d.*)$/);
  // Operands and result, once each: three squares and a bias.
  expect(report.results[0].peakBytes).toBeGreaterThanOrEqual(4 * (3 * 64 * 64 + 64));
}

describe('the bench', () => {
  test('checks and measures in Node on lavapipe', async () => {
    await check({ ...small, host: 'node', adapter: 'lavapipe' }, /llvmpipe/);
  });

  test('checks and measures in headless Chromium', async () => {
    const outDir = join(folder, 'page');
    await build({ configFile: 'bench/vite.config.ts', mode: 'page', build: { outDir, emptyOutDir: true } });
    await check({ ...small, host: 'chromium', adapter: 'swiftshader', page: outDir }, /swiftshader/i);
  }, 600_000);

  test('keeps what was measured when it is stopped', async () => {
    const controller = new AbortController();
    const note = (line: string) => {
      if (line.startsWith('layerNorm')) controller.abort();
    };
    const options = { ...small, only: undefined, host: 'node', adapter: 'lavapipe' } as const;
    const report = await runBench({ ...options, signal: controller.signal, note });
    expect(report.stopped).toBe(true);
    expect(report.results.map((r) => r.name)).toEqual(
      expect.arrayContaining([expect.stringMatching(/^matmul/), expect.stringMatching(/^conv2d/)]),
    );
    expect(report.results.some((r) => r.name.startsWith('layerNorm'))).toBe(false);
  });

  test('says how it is started where its page is not built', async () => {
    const options = { ...small, host: 'chromium', adapter: 'swiftshader', page: join(folder, 'nothing') } as const;
    await expect(runBench(options)).rejects.toThrow(NotFoundError);
    await expect(runBench(options)).rejects.toThrow(/npm run bench/);
  });
});

describe('the command', () => {
  const run = async (line: string) => {
    const out: string[] = [];
    const notes: string[] = [];
    const terminal = { out: (s: string) => out.push(s), note: (s: string) => notes.push(s), columns: 80 };
    const argv = [
      '--node',
      '--adapter',
      'lavapipe',
      '--suite',
      'kernels',
      '--only',
      'matmul/cube-64*',
      '--quick',
      '--peers',
      'none',
    ];
    const status = await main([...argv, ...line.split(' ').filter(Boolean)], terminal);
    return { status, out: out.join('\n'), notes: notes.join('\n') };
  };
  const json = join(folder, 'report.json');

  beforeAll(async () => {
    expect((await run(`--json ${json}`)).status).toBe(0);
  });

  test('writes a report that it can read again', () => {
    expect(readReport(readFileSync(json, 'utf8'), json).results).toMatchObject([matmul]);
  });

  test('ends with status 1 where a case became slower than the baseline', async () => {
    const report = readReport(readFileSync(json, 'utf8'), json);
    for (const r of report.results) Object.assign(r, { ms: 1e-6, spread: 0 });
    const fast = join(folder, 'fast.json');
    writeFileSync(fast, JSON.stringify(report));
    const { status, out, notes } = await run(`--baseline ${fast}`);
    expect(status).toBe(1);
    expect(out).toMatch(/slower/);
    expect(notes).toMatch(/slower than the baseline: matmul\/cube-64x64x64 f32/);
  });

  test.each([
    ['--only nothing', /--only/],
    [`--reps 0`, /--reps/],
    ['--no-such-option', /no-such-option/],
  ])('ends with status 2 at %s', async (line, message) => {
    const { status, notes } = await run(line);
    expect(status).toBe(2);
    expect(notes).toMatch(message);
    expect(notes).not.toMatch(/daguerre COMMAND/);
  });

  test('ends with status 1 at a baseline that is not there, before measuring', async () => {
    const { status, notes } = await run(`--baseline ${join(folder, 'none.json')}`);
    expect(status).toBe(1);
    expect(notes).toMatch(/none\.json/);
    expect(notes).not.toMatch(/matmul/);
  });
});
