/** The bench itself, the same in Node and in a page: it is given a way to open devices and places to read from. */
import { AbortedError, describe, Device, throwIfAborted, type TuneStore } from '../src/engine/index.ts';
import type { BenchCase, Peer } from './case.ts';
import { kernelCases } from './kernels/cases.ts';
import { measureGroup } from './measure.ts';
import { modelCases, type ModelFolders } from './models/cases.ts';
import { offersOf, type Offers } from './offers.ts';
import type { BenchReport } from './result.ts';
import { measureRoofline } from './roofline/roofline.ts';
import { scalingCases } from './scaling/cases.ts';
import { selects, type Selection } from './select.ts';

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
  const openDevice = (tuned: boolean) =>
    Device.open({
      gpu: host.gpu,
      powerPreference: 'high-performance',
      label: 'bench',
      tune: tuned ? { mode: 'full', store, budgetMs: TUNE_MS } : { mode: 'off' },
    });
  const probe = await openDevice(false);
  const { software } = probe.caps;
  const adapter = describe(probe.info);
  host.note?.(`on ${adapter}`);
  const roofline = selection.quick ? undefined : await measureRoofline(probe);
  if (roofline) {
    const { fmaGflops, copyGbps } = roofline;
    host.note?.(`roof: ${fmaGflops.toFixed(0)} GFLOP/s, ${copyGbps.toFixed(1)} GB/s`);
  }
  probe.dispose();
  const offered = await host.gpu.requestAdapter({ powerPreference: 'high-performance' });
  const report: CoreReport = { adapter, ...(offered && offersOf(offered)), roofline, results: [], failures: [] };

  const cases: BenchCase[] = [];
  for (const dtype of selection.dtypes) {
    if (selection.suites.includes('kernels')) cases.push(...kernelCases(dtype));
    if (selection.suites.includes('models')) cases.push(...(await modelCases(host, dtype)));
    if (selection.suites.includes('scaling')) cases.push(...scalingCases(dtype));
  }
  const chosen = cases.filter((c) => selects(selection, software, c));
  const reps = selection.quick ? Math.min(3, selection.reps) : selection.reps;
  for (const group of new Set(chosen.map((c) => `${c.suite} ${c.group}`))) {
    const members = chosen.filter((c) => `${c.suite} ${c.group}` === group);
    try {
      throwIfAborted(host.signal, 'bench');
      const { results, failures } = await measureGroup(members, {
        openDevice,
        tune: selection.tune ?? false,
        reps,
        budgetMs: selection.budgetMs,
        peers: host.peers,
        roofline,
        signal: host.signal,
        note: host.note,
      });
      report.results.push(...results);
      report.failures.push(...failures);
    } catch (error) {
      // What was measured is not lost to an interruption.
      if (!(error instanceof AbortedError) || report.results.length === 0) throw error;
      return { ...report, stopped: true };
    }
  }
  return report;
}

/** What was measured for one case serves the next; nothing is left of it afterwards. */
function memoryStore(): TuneStore {
  const texts = new Map<string, string>();
  return {
    read: async (name) => texts.get(name),
    write: async (name, text) => void texts.set(name, text),
  };
}
