import { describe, expect, test } from 'vitest';
import { reportPage } from '../../bench/report/html.ts';
import { fillDocument } from '../../bench/report/markdown.ts';
import { PUBLISHED } from '../../bench/models/published.ts';
import { mergeReports } from '../../bench/report/merge.ts';
import { planRows } from '../../bench/report/plans.ts';
import { summarise } from '../../bench/report/summary.ts';
import { caseRows } from '../../bench/report/tables.ts';
import { reportTable } from '../../bench/table.ts';
import { InvalidArgumentError } from '../../src/engine/errors.ts';
import { expectClose, F64 } from '../support/close.ts';
import { peerResult, report, result } from './reports.ts';

const roofline = { fmaGflops: 100, copyGbps: 20 };

describe('reports put together', () => {
  test('hold every case once, the later one', () => {
    const a = report({ roofline, results: [result({ ms: 1 }), result({ name: 'conv2d/b' })] });
    const b = report({ commit: '89abcde', roofline: { ...roofline, fmaGflops: 120 }, results: [result({ ms: 2 })] });
    const merged = mergeReports([a, b]);
    expect(merged.results.map((r) => [r.name, r.ms])).toEqual([
      ['matmul/a', 2],
      ['conv2d/b', 10],
    ]);
    expect(merged.commit).toBe('0123456, 89abcde');
    expect(merged.results.map((r) => r.commit)).toEqual(['89abcde', '0123456']);
    expect(caseRows(merged, 'kernels').map((row) => row.at(-1))).toEqual(['commit', '89abcde', '0123456']);
    expectClose([merged.roofline!.fmaGflops], [110], F64);
  });

  test('forget failures of what was measured after all', () => {
    const failure = { suite: 'kernels', name: 'matmul/a', dtype: 'f32', message: 'busy' } as const;
    const other = { ...failure, name: 'matmul/c' };
    const merged = mergeReports([report({ failures: [failure, other] }), report({ results: [result({})] })]);
    expect(merged.failures).toEqual([other]);
  });

  test('must be of one adapter', () => {
    expect(() => mergeReports([report({}), report({ adapter: 'another' })])).toThrow(InvalidArgumentError);
    expect(() => mergeReports([])).toThrow(/at least one/);
  });
});

describe('a summary', () => {
  const results = [
    result({ peers: [peerResult({ ratio: 2 })] }),
    result({ name: 'matmul/b', peers: [peerResult({ ratio: 8 })] }),
    result({
      name: 'conv2d/c',
      peers: [peerResult({ ratio: 4 }), peerResult({ name: 'tfjs', ratio: 9, maxError: 3 })],
    }),
  ];

  test('has geometric means by group and suite, and the least', () => {
    const [ort] = summarise(report({ results }));
    expect(ort.groups.map((g) => [g.group, g.count, g.least, g.leastCase])).toEqual([
      ['matmul', 2, 2, 'matmul/a'],
      ['conv2d', 1, 4, 'conv2d/c'],
    ]);
    expectClose([ort.groups[0].mean, ort.suites[0].mean], [4, 4], F64);
  });

  test('leaves out a peer that was wrong', () => {
    expect(summarise(report({ results }))[1]).toMatchObject({ name: 'tfjs', groups: [], suites: [] });
  });
});

