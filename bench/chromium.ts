/** The bench in headless Chromium: the built page is served to it, told what to run, and asked for its report. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { AbortedError, NotFoundError } from '../src/engine/errors.ts';
import { launchBrowser } from '../src/node/browser.ts';
import { serveFolders } from '../src/node/cli/staticServer.ts';
import type { RunContext } from './node.ts';
import type { CoreReport } from './run.ts';
import type { Selection } from './select.ts';

/** What the page offers (page/main.ts). */
type BenchPage = typeof globalThis & {
  benchRun(selection: Selection): Promise<{ report?: CoreReport; error?: string }>;
  benchNote(line: string): void;
};

/**
 * @param page folder of the built page
 * @throws NotFoundError when the page is not built; AdapterError without a browser; AbortedError
 */
export async function runInChromium(
  selection: Selection,
  { folders, adapter, signal, note }: RunContext,
  page: string,
): Promise<CoreReport> {
  if (!existsSync(join(page, 'index.html'))) {
    throw new NotFoundError(`bench: expected the built page in ${page}, got nothing; start it with npm run bench`);
  }
  const server = await serveFolders([
    { prefix: '/weights/', folder: folders.weights },
    { prefix: '/truth/', folder: folders.truths },
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
    await tab.goto(server.url);
    await tab.waitForFunction('typeof benchRun === "function"', { timeout: 120_000 });
    const { report, error } = await tab.evaluate((s) => (globalThis as unknown as BenchPage).benchRun(s), selection);
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
