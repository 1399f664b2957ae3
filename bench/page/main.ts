/** The bench in a page: nothing but what the core needs, offered to whoever drives the page. */
import { urlDirectory } from '../../src/loading/index.ts';
import { runCases, type CoreReport } from '../run.ts';
import type { Selection } from '../select.ts';

/** Errors go as text: what crosses to the driver is plain data. */
async function benchRun(selection: Selection): Promise<{ report?: CoreReport; error?: string }> {
  try {
    if (!navigator.gpu) throw new Error('this browser has no WebGPU');
    const note = (globalThis as { benchNote?: (line: string) => void }).benchNote ?? console.log;
    const weights = urlDirectory(new URL('weights/', location.href));
    const truths = urlDirectory(new URL('truth/', location.href));
    return { report: await runCases(selection, { gpu: navigator.gpu, weights, truths, note }) };
  } catch (error) {
    return { error: error instanceof Error ? (error.stack ?? error.message) : String(error) };
  }
}

Object.assign(globalThis, { benchRun });
