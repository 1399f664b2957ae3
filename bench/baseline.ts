/** This run against an earlier one. */
import { InvalidArgumentError } from '../src/engine/errors.ts';
import type { BenchReport, BenchResult } from './result.ts';

/** A change below this fraction is never called one: two runs of the same code differ by as much. */
export const SMALLEST_CHANGE = 0.1;

export interface Change {
  suite: BenchResult['suite'];
  name: string;
  dtype: BenchResult['dtype'];
  /** Now over then: above 1 it became slower. */
  ratio: number;
  verdict: 'slower' | 'faster' | 'same';
}

export interface Comparison {
  changes: Change[];
  /** Cases that the baseline has a time for and that failed now. */
  broken: string[];
}

const keyOf = ({ suite, name, dtype }: Pick<BenchResult, 'suite' | 'name' | 'dtype'>) => `${suite} ${name} ${dtype}`;

/**
 * How much each case changed. A change counts once it is larger than {@link SMALLEST_CHANGE} and than the spread of
 * either run.
 * @throws InvalidArgumentError when the baseline is of another adapter or host, which compares machines, not code
 */
export function compareReports(now: BenchReport, then: BenchReport): Comparison {
  if (now.adapter !== then.adapter || now.host !== then.host) {
    throw new InvalidArgumentError(
      `--baseline: expected a report of ${now.adapter} in ${now.host}, got one of ${then.adapter} in ${then.host}; ` +
        'compare runs of one adapter',
    );
  }
  const before = new Map(then.results.map((r) => [keyOf(r), r]));
  const changes: Change[] = [];
  for (const result of now.results) {
    const { suite, name, dtype } = result;
    const old = before.get(keyOf(result));
    if (!old) continue;
    const ratio = result.ms / old.ms;
    const noise = Math.max(SMALLEST_CHANGE, result.spread, old.spread);
    const verdict = ratio > 1 + noise ? 'slower' : 1 / ratio > 1 + noise ? 'faster' : 'same';
    changes.push({ suite, name, dtype, ratio, verdict });
  }
  const failed = new Set(now.failures.map(keyOf));
  return { changes, broken: [...before.keys()].filter((key) => failed.has(key)) };
}