describe('a document', () => {
  const results = [result({ peers: [peerResult({ ratio: 2 })] })];

  test('gets its tables between the marks, and keeps the rest', () => {
    const text = 'Before\n<!-- bench:a kernels -->\nold\n<!-- /bench -->\n<!-- bench:b kernels -->other<!-- /bench -->';
    const filled = fillDocument(text, 'a', report({ results }));
    expect(filled).toMatch(/^Before\n<!-- bench:a kernels -->\n\n\| case /);
    expect(filled).toContain('**× 2**');
    expect(filled).not.toContain('old');
    expect(filled).toContain('<!-- bench:b kernels -->other<!-- /bench -->');
    expect(fillDocument(filled, 'a', report({ results }))).toBe(filled);
  });

  test('says of models how long their first runs took, in the way that started fastest', () => {
    const others = [{ variant: 'fused', ms: 21, firstMs: 25 }];
    const model = result({ suite: 'models', name: 'a/b', firstMs: 50, peers: [peerResult({ firstMs: 30, others })] });
    const filled = fillDocument('<!-- bench:a models --><!-- /bench -->', 'a', report({ results: [model] }));
    expect(filled).toContain('20 ms, **× 2**; first 25 ms, × 0.5');
  });

  test('says first how models and kernels stand, and leaves out whoever was wrong', () => {
    const cpu = peerResult({ name: 'onnxruntime-cpu', native: true, ms: 5, ratio: 0.5, firstMs: 25 });
    const model = result({ suite: 'models', name: 'a/b', firstMs: 50, peers: [peerResult({ firstMs: 100 }), cpu] });
    const wrong = peerResult({ name: 'tfjs', maxError: 2 });
    const results = [
      model,
      result({ suite: 'models', name: 'a/alone' }),
      result({ peers: [peerResult({ ratio: 2 }), wrong] }),
      result({ name: 'conv2d/b', peers: [peerResult({ ratio: 8 })] }),
    ];
    const filled = fillDocument('<!-- bench:a headline --><!-- /bench -->', 'a', report({ results }));
    expect(rowsOf(filled)).toEqual([
      '| case | type | Daguerre | onnxruntime 1 | onnxruntime-cpu 1 |',
      '| --- | ---: | ---: | ---: | ---: |',
      '| a/b | f32 | 10 ms | 20 ms, **× 2** | 5 ms, **× 0.5** |',
      '| its first run | f32 | 50 ms | 100 ms, × 2 | 25 ms, × 0.5 |',
      '| kernels, geometric mean |  |  | **× 4** over 2 | – |',
      '| kernels, the least |  |  | × 2: matmul/a | – |',
    ]);
  });

  const rowsOf = (text: string) => text.split('\n').filter((line) => line.startsWith('| '));

  test('states how others were set up, each once', () => {
    const peers = [peerResult({ variant: 'fused', settings: 'graph captured; result on the device' })];
    const filled = fillDocument(
      '<!-- bench:a settings --><!-- /bench -->',
      'a',
      report({ results: [result({ peers }), result({ name: 'b', peers })] }),
    );
    expect(rowsOf(filled).slice(2)).toEqual([
      expect.stringMatching(/^\| \S+ \S+ \| fused \| graph captured; result on the device \|$/),
    ]);
  });

  test('tells what the host does, of models', () => {
    const boundCost = { ratio: 1.02, low: 0.998, high: 1.041, pairs: 30 };
    const submitMs = { ms: 1.25, low: 1, high: 1.5, submits: 9 };
    const host = { encodeMs: 1, oneSubmitMs: 100, boundedMs: 103, submits: 2, boundCost, submitMs };
    const model = result({ suite: 'models', name: 'm', ms: 102, dispatches: 200, host });
    const few = { ...host, boundCost: { ...boundCost, low: null, high: null, pairs: 3 }, submitMs: null };
    const old = { encodeMs: 1, oneSubmitMs: 100 } as typeof host;
    const results = [model, result({ ...model, host: few }), result({ ...model, host: old }), result({})];
    const filled = fillDocument('<!-- bench:a host --><!-- /bench -->', 'a', report({ results }));
    expect(rowsOf(filled)).toEqual([
      '| case | type | disp. | encode, ms | each, µs | in one submit, ms | bounded, ms | submits | cost of bounds | with 95 % | pairs | a submit more, ms | with 95 % |',
      '| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |',
      '| m | f32 | 200 | 1 | 5 | 100 | 103 | 2 | 2.0 % | -0.2 % … 4.1 % | 30 | 1.25 | 1 … 1.5 |',
      '| m | f32 | 200 | 1 | 5 | 100 | 103 | 2 | 2.0 % | – | 3 | – | – |',
    ]);
  });

  test('tells what each rewrite gains', () => {
    const activations = { peakBytes: 2 ** 21, liveBytes: 2 ** 20 };
    const on = result({ suite: 'rewrites', name: 'a/b-1x8', dispatches: 7, activations });
    const gain = { against: 'a/b-1x8', ratio: 1.254, low: 1.2, high: 1.3, pairs: 15 };
    const off = result({ ...on, name: 'a/b-1x8 without fold-shift', ms: 12.5, gpuMs: null, dispatches: 9, gain });
    const again = result({
      ...on,
      name: 'a/b-1x8 once more',
      gain: { ...gain, ratio: 1.01, low: null, high: null, pairs: 3 },
    });
    const results = [on, off, again];
    const filled = fillDocument('<!-- bench:a rewrites --><!-- /bench -->', 'a', report({ results }));
    expect(rowsOf(filled)).toEqual([
      '| network | type | without | disp. | activations, MiB | held, MiB | ms | ±% | GPU ms | gain | with 95 % | pairs |',
      '| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |',
      '| a/b-1x8 | f32 | – | 7 | 2 | 1 | 10 | 2 | 8 |  |  |  |',
      '| a/b-1x8 | f32 | fold-shift | 9 | 2 | 1 | 12.5 | 2 | – | × 1.25 | 1.20 … 1.30 | 15 |',
      '| a/b-1x8 | f32 | –, once more | 7 | 2 | 1 | 10 | 2 | 8 | × 1.01 | – | 3 |',
    ]);
    expect(reportTable(report({ results: [on, off] }))).toMatch(/gain[\s\S]*fold-shift .* × 1.25\n/);
  });

  test('tells how long every way of computing takes', () => {
    const of = 'matmul/a';
    const suite = 'candidates';
    const usual = result({ suite, name: `${of} shared 3`, candidate: { of, way: 'shared 3', role: 'usual' } });
    const gain = { against: usual.name, ratio: 2.004, low: 1.9, high: 2.1, pairs: 15 };
    const plain = result({ suite, name: `${of} plain`, candidate: { of, way: 'plain', role: 'untried' }, gain });
    const shared = result({
      ...{ suite, name: `${of} shared 4`, candidate: { of, way: 'shared 4', role: 'tried' } },
      gain: { ...gain, ratio: 0.954, low: null, high: null, pairs: 3 },
    });
    const again = result({
      ...{ suite, name: `${of} shared 3 once more`, candidate: { of, way: 'shared 3 once more', role: 'usual' } },
      gain: { ...gain, ratio: 1.01, low: 0.99, high: 1.02 },
    });
    const f16 = result({ ...usual, dtype: 'f16', gpuMs: null });
    const results = [usual, plain, shared, again, f16];
    const filled = fillDocument('<!-- bench:a candidates --><!-- /bench -->', 'a', report({ results }));
    expect(rowsOf(filled)).toEqual([
      '| case | type | usual way | ms | ±% | GPU ms | once more | other ways, time over the usual |',
      '| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |',
      '| matmul/a | f32 | shared 3 | 10 | 2 | 8 | × 1.01 (0.99 … 1.02) | shared 4 × 0.95; plain, untried, × 2.00 (1.90 … 2.10) |',
      '| matmul/a | f16 | shared 3 | 10 | 2 | – |  |  |',
    ]);
    const lines = reportTable(report({ results: [usual, plain] })).split('\n');
    expect(lines[0]).toMatch(/disp\. +over usual$/);
    expect([lines[1], lines[2]].map((line) => line.split(/ {2,}/).at(-1))).toEqual(['usual', '× 2.00']);
  });

  test('without such marks, or with an unknown one, is refused', () => {
    expect(() => fillDocument('nothing', 'a', report({}))).toThrow(/<!-- bench:a summary -->/);
    expect(() => fillDocument('<!-- bench:a all --><!-- /bench -->', 'a', report({}))).toThrow(/got "all"/);
  });
});

describe('plans', () => {
  test('say of every published model what it takes', () => {
    const [head, ...rows] = planRows();
    expect(rows.map((row) => row[0])).toEqual(Object.values(PUBLISHED).map((model) => model.case));
    for (const row of rows) expect(row).toHaveLength(head.length);
    const unet = rows.find(([name]) => name.startsWith('cifar10'))!;
    expect(Number(unet[1])).toBeGreaterThan(50);
    expect(Number(unet.at(-1))).toBeGreaterThanOrEqual(1);
  });
});

describe('a page', () => {
  test('has plots, tables, and no script; what it quotes cannot become markup', async () => {
    const growth = { curve: 'conv', axis: 'side', theory: { time: 2, memory: 0 } };
    const results = [
      result({ peers: [peerResult({})] }),
      ...[1, 2, 4].map((x) => result({ suite: 'scaling', name: `conv/${x}`, ms: x ** 2, growth: { ...growth, x } })),
    ];
    const page = await reportPage(report({ adapter: 'a <b> & c', roofline, results }));
    expect(page).toContain('a &lt;b&gt; &amp; c');
    expect(page.match(/<svg/g)!.length).toBe(3);
    expect(page).toContain('<td>× 2</td>');
    expect(page).not.toContain('<script');
  });
});
