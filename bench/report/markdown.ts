/** Tables of a report inside a document, between marks, so that figures in it are never typed by hand. */
import { InvalidArgumentError } from '../../src/engine/errors.ts';
import { describeOffers } from '../offers.ts';
import type { BenchReport } from '../result.ts';
import { planRows } from './plans.ts';
import {
  candidateRows,
  caseRows,
  growthRows,
  headlineRows,
  hostRows,
  rewriteRows,
  settingsRows,
  summaryRows,
} from './tables.ts';

const SECTIONS: Record<string, (report: BenchReport) => string> = {
  where: whereItRan,
  headline: (report) => markdownTable(headlineRows(report)),
  summary: (report) => markdownTable(summaryRows(report)),
  models: (report) => markdownTable(caseRows(report, 'models')),
  kernels: (report) => markdownTable(caseRows(report, 'kernels')),
  host: (report) => markdownTable(hostRows(report)),
  settings: (report) => markdownTable(settingsRows(report)),
  plans: () => markdownTable(planRows()),
  rewrites: (report) => markdownTable(rewriteRows(report)),
  candidates: (report) => markdownTable(candidateRows(report)),
  growth: (report) => markdownTable(growthRows(report)),
};

/** `<!-- bench:NAME summary -->` … `<!-- /bench -->`: what stands between is replaced, for the given NAME. */
export function fillDocument(text: string, name: string, report: BenchReport): string {
  let found = false;
  const filled = text.replace(
    /<!-- bench:(\S+) (\w+) -->[\s\S]*?<!-- \/bench -->/g,
    (block: string, of: string, section: string) => {
      if (of !== name) return block;
      found = true;
      const render = SECTIONS[section];
      if (!render) {
        throw new InvalidArgumentError(
          `bench:report: expected one of ${Object.keys(SECTIONS).join(', ')} behind bench:${name}, got "${section}"`,
        );
      }
      return `<!-- bench:${of} ${section} -->\n\n${render(report)}\n\n<!-- /bench -->`;
    },
  );
  if (!found) {
    throw new InvalidArgumentError(
      `bench:report: expected a mark <!-- bench:${name} summary --> in the document, got none; add one where tables go`,
    );
  }
  return filled;
}

function whereItRan(report: BenchReport): string {
  const { adapter, host, commit, date, roofline } = report;
  const roof = roofline
    ? ` Measured roof: ${roofline.fmaGflops.toFixed(0)} GFLOP/s of multiply-adds in f32, ` +
      `${roofline.copyGbps.toFixed(1)} GB/s of copying.`
    : '';
  return `${adapter}, in ${host === 'node' ? 'Node (Dawn)' : 'headless Chromium'}; commit ${commit}; ${date.slice(0, 10)}.${roof} ${describeOffers(report)}`.trimEnd();
}

export function markdownTable([head, ...rows]: readonly (readonly string[])[]): string {
  if (rows.length === 0) return 'Not measured.';
  const line = (cells: readonly string[]) => `| ${cells.map((cell) => cell.replace(/\|/g, '\\|')).join(' | ')} |`;
  const rule = head.map((_, i) => (i === 0 ? '---' : '---:'));
  return [line(head), line(rule), ...rows.map(line)].join('\n');
}
