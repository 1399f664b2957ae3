/** The tables of docs/samplers.md: orders in theory, as fitted, and as fitted when runs start and end as published. */
import { readFileSync, writeFileSync } from 'node:fs';
import { FLOWS, type Flow } from '../../test/sampler/orders/flows.ts';
import { gaussianDistance, gaussianError } from '../../test/sampler/orders/gaussian.ts';
import { AS_PUBLISHED, METHODS, type Method } from '../../test/sampler/orders/methods.ts';
import { fittedOrder, problem } from '../../test/sampler/orders/problem.ts';
import { runGrid } from '../../test/sampler/orders/run.ts';
import { STOCHASTIC, type Stochastic } from '../../test/sampler/orders/stochastic.ts';
import { classRows, COUNTS } from './classes.ts';

const PROBLEMS = [problem('2d'), problem('12d')] as const;

/** Runs without any history, or whose defaults change nothing, have no other start. */
const NOTHING = '·';

async function fitted(method: Method, start: 'exact' | 'published'): Promise<string[]> {
  const out: string[] = [];
  for (const where of PROBLEMS) {
    const errors: number[] = [];
    for (const n of method.counts) errors.push((await runGrid(where, method, n, start)).error);
    out.push(fittedOrder(method.counts, errors).toFixed(2));
  }
  return out;
}

async function methodRow(method: Method, i: number): Promise<string[]> {
  const exact = await fitted(method, 'exact');
  const published = method.memory?.count ? await fitted(AS_PUBLISHED[i], 'published') : [NOTHING, NOTHING];
  return [method.name, String(method.cost), String(method.order), ...exact, ...published];
}

async function flowRow(flow: Flow): Promise<string[]> {
  const out: string[] = [];
  for (const where of PROBLEMS) {
    const errors: number[] = [];
    for (const setting of flow.settings) errors.push((await flow.run(where, setting)).error);
    out.push(fittedOrder(flow.settings, errors).toFixed(2));
  }
  const cost = flow.kind === 'steps' ? String(flow.cost ?? 1) : 'chosen';
  const order = flow.kind === 'steps' ? String(flow.order) : `${flow.order} in the tolerance`;
  return [flow.name, cost, order, ...out, NOTHING, NOTHING];
}

async function stochasticRow(method: Stochastic): Promise<string[]> {
  const [weakCounts, strongCounts] = [
    [240, 480],
    [150, 300],
  ];
  const errors: number[] = [];
  for (const n of weakCounts) errors.push(await gaussianError(method, n));
  const apart: number[] = [];
  for (const n of strongCounts) apart.push(await gaussianDistance(method, n));
  return [
    method.name,
    String(method.cost ?? 1),
    String(method.weak),
    fittedOrder(weakCounts, errors).toFixed(2),
    String(method.strong),
    fittedOrder(strongCounts, apart).toFixed(2),
  ];
}

function markdown(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  const rule = head.map((_, i) => (i === 0 ? '---' : '--:'));
  return [line(head), line(rule), ...rows.map(line)].join('\n');
}

const DETERMINISTIC = [
  'without noise',
  'evaluations',
  'order',
  '2-D',
  '12-D',
  'as published, 2-D',
  'as published, 12-D',
];
const NOISY = ['with noise', 'evaluations', 'weak order', 'measured', 'strong order', 'measured'];
const OF_CLASSES = ['class', 'config', ...COUNTS.map((n) => `${n} steps`), 'fitted order'];

async function tableOf(section: string): Promise<string> {
  if (section === 'classes') return markdown(OF_CLASSES, await classRows());
  const tables: string[] = [];
  const rows: string[][] = [];
  for (const [i, method] of METHODS.entries()) if (method.section === section) rows.push(await methodRow(method, i));
  for (const flow of FLOWS) if (flow.section === section) rows.push(await flowRow(flow));
  if (rows.length > 0) tables.push(markdown(DETERMINISTIC, rows));
  const noisy: string[][] = [];
  for (const method of STOCHASTIC) if (method.section === section) noisy.push(await stochasticRow(method));
  if (noisy.length > 0) tables.push(markdown(NOISY, noisy));
  if (tables.length === 0) throw new Error(`tables: expected a section of test/sampler/orders, got ${section}`);
  return tables.join('\n\n');
}

/** Sections of the methods. */
export const SECTIONS: readonly string[] = [
  ...new Set([...METHODS, ...FLOWS, ...STOCHASTIC].map((method) => method.section)),
];

/**
 * Fills what stands between `<!-- measured: NAME -->` and `<!-- /measured -->`.
 * @throws Error if a section of the methods has no place in the file
 */
export async function fillTables(file: string): Promise<void> {
  const text = readFileSync(file, 'utf8');
  const missing = SECTIONS.filter((section) => !text.includes(`<!-- measured: ${section} -->`));
  if (missing.length > 0) throw new Error(`tables: expected places for ${missing.join('; ')} in ${file}`);
  const parts = text.split(/(<!-- measured: .+? -->)[\s\S]*?<!-- \/measured -->/);
  let out = '';
  for (const part of parts) {
    const section = /^<!-- measured: (.+) -->$/.exec(part)?.[1];
    out += section ? `${part}\n\n${await tableOf(section)}\n\n<!-- /measured -->` : part;
  }
  writeFileSync(file, out);
}
