/** A report as one page that a person reads: no script, no file beside it. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TopLevelSpec } from 'vega-lite';
import type { Change } from '../baseline.ts';
import { describeOffers } from '../offers.ts';
import type { BenchReport } from '../result.ts';
import { reportRows } from '../table.ts';
import { candidateRows, hostRows, peerRows, rewriteRows, settingsRows, summaryRows } from './tables.ts';

const STYLE = `
body { font: 15px/1.5 sans-serif; max-width: 1200px; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; font-size: 13px; display: block; overflow-x: auto; }
th, td { padding: 2px 10px; text-align: right; border-bottom: 1px solid #eee; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
figure { margin: 1.5rem 0; } svg { max-width: 100%; height: auto; }`;

/** Every plot of a report by name; needs the plotting library, which is there for development only. */
export async function plotsOf(report: BenchReport): Promise<Record<string, TopLevelSpec>> {
  const { growthPlot, ratioPlot, roofPlot } = await import('./plots.ts');
  const plots = {
    'ratios-models': ratioPlot(report, 'models'),
    'ratios-kernels': ratioPlot(report, 'kernels'),
    roof: roofPlot(report),
    'growth-time': growthPlot(report, 'time'),
    'growth-memory': growthPlot(report, 'memory'),
  };
  return Object.fromEntries(Object.entries(plots).filter(([, spec]) => spec)) as Record<string, TopLevelSpec>;
}

/** The page. */
export async function reportPage(report: BenchReport, changes: readonly Change[] = []): Promise<string> {
  const { draw } = await import('../../scripts/plots/draw.ts');
  const folder = mkdtempSync(join(tmpdir(), 'daguerre-report-'));
  const figures: string[] = [];
  try {
    for (const [name, spec] of Object.entries(await plotsOf(report))) {
      const file = join(folder, `${name}.svg`);
      await draw(spec, file);
      figures.push(`<figure>${readFileSync(file, 'utf8')}</figure>`);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  const { adapter, host, commit, date, roofline, failures } = report;
  const roof = roofline
    ? `<p>Measured roof: ${roofline.fmaGflops.toFixed(0)} GFLOP/s of multiply-adds, ${roofline.copyGbps.toFixed(1)} GB/s of copying.</p>`
    : '';
  return `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Bench: ${escape(adapter)}</title><style>${STYLE}</style></head>
<body>
<h1>Bench</h1>
<p>${escape(adapter)}, in ${host}; commit ${escape(commit)}; ${escape(date)}</p>
${roof}
<p>${escape(describeOffers(report))}</p>
<h2>Against other runtimes</h2>
<p>Their time over ours: above 1 we are faster. Each at its best settings, the fastest of its ways of doing the work.</p>
${table(summaryRows(report))}
${figures.join('\n')}
<h2>Cases</h2>
${table(reportRows(report, changes))}
${failures.map((f) => `<p>Failed: ${escape(`${f.name} ${f.dtype}: ${f.message}`)}</p>`).join('\n')}
<h2>What each rewrite gains</h2>
<p>Time without it over time with all, the median of turns; and where that median lies with 95 %.</p>
${table(rewriteRows(report))}
<h2>Ways of computing</h2>
<p>Time of each over that of the usual way, the median of turns; and where that median lies with 95 %.</p>
${table(candidateRows(report))}
<h2>What the host does</h2>
<p>Bounded submits against a single one, in adjacent pairs; and where the median of their ratios lies with 95 %.</p>
${table(hostRows(report))}
<h2>Other runtimes, case by case</h2>
${table(peerRows(report))}
<h2>How they were set up</h2>
${table(settingsRows(report))}
</body>
</html>
`;
}

function table([head, ...rows]: readonly (readonly string[])[]): string {
  if (rows.length === 0) return '<p>–</p>';
  const line = (cells: readonly string[], tag: 'th' | 'td') =>
    `<tr>${cells.map((cell) => `<${tag}>${escape(cell)}</${tag}>`).join('')}</tr>`;
  return `<table>\n${line(head, 'th')}\n${rows.map((row) => line(row, 'td')).join('\n')}\n</table>`;
}

const ENTITIES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };
const escape = (text: string) => text.replace(/[&<>"]/g, (c) => ENTITIES[c]);
