import type { AdapterReport, Report } from './doctor.ts';

/** Features that kernels make use of; others are only counted. */
const USED_FEATURES = [
  'shader-f16',
  'subgroups',
  'timestamp-query',
  'chromium-experimental-subgroup-matrix',
  'subgroup-size-control',
];

function size(name: string, value: number): string {
  if (!/Size$/.test(name)) return String(value);
  if (value >= 2 ** 30) return `${+(value / 2 ** 30).toFixed(1)} GiB`;
  if (value >= 2 ** 20) return `${+(value / 2 ** 20).toFixed(1)} MiB`;
  return value >= 2 ** 10 && !/WorkgroupSize/.test(name) ? `${+(value / 2 ** 10).toFixed(1)} KiB` : String(value);
}

function adapterLines(adapter: AdapterReport): string[] {
  if (!adapter.available) return [`  ${adapter.name}: none (${(adapter.problem ?? '').split('\n')[0]})`];
  const { vendor, architecture, device, driver, backend, isFallback, subgroups, features, limits } = adapter;
  const used = USED_FEATURES.map((name) => `${features.includes(name) ? '+' : '-'}${name}`);
  const others = features.filter((name) => !USED_FEATURES.includes(name)).length;
  const lines = [
    `  ${adapter.name}: ${[vendor, architecture, device].filter(Boolean).join(' / ')}`,
    `    driver    ${driver || 'unnamed'}, through ${backend}${isFallback ? ', computes on the CPU' : ''}`,
    `    features  ${used.join(' ')} and ${others} more; subgroups of ${[...new Set(subgroups)].join(' to ')}`,
    '    limits    offered (default)',
  ];
  for (const { name, offered, standard } of limits) {
    lines.push(`      ${name.padEnd(34)} ${size(name, offered).padStart(10)} (${size(name, standard)})`);
  }
  return lines;
}

const megabytes = (bytes: number) => `${Math.round(bytes / 1e6)} MB`;

/** The report as text for a terminal, at most 110 columns apart from paths. */
export function formatReport(report: Report): string {
  const { node, browser, cache, problems } = report;
  const lines = [
    `daguerre ${report.version}`,
    `node      ${node.version} (needed: ${node.needed})`,
    `system    ${report.system}`,
    `dawn      ${report.dawn ? `npm webgpu ${report.dawn}` : 'not installed'}`,
    `browser   ${browser ? `${browser.version}, ${browser.origin}: ${browser.executablePath}` : 'none'}`,
    `cache     ${cache.folder}, ${(cache.free / 1e9).toFixed(1)} GB free on its disk`,
    ...cache.components.map((c) => `          ${c.name} ${megabytes(c.bytes)}, fetched ${c.fetched.slice(0, 10)}`),
    'adapters',
    ...report.adapters.flatMap(adapterLines),
    problems.length > 0 ? 'what is missing, and the command that would help' : 'nothing is missing',
    ...problems.flatMap(({ what, command }) => [`  ${what}`, `    ${command}`]),
  ];
  return lines.join('\n');
}
