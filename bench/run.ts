/** The bench itself, the same in Node and in a page: it is given a way to open devices and places to read from. */
import {
  AbortedError,
  describe,
  Device,
  throwIfAborted,
  type Capabilities,
  type TuneStore,
} from '../src/engine/index.ts';
import type { BenchCase, Peer } from './case.ts';
import { candidateCases } from './candidates/cases.ts';
import { kernelCases } from './kernels/cases.ts';
import { measureGroup, type MeasureOptions } from './measure.ts';
import { modelCases, type ModelFolders } from './models/cases.ts';
import { offersOf, type Offers } from './offers.ts';
import type { BenchReport } from './result.ts';
import { rewriteCases } from './rewrites/cases.ts';
import { measureRoofline } from './roofline/roofline.ts';
import { scalingCases } from './scaling/cases.ts';
import { selects, type Selection } from './select.ts';
import { openRest } from './settle.ts';

export interface Host extends ModelFolders {
  gpu: GPU;
  peers?: readonly Peer[];
  signal?: AbortSignal;
  note?(line: string): void;
}

/** What the core knows of a report; the host adds commit, date and its own kind. */
export type CoreReport = Pick<BenchReport, keyof Offers | 'adapter' | 'results' | 'failures' | 'roofline' | 'stopped'>;

/** Milliseconds of choosing per program: enough for every class of shapes of a model. */
const TUNE_MS = 20_000;

/** Runs the selected cases group by group. @throws AdapterError; AbortedError before a group was done */
export async function runCases(selection: Selection, host: Host): Promise<CoreReport> {
  const store = memoryStore();
  const openDevice = (tuned: boolean, without: readonly GPUFeatureName[] = []) =>
    Device.open({
      gpu: host.gpu,
      powerPreference: 'high-performance',
      label: 'bench',
      // Software adapters are measured as every WebGPU device is; a GPU with what it has.
      limits: 'auto',
      without: [...without],
      tune: tuned ? { mode: 'full', store, budgetMs: TUNE_MS } : { mode: 'off' },
    });
  const probe = await openDevice(false);
  const adapter = describe(probe.info);
  host.note?.(`on ${adapter}`);
  if (probe.caps.matrices)
    host.note?.(`subgroup matrices ${probe.caps.matrices} multiply rightly, and are used for halves`);
  const roofline = selection.quick ? undefined : await measureRoofline(probe);
  if (roofline) {
    const { fmaGflops, copyGbps } = roofline;
    host.note?.(`roof: ${fmaGflops.toFixed(0)} GFLOP/s, ${copyGbps.toFixed(1)} GB/s`);
  }
  const rest = host.peers?.length && !selection.quick ? await openRest(probe) : undefined;
  const offered = await host.gpu.requestAdapter({ powerPreference: 'high-performance' });
  const report: CoreReport = { adapter, ...(offered && offersOf(offered)), roofline, results: [], failures: [] };
  try {
    await runGroups(await chosenCases(selection, host, probe.caps), report, {
      openDevice,
      tune: selection.tune ?? false,
      reps: selection.quick ? Math.min(3, selection.reps) : selection.reps,
      budgetMs: selection.budgetMs,
      peers: host.peers,
      settle: rest && (() => rest.settle()),
      roofline,
      signal: host.signal,
      note: host.note,
    });
  } finally {
    rest?.dispose();
    probe.dispose();
  }
  if (rest) {
    const { times, inVain, ms } = rest.waited;
    host.note?.(`rest between turns: ${times} times, ${(ms / 1000).toFixed(1)} s in all, ${inVain} times in vain`);
  }
  return report;
}

/** What was selected, and what that is compared with. */
async function chosenCases(selection: Selection, host: Host, caps: Capabilities): Promise<BenchCase[]> {
  const { suites, dtypes, tune = false } = selection;
  const cases: BenchCase[] = [];
  for (const dtype of dtypes) {
    if (suites.includes('kernels')) cases.push(...kernelCases(dtype));
    if (suites.includes('models')) cases.push(...(await modelCases(host, dtype)));
    if (suites.includes('scaling')) cases.push(...scalingCases(dtype));
    if (suites.includes('rewrites'))
      cases.push(...(await rewriteCases(host, dtype, { caps, tune, only: selection.only })));
    if (suites.includes('candidates')) cases.push(...candidateCases(dtype, caps));
  }
  const chosen = new Set(cases.filter((c) => selects(selection, caps.software, c)));
  const isOther = (c: BenchCase) => [...chosen].some(({ against, group }) => against === c.name && group === c.group);
  return cases.filter((c) => chosen.has(c) || isOther(c));
}

/** Group by group, into the report. @throws AbortedError where nothing has been measured yet */
async function runGroups(cases: readonly BenchCase[], report: CoreReport, options: MeasureOptions): Promise<void> {
  const groupOf = (c: BenchCase) => `${c.suite} ${c.group}`;
  for (const group of new Set(cases.map(groupOf))) {
    try {
      throwIfAborted(options.signal, 'bench');
      const { results, failures } = await measureGroup(
        cases.filter((c) => groupOf(c) === group),
        options,
      );
      report.results.push(...results);
      report.failures.push(...failures);
    } catch (error) {
      // What was measured is not lost to an interruption.
      if (!(error instanceof AbortedError) || report.results.length === 0) throw error;
      report.stopped = true;
      return;
    }
  }
}

/** What was measured for one case serves the next; nothing is left of it afterwards. */
function memoryStore(): TuneStore {
  const texts = new Map<string, string>();
  return {
    read: async (name) => texts.get(name),
    write: async (name, text) => void texts.set(name, text),
  };
}
