/** The bench in a page: nothing but what the core needs, offered to whoever drives the page. */
import { urlDirectory } from '../../src/loading/index.ts';
import { chosenPeers, peersOver } from '../peers/peers.ts';
import type { Channel } from '../peers/protocol.ts';
import { runCases, type CoreReport } from '../run.ts';
import type { Selection } from '../select.ts';

/** What the driver knows of peers, as plain data. */
export interface PagePeers {
  installed: { onnxruntime: boolean; 'jax-js': boolean; tfjs: boolean };
  /** Models whose graphs were exported. */
  models: readonly string[];
  /** Undefined for all that are installed. */
  names?: readonly string[];
}

/** Functions that the driver may offer. */
interface Driver {
  benchNote?(line: string): void;
  benchPrepare?(model: string, variant: string): Promise<void>;
}

/** Errors go as text: what crosses to the driver is plain data. */
async function benchRun(selection: Selection, peers?: PagePeers): Promise<{ report?: CoreReport; error?: string }> {
  try {
    if (!navigator.gpu) throw new Error('this browser has no WebGPU');
    const { benchNote: note = console.log, benchPrepare } = globalThis as Driver;
    const weights = urlDirectory(new URL('weights/', location.href));
    const truths = urlDirectory(new URL('truth/', location.href));
    const all = peers
      ? peersOver(spawn, {
          ...peers.installed,
          cpu: false,
          capture: true,
          models: (name) => peers.models.includes(name),
          prepare: benchPrepare,
        })
      : [];
    const chosen = chosenPeers(all, peers?.names, selection.variants);
    return { report: await runCases(selection, { gpu: navigator.gpu, weights, truths, peers: chosen, note }) };
  } catch (error) {
    return { error: error instanceof Error ? (error.stack ?? error.message) : String(error) };
  }
}

/** A worker of its own for each piece of work. */
function spawn(): Channel & { close(): void } {
  const worker = new Worker(new URL('./peerWorker.ts', import.meta.url), { type: 'module' });
  return {
    send: (message) => worker.postMessage(message),
    onMessage: (listener) => worker.addEventListener('message', (event) => listener(event.data)),
    onEnd: (listener) => worker.addEventListener('error', (event) => listener(event.message || 'its script failed')),
    close: () => worker.terminate(),
  };
}

Object.assign(globalThis, { benchRun });
