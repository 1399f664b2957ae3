/** What a report says in all: how we stand against each peer. */
import type { BenchReport, PeerResult } from '../result.ts';
import { geometricMean } from '../statistics.ts';

export interface PeerSummary {
  name: string;
  version: string;
  native: boolean;
  /** Per group of cases and suite, in the order of the report. */
  groups: { suite: string; group: string; count: number; mean: number; least: number; leastCase: string }[];
  /** Geometric mean of all ratios of a suite. */
  suites: { suite: string; count: number; mean: number }[];
}

/** The peers of a report, in its order. A peer whose result was wrong is left out of the means. */
export function summarise(report: BenchReport): PeerSummary[] {
  const names = [...new Set(report.results.flatMap((r) => r.peers.map((p) => p.name)))];
  return names.map((name) => {
    const found = report.results.flatMap((r) => {
      const peer = r.peers.find((p) => p.name === name && p.maxError <= 1);
      return peer ? [{ suite: r.suite, group: r.name.split('/')[0], name: r.name, peer }] : [];
    });
    const any: PeerResult = report.results.flatMap((r) => r.peers).find((p) => p.name === name)!;
    const keys = [...new Set(found.map((f) => `${f.suite} ${f.group}`))];
    const groups = keys.map((key) => {
      const members = found.filter((f) => `${f.suite} ${f.group}` === key);
      const worst = members.reduce((a, b) => (b.peer.ratio < a.peer.ratio ? b : a));
      return {
        suite: members[0].suite,
        group: members[0].group,
        count: members.length,
        mean: geometricMean(members.map((m) => m.peer.ratio)),
        least: worst.peer.ratio,
        leastCase: worst.name,
      };
    });
    const suites = [...new Set(found.map((f) => f.suite))].map((suite) => {
      const ratios = found.filter((f) => f.suite === suite).map((f) => f.peer.ratio);
      return { suite, count: ratios.length, mean: geometricMean(ratios) };
    });
    return { name, version: any.version, native: any.native, groups, suites };
  });
}
