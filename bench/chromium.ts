/** The bench in headless Chromium: the built page is served to it, told what to run, and asked for its report. */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { AbortedError, NotFoundError } from '../src/engine/errors.ts';
import { launchBrowser } from '../src/node/browser.ts';
import { serveFolders } from '../src/node/cli/staticServer.ts';
import type { RunContext } from './node.ts';
import type { PagePeers } from './page/main.ts';
import { makeGraphWeights } from './peers/graphWeights.ts';
import type { NodePeerFolders } from './peers/nodePeers.ts';
import type { CoreReport } from './run.ts';
import type { Selection } from './select.ts';

/** What the page offers (page/main.ts). */
type BenchPage = typeof globalThis & {
  benchRun(selection: Selection, peers: PagePeers): Promise<{ report?: CoreReport; error?: string }>;
};

/**
 * @param page folder of the built page
 * @throws NotFoundError when the page is not built; AdapterError without a browser; AbortedError
 */
export async function runInChromium(
  selection: Selection,
  { folders, adapter, peers: names, signal, note }: RunContext,
  page: string,
): Promise<CoreReport> {
  if (!existsSync(join(page, 'index.html'))) {
    throw new NotFoundError(`bench: expected the built page in ${page}, got nothing; start it with npm run bench`);
  }
  const server = await serveFolders([
    { prefix: '/weights/', folder: folders.weights },
    { prefix: '/truth/', folder: folders.truths },
    { prefix: '/peers/', folder: join(folders.peers.packages, 'node_modules') },
    { prefix: '/graphs/', folder: folders.peers.graphs },
    { prefix: '/', folder: page },
  ]);
  const browser = await launchBrowser({
    hardware: adapter === 'hardware',
    // Browsers round timestamps to 0.1 ms against prying pages; here they would only hide what is measured.
    args: ['--disable-dawn-features=timestamp_quantization', '--enable-webgpu-developer-features'],
    protocolTimeout: 0,
  });
  const stop = () => void browser.close().catch(() => undefined);
  signal?.addEventListener('abort', stop, { once: true });
  try {
    const tab = await browser.newPage();
    await tab.exposeFunction('benchNote', (line: string) => note?.(line));
    await tab.exposeFunction('benchPrepare', (model: string, variant: string) => {
      makeGraphWeights(join(folders.peers.graphs, model), variant);
    });
    await tab.goto(server.url);
    await tab.waitForFunction('typeof benchRun === "function"', { timeout: 120_000 });
    const peers: PagePeers = { ...pagePeers(folders.peers), names };
    const { report, error } = await tab.evaluate(
      (s, p) => (globalThis as unknown as BenchPage).benchRun(s, p),
      selection,
      peers,
    );
    if (!report) throw new Error(`bench: ${error}`);
    return report;
  } catch (error) {
    if (signal?.aborted) throw new AbortedError('bench: stopped', { cause: error });
    throw error;
  } finally {
    signal?.removeEventListener('abort', stop);
    await browser.close().catch(() => undefined);
    await server.close();
  }
}

function pagePeers({ packages, graphs }: NodePeerFolders): PagePeers {
  const isThere = (name: string) => existsSync(join(packages, 'node_modules', name, 'package.json'));
  return {
    installed: {
      onnxruntime: isThere('onnxruntime-web'),
      'jax-js': isThere('@jax-js/jax'),
      tfjs: isThere('@tensorflow/tfjs-backend-webgpu'),
    },
    models: existsSync(graphs) ? readdirSync(graphs) : [],
  };
}
