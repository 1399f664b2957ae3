/** A report as text. */
import type { Change } from './baseline.ts';
import { describeOffers } from './offers.ts';
import { summarise } from './report/summary.ts';
import type { BenchReport, BenchResult } from './result.ts';

/** Three significant digits, without an exponent. */
export function digits(value: number): string {
  if (!Number.isFinite(value)) return String(value);
  const whole = Math.abs(value) >= 100;
  return whole ? value.toFixed(0) : Number(value.toPrecision(3)).toString();
}

const mib = (bytes: number) => digits(bytes / 2 ** 20);
const or = (value: number | null) => (value === null ? '–' : digits(value));

/** One row per case, the head first; a column per peer, and one for the baseline where there is one. */
export function reportRows({ results }: BenchReport, changes: readonly Change[] = []): string[][] {
  const peers = [...new Set(results.flatMap((r) => r.peers.map((p) => p.name)))];
  const changeOf = (r: BenchResult) =>
    changes.find((c) => c.suite === r.suite && c.name === r.name && c.dtype === r.dtype);
  const head = ['case', 'type', 'ms', '±%', 'GPU ms', 'first', 'GFLOP/s', 'GB/s', 'roof', 'MiB', 'disp.'];
  head.push(...peers.map((p) => `× ${p}`));
  const gains = results.some((r) => r.gain && !r.candidate);
  if (gains) head.push('gain');
  const candidates = results.some((r) => r.candidate);
  if (candidates) head.push('over usual');
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
      r.roof ? `${(100 * r.roof.fraction).toFixed(0)} %` : '–',
      mib(r.peakBytes),
      String(r.dispatches),
      ...peers.map((name) => ratioOf(r, name)),
    ];
    if (gains) row.push(r.gain && !r.candidate ? `× ${digits(r.gain.ratio)}` : '');
    if (candidates) row.push(r.candidate ? (r.gain ? `× ${r.gain.ratio.toFixed(2)}` : r.candidate.role) : '');
    const change = changeOf(r);
    if (changes.length)
      row.push(change ? `× ${digits(change.ratio)}${change.verdict === 'same' ? '' : ` ${change.verdict}`}` : 'new');
    return row;
  });
  return [head, ...rows];
}

/** A peer whose result was wrong has no ratio that means anything. */
function ratioOf(result: BenchResult, name: string): string {
  const peer = result.peers.find((p) => p.name === name);
  if (!peer) return '–';
  return peer.maxError <= 1 ? digits(peer.ratio) : 'wrong';
}

/** {@link reportRows} aligned, with what sums them up. */
export function reportTable(report: BenchReport, changes: readonly Change[] = []): string {
  const lines = align(reportRows(report, changes));
  for (const { name, native, suites } of summarise(report)) {
    for (const { suite, count, mean } of suites) {
      const where = native ? ', on the processor' : '';
      lines.push(`${name}${where}, ${suite}: its time over ours, geometric mean of ${count}: ${digits(mean)}`);
    }
  }
  for (const f of report.failures) lines.push(`FAILED ${f.name} ${f.dtype}: ${f.message}`);
  const { adapter, host, commit, results, failures } = report;
  lines.push(...[describeOffers(report)].filter(Boolean));
  lines.push(`${adapter}, ${host}, commit ${commit}: ${results.length} measured, ${failures.length} failed`);
  return lines.join('\n');
}

/** Columns padded to their widest cell; the first two to the left, numbers to the right. */
export function align(rows: readonly string[][]): string[] {
  const widths = rows[0].map((_, i) => Math.max(...rows.map((row) => [...(row[i] ?? '')].length)));
  return rows.map((row) =>
    row
      .map((cell, i) => (i < 2 ? cell.padEnd(widths[i]) : cell.padStart(widths[i])))
      .join('  ')
      .trimEnd(),
  );
}
