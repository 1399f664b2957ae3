/** Tables of a report as rows of text, the head first; for the page and for documents. */
import type { BenchReport, BenchResult, PeerResult } from '../result.ts';
import { curvesOf } from '../scaling/growth.ts';
import type { PairedRatio } from '../statistics.ts';
import { digits } from '../table.ts';
import { summarise } from './summary.ts';

type Rows = string[][];

/** How we stand against each peer, group by group. */
export function summaryRows(report: BenchReport): Rows {
  const rows: Rows = [['runtime', 'suite', 'group', 'cases', 'geometric mean', 'least', 'case of the least']];
  for (const { name, version, native, groups, suites } of summarise(report)) {
    const title = `${name} ${version}${native ? ' (on the processor)' : ''}`;
    for (const g of groups) {
      rows.push([title, g.suite, g.group, `${g.count}`, `× ${digits(g.mean)}`, `× ${digits(g.least)}`, g.leastCase]);
    }
    for (const s of suites) rows.push([title, s.suite, 'all', `${s.count}`, `× ${digits(s.mean)}`, '', '']);
  }
  return rows;
}

/** What to know first: models beside each peer, warm and from the start; then all kernels together, and the worst. */
export function headlineRows(report: BenchReport): Rows {
  const peers = summarise(report).filter((peer) => peer.suites.length > 0);
  const models = report.results.filter((r) => r.suite === 'models' && r.peers.some((p) => p.maxError <= 1));
  const against = (r: BenchResult, cell: (peer: PeerResult) => string) =>
    peers.map(({ name }) => {
      const peer = r.peers.find((p) => p.name === name && p.maxError <= 1);
      return peer ? cell(peer) : '–';
    });
  const rows = models.flatMap((r) => [
    [r.name, r.dtype, `${digits(r.ms)} ms`, ...against(r, warmCell)],
    ['its first run', r.dtype, `${digits(r.firstMs)} ms`, ...against(r, (peer) => firstCell(r, peer))],
  ]);
  const ofKernels = (cell: (peer: (typeof peers)[number]) => string) =>
    peers.map((peer) => (peer.groups.some((g) => g.suite === 'kernels') ? cell(peer) : '–'));
  if (peers.some((peer) => peer.suites.some((s) => s.suite === 'kernels'))) {
    const all = ofKernels(({ suites }) => {
      const { count, mean } = suites.find((s) => s.suite === 'kernels')!;
      return `**× ${digits(mean)}** over ${count}`;
    });
    const least = ofKernels(({ groups }) => {
      const worst = groups.filter((g) => g.suite === 'kernels').reduce((a, b) => (b.least < a.least ? b : a));
      return `× ${digits(worst.least)}: ${worst.leastCase}`;
    });
    rows.push(['kernels, geometric mean', '', '', ...all], ['kernels, the least', '', '', ...least]);
  }
  return [['case', 'type', 'Daguerre', ...peers.map((p) => `${p.name} ${p.version}`)], ...rows];
}

/** Every case with its peers, one column each. */
export function caseRows(report: BenchReport, suite: string): Rows {
  const results = report.results.filter((r) => r.suite === suite);
  const peers = [...new Set(results.flatMap((r) => r.peers.map((p) => p.name)))];
  const head = ['case', 'type', 'ms', '±%', 'GPU ms', 'first ms', 'GFLOP/s', 'of the roof', 'disp.', 'MiB'];
  const ofSeveral = new Set(report.results.map((r) => r.commit)).size > 1;
  const rows = results.map((r) => [
    r.name,
    r.dtype,
    digits(r.ms),
    (100 * r.spread).toFixed(0),
    r.gpuMs === null ? '–' : digits(r.gpuMs),
    digits(r.firstMs),
    r.gflops === null ? '–' : digits(r.gflops),
    r.roof ? `${(100 * r.roof.fraction).toFixed(0)} %` : '–',
    `${r.dispatches}`,
    digits(r.peakBytes / 2 ** 20),
    ...peers.map((name) => {
      const p = r.peers.find((peer) => peer.name === name);
      return p ? peerCell(r, p, suite) : '–';
    }),
  ]);
  if (ofSeveral) rows.forEach((row, i) => row.push(results[i].commit ?? ''));
  return [[...head, ...peers, ...(ofSeveral ? ['commit'] : [])], ...rows];
}

/** Time and ratio; of models also those of the first run, in the way that started fastest. */
function peerCell(r: BenchResult, p: PeerResult, suite: string): string {
  return suite === 'models' ? `${warmCell(p)}; first ${firstCell(r, p)}` : warmCell(p);
}

const warmCell = (p: PeerResult) => `${digits(p.ms)} ms, **× ${digits(p.ratio)}**`;

function firstCell(r: BenchResult, p: PeerResult): string {
  const first = Math.min(p.firstMs, ...p.others.map((o) => o.firstMs));
  return `${digits(first)} ms, × ${digits(first / r.firstMs)}`;
}

/** Every peer of every case. */
export function peerRows(report: BenchReport): Rows {
  const rows: Rows = [
    ['case', 'type', 'runtime', 'way', 'ms', '±%', 'first', 'ratio', 'first, ratio', 'error', 'others'],
  ];
  for (const r of report.results) {
    for (const p of r.peers) {
      const others = p.others.map((o) => `${o.variant}: ${digits(o.ms)} ms`).join('; ');
      rows.push([
        ...[r.name, r.dtype, `${p.name} ${p.version}`, p.variant, digits(p.ms), (100 * p.spread).toFixed(0)],
        ...[
          digits(p.firstMs),
          `× ${digits(p.ratio)}`,
          `× ${digits(p.firstMs / r.firstMs)}`,
          digits(p.maxError),
          others,
        ],
      ]);
    }
  }
  return rows;
}

