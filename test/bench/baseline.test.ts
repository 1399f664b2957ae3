import { describe, expect, test } from 'vitest';
import { compareReports } from '../../bench/baseline.ts';
import { readReport } from '../../bench/result.ts';
import { reportTable } from '../../bench/table.ts';
import { FormatError, InvalidArgumentError } from '../../src/engine/errors.ts';
import { peerResult, report, result } from './reports.ts';

const verdicts = (now: object, then: object) =>
  compareReports(report({ results: [result(now)] }), report({ results: [result(then)] })).changes.map((c) => c.verdict);

describe('a comparison with a baseline', () => {
  test.each([
    [10, 10, 'same'],
    [10.9, 10, 'same'],
    [11.2, 10, 'slower'],
    [10, 11.2, 'faster'],
    [20, 10, 'slower'],
  ])('calls %d ms after %d ms %s', (now, then, verdict) => {
    expect(verdicts({ ms: now }, { ms: then })).toEqual([verdict]);
  });

  test('counts no change below the spread of either run', () => {
    expect(verdicts({ ms: 13, spread: 0.4 }, { ms: 10 })).toEqual(['same']);
    expect(verdicts({ ms: 13 }, { ms: 10, spread: 0.4 })).toEqual(['same']);
    expect(verdicts({ ms: 15, spread: 0.4 }, { ms: 10, spread: 0.4 })).toEqual(['slower']);
  });

  test('pairs cases by suite, name and type, and leaves new ones out', () => {
    const now = report({
      results: [result({ dtype: 'f16', ms: 5 }), result({ ms: 7 }), result({ name: 'matmul/new' })],
    });
    const then = report({ results: [result({ ms: 7 }), result({ dtype: 'f16', ms: 50 })] });
    expect(compareReports(now, then).changes.map((c) => [c.name, c.dtype, c.verdict])).toEqual([
      ['matmul/a', 'f16', 'faster'],
      ['matmul/a', 'f32', 'same'],
    ]);
  });

  test('names what worked before and failed now', () => {
    const failure = { suite: 'kernels', name: 'matmul/a', dtype: 'f32', message: 'wrong' } as const;
    const { broken } = compareReports(report({ failures: [failure] }), report({ results: [result({})] }));
    expect(broken).toEqual(['kernels matmul/a f32']);
  });

  test.each([{ adapter: 'another' }, { host: 'chromium' as const }])('refuses a report of %j', (other) => {
    expect(() => compareReports(report({}), report(other))).toThrow(InvalidArgumentError);
  });
});

describe('reading a report', () => {
  test('gives back what was written', () => {
    const written = report({ results: [result({})] });
    expect(readReport(JSON.stringify(written), 'old.json')).toEqual(written);
  });

  test.each([
    ['no JSON', '{', /old\.json.*not JSON/],
    ['a list', '[]', /a report/],
    ['no adapter', JSON.stringify({ commit: 'x', host: 'node', results: [] }), /adapter/],
    ['no results', JSON.stringify({ ...report({}), results: undefined }), /results to be a list/],
    ['a nameless case', JSON.stringify(report({ results: [result({ name: undefined })] })), /results\[0\]\.name/],
    ['no time', JSON.stringify(report({ results: [result({}), result({ ms: NaN })] })), /results\[1\]\.ms/],
    ['an empty case', JSON.stringify({ ...report({}), results: [null] }), /results\[0\]/],
  ])('refuses %s', (_, text, message) => {
    expect(() => readReport(text, 'old.json')).toThrow(FormatError);
    expect(() => readReport(text, 'old.json')).toThrow(message);
  });
});

describe('the table', () => {
  const peers = [peerResult({ name: 'onnxruntime', ratio: 2 }), peerResult({ name: 'jax-js', ratio: 8 })];
  const text = reportTable(
    report({
      results: [result({ peers, gflops: null }), result({ name: 'matmul/longer-name', gpuMs: null })],
      failures: [{ suite: 'kernels', name: 'conv2d/b', dtype: 'f16', message: 'wrong result' }],
    }),
    [{ suite: 'kernels', name: 'matmul/a', dtype: 'f32', ratio: 1.5, verdict: 'slower' }],
  );
  const lines = text.split('\n');

  test('has a column per peer and one for the baseline', () => {
    expect(lines[0]).toMatch(/^case .*GFLOP\/s.*× onnxruntime +× jax-js +change$/);
    expect(lines[1]).toMatch(/ 2 +8 +× 1\.5 slower$/);
    expect(lines[2]).toMatch(/ – +– +new$/);
  });

  test('ends its columns under each other', () => {
    const column = lines[0].indexOf('type');
    for (const line of lines.slice(1, 3)) expect(line.slice(column, column + 3)).toBe('f32');
  });

  test('sums up peers, and names failures and where it ran', () => {
    expect(text).toContain('jax-js, kernels: its time over ours, geometric mean of 1: 8');
    expect(text).toContain('FAILED conv2d/b f16: wrong result');
    expect(lines.at(-1)).toBe('test adapter, node, commit 0123456: 2 measured, 1 failed');
  });
});
