import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { SHAPES } from '../../bench/kernels/shapes.ts';
import { PUBLISHED } from '../../bench/models/published.ts';
import { parseOptions } from '../../bench/options.ts';
import { GRACE_MS, LEAST_MS, runSlices, type Ended, type RunOptions } from '../../bench/pack/runSlices.ts';
import { allSlices } from '../../bench/pack/slices.ts';
import { selects } from '../../bench/select.ts';

const MINUTE = 60_000;
const [a, b, c] = ['a', 'b', 'c'].map((name) => ({ name, args: [] }));

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'daguerre-slices-'));
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
  rmSync(folder, { recursive: true, force: true });
});

/** How the bench would go: after some milliseconds, with a status, having written its report or not. */
interface Course {
  ms?: number;
  status?: number | null;
  said?: string;
  writes?: boolean;
  /** Heeds no request to stop. */
  deaf?: boolean;
}

async function run(courses: Record<string, Course>, options: Partial<RunOptions> = {}) {
  const begun: string[] = [];
  const running = runSlices([a, b, c], {
    ...{ folder, budgetMs: 9 * MINUTE, mostMs: 4 * MINUTE },
    start({ name }, file) {
      begun.push(name);
      const { ms = 10_000, status = 0, said = 'said', writes = true, deaf } = courses[name] ?? {};
      let end: (how: Ended) => void = () => {};
      const ended = new Promise<Ended>((resolve) => (end = resolve));
      const timer = setTimeout(() => {
        if (writes) writeFileSync(file, '{}');
        end({ status, said });
      }, ms);
      const stopped = (status: number | null) => {
        clearTimeout(timer);
        end({ status, said });
      };
      return { ended, stop: () => deaf || stopped(130), kill: () => stopped(null) };
    },
    ...options,
  });
  await vi.runAllTimersAsync();
  return { begun, states: Object.fromEntries(await running) };
}

describe('slices', () => {
  test('are done once, each with a report of its own', async () => {
    const first = await run({});
    expect(first.states).toEqual({ a: 'done', b: 'done', c: 'done' });
    expect(readdirSync(folder).sort()).toEqual(['a.json', 'b.json', 'c.json', 'log.txt']);
    const second = await run({});
    expect(second).toEqual({ begun: [], states: first.states });
  });

  test('that do not fit into the time are left for the next call', async () => {
    const slow = { ms: 200_000 };
    const first = await run({ a: slow, b: slow, c: slow }, { budgetMs: 400_000 + LEAST_MS / 2 });
    expect(first.states).toEqual({ a: 'done', b: 'done', c: 'left' });
    expect(first.begun).toEqual(['a', 'b']);
    expect((await run({ c: slow })).begun).toEqual(['c']);
  });

  test('that are cut off by the end of the time leave nothing, and come again', async () => {
    const slow = { ms: 200_000 };
    const first = await run({ a: slow, b: slow }, { budgetMs: 300_000 });
    expect(first.states).toEqual({ a: 'done', b: 'left', c: 'left' });
    expect(existsSync(join(folder, 'b.json'))).toBe(false);
    expect((await run({ b: slow })).states).toEqual({ a: 'done', b: 'done', c: 'done' });
  });

  test('that take longer than any may have failed, even when they heed nothing', async () => {
    const { states } = await run({ a: { ms: 100 * MINUTE, deaf: true } });
    expect(states).toEqual({ a: 'failed', b: 'done', c: 'done' });
    expect(readFileSync(join(folder, 'a.failed.txt'), 'utf8')).toMatch(/took longer than 4.0 minutes/);
    const short = await run({ a: { ms: 100 * MINUTE } }, { again: true, budgetMs: 2 * MINUTE });
    expect(short.states.a).toBe('failed');
  });

  test.each<[string, Course]>([
    ['crash', { status: null, writes: false }],
    ['end with an error before they measure', { status: 1, writes: false }],
  ])('that %s take no other along, and come again only when told', async (_, course) => {
    const first = await run({ b: { ...course, said: 'SIGSEGV' } });
    expect(first.states).toEqual({ a: 'done', b: 'failed', c: 'done' });
    expect(readFileSync(join(folder, 'b.failed.txt'), 'utf8')).toContain('SIGSEGV');
    expect((await run({})).begun).toEqual([]);
    const again = await run({}, { again: true });
    expect(again).toMatchObject({ begun: ['b'], states: { b: 'done' } });
    expect(existsSync(join(folder, 'b.failed.txt'))).toBe(false);
  });

  test('with a wrong case are done: the report says so', async () => {
    expect((await run({ a: { status: 1 } })).states.a).toBe('done');
  });

  test('of which the adapter gets no case are none, and are not tried again', async () => {
    const course = { status: 2, writes: false, said: 'error: --only: expected a pattern that fits some case, got "x"' };
    expect((await run({ a: course })).states).toEqual({ a: 'none', b: 'done', c: 'done' });
    expect((await run({})).begun).toEqual([]);
  });

  test('stop when they are told to', async () => {
    const controller = new AbortController();
    setTimeout(() => controller.abort(), 15_000);
    const { states, begun } = await run({}, { signal: controller.signal });
    expect(states).toEqual({ a: 'done', b: 'left', c: 'left' });
    expect(begun).toEqual(['a', 'b']);
  });

  test('end with the time of the call', async () => {
    const start = Date.now();
    await run({ a: { ms: 100 * MINUTE, deaf: true } }, { budgetMs: 3 * MINUTE });
    expect(Date.now() - start).toBeLessThanOrEqual(3 * MINUTE);
    expect(GRACE_MS).toBeLessThan(LEAST_MS);
  });
});

describe('all slices', () => {
  const slices = allSlices();
  const selections = slices.map(({ args }) => parseOptions(['--node', ...args], () => {}));

  test('have names of their own that can be files', () => {
    expect(new Set(slices.map(({ name }) => name)).size).toBe(slices.length);
    for (const { name } of slices) expect(name).toMatch(/^(models|kernels|candidates)-f(32|16)-[\w.-]*\w$/);
    expect(slices[0].name).toBe('models-f32-sd15-unet-2x64x64');
  });

  test.each(['f32', 'f16'] as const)('hold every kernel and model once in %s', (dtype) => {
    const names = [
      ...SHAPES.map(({ id, problem }) => ['kernels', `${problem.op}/${id}`] as const),
      ...Object.values(PUBLISHED).map((m) => ['models', m.case] as const),
      ...['emoji/unet-1x16x16', 'emoji-picture/20-steps'].map((name) => ['models', name] as const),
    ];
    for (const [suite, name] of names) {
      const c = { suite, name, dtype, flops: 1e12, bytes: 1e10 };
      expect([name, selections.filter((s) => selects(s, false, c)).length]).toEqual([name, 1]);
    }
    for (const { id, problem } of SHAPES) {
      const candidate = { of: `${problem.op}/${id}`, way: 'plain', role: 'tried' } as const;
      const name = `${candidate.of} plain`;
      const c = { suite: 'candidates', name, candidate, dtype, flops: 1e12, bytes: 1e10 } as const;
      expect([name, selections.filter((s) => selects(s, false, c)).length]).toEqual([name, 1]);
    }
  });
});
