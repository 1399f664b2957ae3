/** A report as text. */
import type { Change } from './baseline.ts';
import type { BenchReport, BenchResult } from './result.ts';
import { geometricMean } from './statistics.ts';

/** Three significant digits, without an exponent. */
export function digits(value: number): string {
  if (!Number.isFinite(value)) return String(value);
  const whole = Math.abs(value) >= 100;
  return whole ? value.toFixed(0) : Number(value.toPrecision(3)).toString();
}

const mib = (bytes: number) => digits(bytes / 2 ** 20);
const or = (value: number | null) => (value === null ? '–' : digits(value));

/** One line per case, aligned; a column per peer, and one for the baseline where there is one. */
export function reportTable(report: BenchReport, changes: readonly Change[] = []): string {
  const { results, failures } = report;
  const peers = [...new Set(results.flatMap((r) => r.peers.map((p) => p.name)))];
  const changeOf = (r: BenchResult) =>
    changes.find((c) => c.suite === r.suite && c.name === r.name && c.dtype === r.dtype);
  const head = [
    'case',
    'type',
    'ms',
    '±%',
    'GPU ms',
    'first',
    'GFLOP/s',
    'GB/s',
    'MiB',
    'disp.',
    ...peers.map((p) => `× ${p}`),
  ];
  if (changes.length) head.push('change');
  const rows = results.map((r) => {
    const row = [
      r.name,
      r.dtype,
      digits(r.ms),
      (100 * r.spread).toFixed(0),
      or(r.gpuMs),
      digits(r.firstMs),
      or(r.gflops),
      or(r.gbps),
      mib(r.peakBytes),
      String(r.dispatches),
      ...peers.map((name) => or(r.peers.find((p) => p.name === name)?.ratio ?? null)),
    ];
    const change = changeOf(r);
    if (changes.length)
      row.push(change ? `× ${digits(change.ratio)}${change.verdict === 'same' ? '' : ` ${change.verdict}`}` : 'new');
    return row;
  });
  const lines = align([head, ...rows]);
  for (const peer of peers) {
    const ratios = results.flatMap((r) => r.peers.filter((p) => p.name === peer).map((p) => p.ratio));
    lines.push(`${peer}: its time over ours, geometric mean of ${ratios.length}: ${digits(geometricMean(ratios))}`);
  }
  for (const f of failures) lines.push(`FAILED ${f.name} ${f.dtype}: ${f.message}`);
  lines.push(
    `${report.adapter}, ${report.host}, commit ${report.commit}: ${results.length} measured, ${failures.length} failed`,
  );
  return lines.join('\n');
}

/** Columns padded to their widest cell; the first two to the left, numbers to the right. */
function align(rows: readonly string[][]): string[] {
  const widths = rows[0].map((_, i) => Math.max(...rows.map((row) => [...(row[i] ?? '')].length)));
  return rows.map((row) =>
    row
      .map((cell, i) => (i < 2 ? cell.padEnd(widths[i]) : cell.padStart(widths[i])))
      .join('  ')
      .trimEnd(),
  );
}
