/** `daguerre/sampler` where there is no GPU: what its modules import, plain Node, and a page without WebGPU. */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative, sep } from 'node:path';
import { promisify } from 'node:util';
import { build, type Rolldown } from 'vite';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { findBrowser } from '../../src/node/browser.ts';
import { expectClose, F64 } from '../support/close.ts';
import { sampleOnHost } from './hostOnlyEntry.ts';

const root = join(import.meta.dirname, '..', '..');
type Result = Awaited<ReturnType<typeof sampleOnHost>>;

let code: string;
let modules: string[];
let here: Result;

beforeAll(async () => {
  const built = (await build({
    configFile: false,
    root,
    logLevel: 'error',
    build: {
      target: 'es2022',
      write: false,
      minify: false,
      lib: { entry: join(import.meta.dirname, 'hostOnlyEntry.ts'), formats: ['es'] },
      rolldownOptions: { treeshake: false, external: () => false, output: { codeSplitting: false } },
    },
  })) as Rolldown.RolldownOutput[];
  const [{ output }] = built;
  expect(output).toHaveLength(1);
  ({ code } = output[0]);
  const real = output[0].moduleIds.filter((id) => !id.startsWith('\0')); // the bundler's own helpers
  modules = real.map((id) => relative(root, id).split(sep).join('/'));
  here = await sampleOnHost();
});

test('its modules are its own, and the errors', () => {
  const foreign = modules.filter((id) => !id.startsWith('src/sampler/') && !id.startsWith('test/sampler/'));
  expect(foreign).toEqual(['src/engine/errors.ts']);
  expect(modules.filter((id) => id.startsWith('src/sampler/')).length).toBeGreaterThan(50);
  expect(code).not.toMatch(/\b(navigator\.gpu|GPUBufferUsage|GPUShaderStage|GPUTextureUsage|GPUMapMode)\b(?!'|")/);
});

describe('it is imported and samples the same picture', () => {
  let folder: string;
  beforeAll(() => void (folder = mkdtempSync(join(tmpdir(), 'daguerre-host-'))));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  const expectSame = ({ picture, exports, gpu }: Result): void => {
    expect(gpu).toEqual([]);
    expect(exports).toBe(here.exports);
    expect(picture.every(Number.isFinite)).toBe(true);
    expectClose(picture, here.picture, F64);
  };

  test('in plain Node', async () => {
    const file = join(folder, 'sampler.mjs');
    writeFileSync(file, `${code}\nconsole.log(JSON.stringify(await sampleOnHost()));`);
    const { stdout } = await promisify(execFile)(process.execPath, [file]);
    expectSame(JSON.parse(stdout) as Result);
  });

  test('in a page without WebGPU', async () => {
    const { executablePath, env, args } = await findBrowser();
    const { default: puppeteer } = await import('puppeteer');
    const browser = await puppeteer.launch({
      executablePath,
      headless: true,
      args: ['--no-sandbox', '--disable-gpu', '--disable-blink-features=WebGPU', '--no-first-run', ...args],
      env: { ...process.env, ...env },
    });
    try {
      const page = await browser.newPage();
      const complaints: string[] = [];
      page.on('pageerror', (error) => complaints.push(String(error)));
      await page.addScriptTag({ type: 'module', content: code });
      await page.waitForFunction('typeof sampleOnHost === "function"');
      const result = (await page.evaluate('sampleOnHost()')) as Result;
      expect(complaints).toEqual([]);
      expectSame(result);
    } finally {
      await browser.close();
    }
  });
});
