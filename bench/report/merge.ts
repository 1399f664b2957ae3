/** Reports of one adapter put together: a long bench is run in slices. */
import { InvalidArgumentError } from '../../src/engine/errors.ts';
import type { BenchReport, BenchResult } from '../result.ts';
import { median } from '../statistics.ts';

const keyOf = ({ suite, name, dtype }: Pick<BenchResult, 'suite' | 'name' | 'dtype'>) => `${suite} ${name} ${dtype}`;

/**
 * One report of several; of a case that is in more than one, the later file counts.
 * @throws InvalidArgumentError for none, or reports of different adapters or hosts
 */
export function mergeReports(reports: readonly BenchReport[]): BenchReport {
  const [first] = reports;
  if (!first) throw new InvalidArgumentError('bench:report: expected at least one report written with --json');
  for (const { adapter, host } of reports) {
    if (adapter === first.adapter && host === first.host) continue;
    throw new InvalidArgumentError(
      `bench:report: expected reports of one adapter, got ${first.adapter} in ${first.host} and ${adapter} in ${host}`,
    );
  }
  const results = new Map(
    reports.flatMap((r) => r.results.map((result) => [keyOf(result), { commit: r.commit, ...result }] as const)),
  );
  const failures = new Map(reports.flatMap((r) => r.failures).map((f) => [keyOf(f), f]));
  for (const key of results.keys()) failures.delete(key);
  const roofs = reports.flatMap((r) => (r.roofline ? [r.roofline] : []));
  return {
    ...first,
    commit: [...new Set(reports.map((r) => r.commit))].join(', '),
    date: reports
      .map((r) => r.date)
      .sort()
      .at(-1)!,
    roofline: roofs.length
      ? { fmaGflops: median(roofs.map((r) => r.fmaGflops)), copyGbps: median(roofs.map((r) => r.copyGbps)) }
      : undefined,
    results: [...results.values()],
    failures: [...failures.values()],
  };
}