/** The settings that counted, each once. */
export function settingsRows(report: BenchReport): Rows {
  const known = new Map<string, string[]>();
  for (const p of report.results.flatMap((r) => r.peers)) {
    known.set(`${p.name} ${p.variant} ${p.settings}`, [`${p.name} ${p.version}`, p.variant, p.settings]);
  }
  return [['runtime', 'way', 'settings'], ...known.values()];
}

/** What a run takes of the host, and what bounding its submits costs. */
export function hostRows(report: BenchReport): Rows {
  const rows = report.results.flatMap(({ name, dtype, dispatches, host }) => {
    // Older reports have no pairs.
    if (!host?.boundCost) return [];
    const { encodeMs, oneSubmitMs, boundedMs, submits, boundCost, submitMs } = host;
    return [
      [
        ...[name, dtype, `${dispatches}`, digits(encodeMs), digits((1000 * encodeMs) / dispatches)],
        ...[digits(oneSubmitMs), digits(boundedMs), digits(submits)],
        ...[percent(boundCost.ratio), interval(boundCost, percent), `${boundCost.pairs}`],
        ...(submitMs ? [digits(submitMs.ms), interval(submitMs, digits)] : ['–', '–']),
      ],
    ];
  });
  return [
    [
      ...['case', 'type', 'disp.', 'encode, ms', 'each, µs', 'in one submit, ms', 'bounded, ms', 'submits'],
      ...['cost of bounds', 'with 95 %', 'pairs', 'a submit more, ms', 'with 95 %'],
    ],
    ...rows,
  ];
}

const percent = (ratio: number) => `${(100 * (ratio - 1)).toFixed(1)} %`;

function interval({ low, high }: Pick<PairedRatio, 'low' | 'high'>, show: (ratio: number) => string): string {
  return low === null || high === null ? '–' : `${show(low)} … ${show(high)}`;
}

/** Every network as it is, and below it what it takes without something, with the gain of having it. */
export function rewriteRows(report: BenchReport): Rows {
  const head = [
    ...['network', 'type', 'without', 'disp.', 'activations, MiB', 'held, MiB', 'ms', '±%', 'GPU ms'],
    ...['gain', 'with 95 %', 'pairs'],
  ];
  const mib = (bytes: number) => digits(bytes / 2 ** 20);
  const rows = report.results
    .filter((r) => r.suite === 'rewrites')
    .map((r) => {
      const title = r.gain ? r.name.slice(r.gain.against.length + 1) : '–';
      return [
        ...[
          r.gain?.against ?? r.name,
          r.dtype,
          title === 'once more' ? '–, once more' : title.replace(/^without /, ''),
          `${r.dispatches}`,
        ],
        ...[r.activations ? mib(r.activations.peakBytes) : '–', mib(r.peakBytes)],
        ...[digits(r.ms), (100 * r.spread).toFixed(0), r.gpuMs === null ? '–' : digits(r.gpuMs)],
        ...(r.gain
          ? [times(r.gain.ratio), interval(r.gain, (ratio) => ratio.toFixed(2)), `${r.gain.pairs}`]
          : ['', '', '']),
      ];
    });
  return [head, ...rows];
}

/** Every shape in its usual way, and how long its other ways take, the fastest first. */
export function candidateRows(report: BenchReport): Rows {
  const head = ['case', 'type', 'usual way', 'ms', '±%', 'GPU ms', 'once more', 'other ways, time over the usual'];
  const all = report.results.filter((r) => r.candidate);
  const rows = all.flatMap((r) => {
    if (r.candidate?.role !== 'usual' || r.gain) return [];
    const others = all.filter((o) => o.gain?.against === r.name && o.dtype === r.dtype);
    const cells = (isUsual: boolean) =>
      others
        .filter(({ candidate }) => (candidate!.role === 'usual') === isUsual)
        .sort((a, b) => a.gain!.ratio - b.gain!.ratio)
        .map(candidateCell);
    const gpu = r.gpuMs === null ? '–' : digits(r.gpuMs);
    return [
      [
        ...[r.candidate.of, r.dtype, r.candidate.way, digits(r.ms), (100 * r.spread).toFixed(0), gpu],
        ...[cells(true).join('; '), cells(false).join('; ')],
      ],
    ];
  });
  return [head, ...rows];
}

/** Name, ratio and interval. */
function candidateCell({ candidate, gain }: BenchResult): string {
  const { way, role } = candidate!;
  const between = gain!.low === null ? '' : ` (${interval(gain!, (ratio) => ratio.toFixed(2))})`;
  const name = { usual: '', tried: `${way} `, untried: `${way}, untried, ` }[role];
  return `${name}${times(gain!.ratio)}${between}`;
}

const times = (ratio: number) => `× ${ratio.toFixed(2)}`;

/** Fitted exponents beside what the arithmetic counts and theory says. */
export function growthRows(report: BenchReport): Rows {
  const head = ['what', 'over', 'from – to', 'time: fitted', 'counted', 'theory', 'memory: fitted', 'theory'];
  const shown = (value: number | undefined) => (value === undefined ? '–' : value.toFixed(2));
  const rows = curvesOf(report.results).map((c) => [
    c.curve,
    c.axis,
    `${c.points[0].x} – ${c.points.at(-1)!.x}`,
    shown(c.time?.exponent),
    shown(c.arithmetic?.exponent),
    `${c.theory.time}`,
    c.theory.memory ? shown(c.memory?.exponent) : '–',
    c.theory.memory ? `${c.theory.memory}` : '–',
  ]);
  return [head, ...rows];
}
