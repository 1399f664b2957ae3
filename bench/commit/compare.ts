/** What a commit changed, from reports of before and after it that were written in turns. */
import type { BenchReport, BenchResult } from '../result.ts';
import { median, pairedRatio } from '../statistics.ts';
import { digits } from '../table.ts';

/** One report for each round. */
export interface Rounds {
  before: readonly BenchReport[];
  after: readonly BenchReport[];
}

const keyOf = ({ suite, name, dtype }: BenchResult) => `${suite} ${name} ${dtype}`;

/**
 * A row for each case that every round has on both sides, the head first: medians, and the time before over that after.
 */
export function commitRows({ before, after }: Rounds): string[][] {
  const head = ['case', 'type', 'before, ms', 'after, ms', 'GPU before', 'GPU after', 'first before', 'first after'];
  const rows = (before[0]?.results ?? []).flatMap((result) => {
    const [old, now] = [before, after].map((reports) =>
      reports.flatMap((r) => r.results.filter((other) => keyOf(other) === keyOf(result))),
    );
    if (old.length < before.length || now.length < after.length) return [];
    const times = (of: (r: BenchResult) => number | null) =>
      [old, now].map((side) => {
        const values = side.map(of);
        return values.every((v) => v !== null) ? digits(median(values)) : '–';
      });
    const { ratio, low, high } = pairedRatio(
      old.map((r) => r.ms),
      now.map((r) => r.ms),
    );
    const between = low === null || high === null ? '–' : `${low.toFixed(2)} … ${high.toFixed(2)}`;
    return [
      [
        ...[result.name, result.dtype, ...times((r) => r.ms), ...times((r) => r.gpuMs), ...times((r) => r.firstMs)],
        ...[`× ${ratio.toFixed(2)}`, between],
      ],
    ];
  });
  return [[...head, 'gain', 'with 95 %'], ...rows];
}
