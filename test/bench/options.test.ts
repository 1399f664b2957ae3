import { CommanderError } from 'commander';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { parseOptions } from '../../bench/options.ts';
import { fits, selects, SOFTWARE_FLOPS, type Selectable, type Selection } from '../../bench/select.ts';
import { UsageError } from '../../src/node/cli/exit.ts';

const parse = (line: string) => parseOptions(line.split(' ').filter(Boolean), () => {});

afterEach(() => vi.unstubAllEnvs());

describe('options', () => {
  test('default to everything, in f32, in headless Chromium on its software adapter', () => {
    expect(parse('')).toEqual({
      host: 'chromium',
      adapter: 'swiftshader',
      suites: ['kernels', 'models', 'scaling', 'rewrites', 'candidates'],
      only: undefined,
      dtypes: ['f32'],
      reps: 15,
      budgetMs: 10_000,
      peers: undefined,
      variants: undefined,
      tune: true,
      quick: false,
      json: undefined,
      html: undefined,
      baseline: undefined,
    });
  });

  test('are all read', () => {
    const line = '--node --adapter lavapipe --suite kernels --only conv2d --dtype both --reps 5 --budget 60 --quick';
    expect(
      parse(`${line} --peers onnxruntime,tfjs --variants fused* --json out.json --html out.html --baseline old.json`),
    ).toEqual({
      host: 'node',
      adapter: 'lavapipe',
      suites: ['kernels'],
      only: 'conv2d',
      dtypes: ['f32', 'f16'],
      reps: 5,
      budgetMs: 60_000,
      peers: ['onnxruntime', 'tfjs'],
      variants: 'fused*',
      tune: false,
      quick: true,
      json: 'out.json',
      html: 'out.html',
      baseline: 'old.json',
    });
  });

  test('in Node take the adapter that the environment names, else any', () => {
    vi.stubEnv('DAGUERRE_ADAPTER', '');
    expect(parse('--node').adapter).toBe('auto');
    vi.stubEnv('DAGUERRE_ADAPTER', 'lavapipe');
    expect(parse('--node').adapter).toBe('lavapipe');
  });

  test.each([
    ['--suite everything', /--suite: expected kernels or models or scaling or rewrites or candidates or all/],
    ['--dtype f64', /--dtype/],
    ['--reps 2', /--reps: expected a whole number from 3/],
    ['--reps many', /--reps/],
    ['--adapter lavapipe', /--adapter: expected swiftshader or hardware in Chromium.*--node/],
  ])('refuse %s', (line, message) => {
    expect(() => parse(line)).toThrow(UsageError);
    expect(() => parse(line)).toThrow(message);
  });

  test.each(['--rep 5', 'kernels', '--json'])('refuse %s, which is none', (line) => {
    expect(() => parse(line)).toThrow(CommanderError);
  });
});

describe('a pattern', () => {
  test.each([
    ['*', 'anything', true],
    ['conv2d/*', 'conv2d/sd15-64x64x4-320', true],
    ['conv2d/*', 'matmul/conv2d/', false],
    ['*sd15*', 'conv2d/sd15-64x64x4-320', true],
    ['cube-?x?x?', 'cube-1x2x3', true],
    ['cube-?x?x?', 'cube-64x64x64', false],
    ['a.c', 'abc', false],
    ['(', '(', true],
    ['CUBE*', 'cube-1', true],
  ])('%s on %s: %s', (pattern, text, expected) => {
    expect(fits(pattern, text)).toBe(expected);
  });
});

describe('selection', () => {
  const all: Selection = { suites: ['kernels', 'models', 'scaling'], dtypes: ['f32', 'f16'], reps: 9, quick: false };
  const small = { suite: 'kernels', name: 'matmul/a', dtype: 'f32', flops: 1e6, bytes: 1e6 } as const;
  const large = { ...small, name: 'matmul/b', flops: 2 * SOFTWARE_FLOPS };

  test('leaves large kernels to hardware, unless one is asked for by name', () => {
    expect(selects(all, true, small)).toBe(true);
    expect(selects(all, true, large)).toBe(false);
    expect(selects(all, false, large)).toBe(true);
    expect(selects({ ...all, only: 'matmul/b' }, true, large)).toBe(true);
    expect(selects({ ...all, only: 'matmul/*' }, true, large)).toBe(false);
  });

  test('goes by suite, type, name, group and shape', () => {
    expect(selects({ ...all, suites: ['models'] }, true, small)).toBe(false);
    expect(selects({ ...all, dtypes: ['f16'] }, true, small)).toBe(false);
    for (const only of ['matmul', 'a', 'matmul/a', 'm*']) expect(selects({ ...all, only }, true, small)).toBe(true);
    expect(selects({ ...all, only: 'conv2d' }, true, small)).toBe(false);
    expect(selects({ ...all, only: 'conv2d,matmul/a' }, true, small)).toBe(true);
    expect(selects({ ...all, only: 'conv2d,matmul/b' }, true, large)).toBe(true);
  });

  test('takes all ways of a kernel that is named, and a slow one on a processor only by its own full name', () => {
    const suites = ['candidates'] as const;
    const candidate = { of: 'matmul/b', way: 'tile 64', role: 'tried' } as const;
    const tile = { ...large, suite: 'candidates', name: 'matmul/b tile 64', candidate } as const;
    const takes = (only: string, c: Selectable = tile) => selects({ ...all, suites, only }, true, c);
    expect(takes('matmul')).toBe(false);
    expect(['matmul', 'b', 'm*'].map((only) => takes(only, { ...tile, flops: 1e6 }))).toEqual([true, true, true]);
    expect(['matmul/b', 'matmul/b tile 64'].map((only) => takes(only))).toEqual([true, true]);
    const slow = { ...tile, slow: true };
    expect(['matmul/b', '*tile 64', 'matmul/b tile 64'].map((only) => takes(only, slow))).toEqual([false, false, true]);
    expect(selects({ ...all, suites }, false, slow)).toBe(true);
  });

  test('when quick, takes the small ones only', () => {
    expect(selects({ ...all, quick: true }, true, small)).toBe(false);
    expect(selects({ ...all, quick: true }, true, { ...small, quick: true })).toBe(true);
  });
});
