/** The kernel tests of Node, run again inside headless Chromium: its own Dawn, its own SwiftShader. */
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Browser } from 'puppeteer';
import { build } from 'vite';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { wgslPlugin } from '../../scripts/wgslPlugin.ts';
import { launchBrowser } from '../../src/node/browser.ts';
import { serveFolders, type StaticServer } from '../../src/node/cli/staticServer.ts';
import { isFullRun } from '../support/gpu.ts';
import type { SuiteResult } from './page.ts';

/** Tests of each block that a page runs; Node runs all of them on the same driver. */
const SHARE = isFullRun ? Number.MAX_SAFE_INTEGER : 3;

const here = import.meta.dirname;
const files = readdirSync(join(here, '..', 'kernels')).filter((name) => name.endsWith('.test.ts'));

let folder: string;
let server: StaticServer;
let browser: Browser;

/** Vitest and the adapters of Node are replaced by what a page has. */
const inPage = {
  name: 'daguerre-in-page',
  enforce: 'pre' as const,
  resolveId(id: string) {
    if (id === 'vitest') return join(here, 'miniVitest.ts');
    return /(^|\/)gpu\.ts$/.test(id) ? join(here, 'pageGpu.ts') : null;
  },
};

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'daguerre-page-'));
  await build({
    configFile: false,
    root: here,
    logLevel: 'error',
    define: { 'process.env.DAGUERRE_FULL': JSON.stringify(isFullRun ? '1' : '') },
    plugins: [inPage, wgslPlugin()],
    build: {
      target: 'es2022',
      outDir: folder,
      minify: false,
      reportCompressedSize: false,
      // The package says that its modules have no side effects; declaring tests is one.
      rolldownOptions: { treeshake: false, input: join(here, 'page.ts'), output: { entryFileNames: 'page.js' } },
    },
  });
  writeFileSync(
    join(folder, 'index.html'),
    '<!doctype html><title>kernels</title><script type="module" src="page.js"></script>',
  );
  server = await serveFolders([{ prefix: '/', folder }]);
  browser = await launchBrowser();
}, 600_000);

afterAll(async () => {
  await browser?.close();
  await server?.close();
  if (folder) rmSync(folder, { recursive: true, force: true });
});

describe('kernels in headless Chromium', () => {
  it.each(files)(
    '%s',
    async (file) => {
      const page = await browser.newPage();
      const complaints: string[] = [];
      page.on('pageerror', (error) => complaints.push(String(error)));
      try {
        await page.goto(server.url);
        await page.waitForFunction('typeof runSuite === "function"');
        const result = (await page.evaluate(`runSuite(${JSON.stringify(file)}, ${SHARE})`)) as SuiteResult;
        expect(result.failures).toEqual([]);
        expect(complaints).toEqual([]);
        expect(result.passed).toBeGreaterThan(0);
      } finally {
        await page.close();
      }
    },
    isFullRun ? 3_600_000 : 300_000,
  );
});
