/** What a page measured, the next one knows: IndexedDB as a browser has it. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build } from 'vite';
import { expect, it } from 'vitest';
import { wgslPlugin } from '../../scripts/wgslPlugin.ts';
import { launchBrowser } from '../../src/node/browser.ts';
import { serveFolders } from '../../src/node/cli/staticServer.ts';

it('keeps measurements from one page to the next', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'daguerre-tuning-'));
  const input = join(import.meta.dirname, 'tuningPage.ts');
  await build({
    configFile: false,
    logLevel: 'error',
    plugins: [wgslPlugin()],
    build: {
      target: 'es2022',
      outDir: folder,
      reportCompressedSize: false,
      rolldownOptions: { treeshake: false, input, output: { entryFileNames: 'page.js' } },
    },
  });
  writeFileSync(
    join(folder, 'index.html'),
    '<!doctype html><title>t</title><script type="module" src="page.js"></script>',
  );
  const server = await serveFolders([{ prefix: '/', folder }]);
  const browser = await launchBrowser();
  try {
    const visit = async () => {
      const page = await browser.newPage();
      await page.goto(server.url);
      await page.waitForFunction('typeof settle === "function"');
      const report = await page.evaluate('settle()');
      await page.close();
      return report;
    };
    expect(await visit()).toEqual({ measured: 1, cached: 0, problems: [] });
    expect(await visit()).toEqual({ measured: 0, cached: 1, problems: [] });
  } finally {
    await browser.close();
    await server.close();
    rmSync(folder, { recursive: true, force: true });
  }
});
