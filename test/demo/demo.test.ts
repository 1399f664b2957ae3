/**
 * The demo page as it is built and served, driven in headless Chromium; its picture is compared with Node's.
 * With DAGUERRE_UPDATE_IMAGES=1 it also takes the screenshot that README shows.
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Browser, BrowserContext, ElementHandle, Page } from 'puppeteer';
import { build } from 'vite';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { launchBrowser } from '../../src/node/browser.ts';
import { serveDemo } from '../../src/node/cli/demo.ts';
import type { StaticServer } from '../../src/node/cli/staticServer.ts';
import { decodePng, Pipeline } from '../../src/node/index.ts';
import { packageRoot } from '../../src/node/setup/cacheFolder.ts';
import { EIGHT_BIT, expectClose } from '../support/close.ts';

const root = packageRoot();
const wantsImages = (process.env.DAGUERRE_UPDATE_IMAGES ?? '0') !== '0';

let folder: string;
let server: StaticServer;
let browser: Browser;
let context: BrowserContext | undefined;
let page: Page;
let complaints: string[] = [];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'daguerre-demo-'));
  await build({ configFile: join(root, 'demo', 'vite.config.ts'), logLevel: 'error', build: { outDir: folder } });
  server = await serveDemo({ port: 0, host: '127.0.0.1', page: folder });
  browser = await launchBrowser();
}, 600_000);

afterAll(async () => {
  await browser?.close();
  await server?.close();
  if (folder) rmSync(folder, { recursive: true, force: true });
});

/** A page in a context of its own: nothing kept in another meets it. */
async function openPage(): Promise<void> {
  await context?.close();
  complaints = [];
  context = await browser.createBrowserContext();
  page = await context.newPage();
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('console', (message) => {
    // A model that is not beside the page, or is one folder without an index, is asked for once.
    if (message.type() === 'error' && !/404/.test(message.text())) complaints.push(message.text());
  });
}

afterEach(() => {
  const said = complaints;
  complaints = [];
  expect(said).toEqual([]);
});

/** Kernels compile at the first picture of a page, which on a software adapter takes its time. */
const PATIENCE = 280_000;
const state = (name: string, timeout = PATIENCE) => page.waitForSelector(`body[data-state=${name}]`, { timeout });
const textOf = (selector: string) => page.$eval(selector, (element) => element.textContent!.trim());

async function open(query = ''): Promise<void> {
  await page.goto(server.url + query);
  await state('ready');
}

/** RGBA of the plate as the screen shows it, one pixel of the picture on one of the screen. */
async function readPlate(): Promise<Uint8Array | Uint8ClampedArray> {
  // A page cannot read a WebGPU canvas back once its frame is over; the compositor still has it.
  const tag = await page.addStyleTag({
    content: `body { visibility: hidden } #plate { visibility: visible; position: fixed; left: 0; top: 0; width: 64px;
      height: 64px; border-radius: 0; box-shadow: none; image-rendering: pixelated }`,
  });
  // Clips count from the top of the document.
  await page.evaluate(() => scrollTo(0, 0));
  const clip = { x: 0, y: 0, width: 64, height: 64 };
  const png = await page.screenshot({ clip, captureBeyondViewport: false });
  await tag.evaluate((style) => (style as HTMLStyleElement).remove());
  return (await decodePng(png)).data;
}

/** RGBA of the newest print of the contact sheet. */
async function readPrint(): Promise<number[]> {
  return page.evaluate(async () => {
    const print = document.querySelector<HTMLImageElement>('#contact img')!;
    await print.decode();
    const canvas = new OffscreenCanvas(64, 64).getContext('2d')!;
    canvas.drawImage(print, 0, 0);
    return [...canvas.getImageData(0, 0, 64, 64).data];
  });
}

/** One page from the first picture to a reload, in this order: its kernels are compiled once. */
describe('a visit', { timeout: 300_000 }, () => {
  beforeAll(openPage);

  test('develops the picture that Node makes of the same seed', async () => {
    await open('?steps=4');
    expect(await textOf('#classes .choices label:nth-child(4)')).toBe('Food & Drink');
    await page.click('#classes .choices label:nth-child(4)');
    await page.$eval('#seed', (input) => ((input as HTMLInputElement).value = '4711'));
    await page.click('#develop');
    await state('developing');
    expect(await page.$eval('#develop', (button) => (button as HTMLButtonElement).disabled)).toBe(true);
    await state('ready');
    expect(await textOf('#status')).toMatch(/^Food & Drink, seed 4711: .* per step, .* in all\.$/);
    expect(await textOf('#adapter')).toMatch(/swiftshader/i);
    expect(new URL(page.url()).search).toBe('?class=3&seed=4711&steps=4&guidance=4');
    const [plate, print] = [await readPlate(), await readPrint()];

    const pipe = await Pipeline.fromPretrained(join(root, 'weights', 'emoji'), {
      adapter: 'swiftshader',
      dtype: 'f32',
    });
    try {
      const call = { classLabels: 3, generator: 4711, numInferenceSteps: 4, guidanceScale: 4 };
      const { images } = await pipe(call);
      const wanted = await images[0].toRgba();
      images[0].dispose();
      expectClose(plate, wanted, 2 * EIGHT_BIT, 'the plate against Node');
      expectClose(print, wanted, 2 * EIGHT_BIT, 'the print against Node');
    } finally {
      await pipe.dispose();
    }
  });

  test('shows the picture emerge, can be cancelled midway, and goes on', async () => {
    await page.$eval('#steps', (input) => ((input as HTMLInputElement).value = '60'));
    await page.click('#develop');
    await page.waitForFunction(() => /step [2-9] of 60/.test(document.querySelector('#status')!.textContent!), {
      timeout: PATIENCE,
    });
    const shown = await page.$eval('#progress', (bar) => (bar as HTMLProgressElement).value);
    expect(shown).toBeGreaterThan(0);
    await page.click('#cancel');
    await state('ready');
    expect(await textOf('#status')).toMatch(/^Cancelled at step \d+ of 60\./);
    expect(await page.$$('#contact img')).toHaveLength(1);

    // By keyboard alone: Escape stops as the button does, Enter in the form starts.
    await page.focus('#seed');
    await page.keyboard.press('Enter');
    await page.waitForFunction(() => /step \d+ of 60/.test(document.querySelector('#status')!.textContent!), {
      timeout: PATIENCE,
    });
    await page.keyboard.press('Escape');
    await state('ready');

    await page.$eval('#steps', (input) => ((input as HTMLInputElement).value = '1'));
    await page.click('#develop');
    await state('developing');
    await state('ready');
    expect(await page.$$('#contact img')).toHaveLength(2);
    expect(await page.$eval('#notice', (notice) => (notice as HTMLElement).hidden)).toBe(true);
  });

  test('refuses a seed out of range without starting', async () => {
    await page.$eval('#seed', (input) => ((input as HTMLInputElement).value = '-1'));
    await page.click('#develop');
    expect(await page.$eval('body', (body) => body.dataset.state)).toBe('ready');
    expect(await page.$eval('#seed', (input) => (input as HTMLInputElement).checkValidity())).toBe(false);
  });

  test('keeps its pictures over a reload, and takes their settings up again', async () => {
    await open('?class=8&seed=5&steps=7&guidance=2');
    const read = () => page.$eval('#controls', (f) => Object.fromEntries(new FormData(f as HTMLFormElement)));
    expect(await read()).toEqual({ class: '8', seed: '5', steps: '7', guidance: '2' });
    await page.click('#dice');
    expect((await read()).seed).not.toBe('5');
    expect(await page.$$('#contact img')).toHaveLength(2);
    await page.click('#contact li:nth-child(2) .print');
    expect(await read()).toEqual({ class: '3', seed: '4711', steps: '4', guidance: '4' });
    expect(await page.$eval('#contact a', (a) => (a as HTMLAnchorElement).download)).toBe('food-drink-seed-4711.png');
  });
});

describe('other models', { timeout: 300_000 }, () => {
  beforeEach(openPage);

  test('a picture is taken apart into codes, and codes that change places make another', async () => {
    await open('?model=emoji-vq');
    expect(await page.$eval('#models input:checked', (input) => (input as HTMLInputElement).value)).toBe('emoji-vq');
    expect(await page.$eval('#classes', (part) => (part as HTMLElement).hidden)).toBe(true);
    await page.click('#develop');
    await state('developing');
    await state('ready');
    expect(await textOf('#status')).toMatch(/^16 × 16 signs, \d+ different ones of 4,096: /);
    const first = await readPlate();
    await page.click('#shuffle');
    await state('developing');
    await state('ready');
    expect(await readPlate()).not.toEqual(first);
    expect(await page.$$('#contact img')).toHaveLength(2);
    expect(await page.$eval('#notice', (notice) => (notice as HTMLElement).hidden)).toBe(true);
    expect(new URL(page.url()).search).toBe('?model=emoji-vq');

    // By keyboard: the first cell and the one on its right change places.
    await page.focus('#codes');
    for (const key of ['Enter', 'ArrowRight', 'Enter'] as const) await page.keyboard.press(key);
    await page.waitForFunction(() => document.querySelectorAll('#contact img').length === 3, { timeout: PATIENCE });
    await page.waitForFunction(() => document.activeElement?.id === 'codes');

    const file = (await page.$('#file')) as ElementHandle<HTMLInputElement>;
    const invitation = await textOf('#drop-hint');
    await file.uploadFile(join(root, 'package.json'));
    await page.waitForFunction(() => /no picture/.test(document.querySelector('#drop-hint')!.textContent!));
    await file.uploadFile(join(root, 'docs', 'images', 'emoji-sheet.png'));
    await page.waitForFunction(() => document.querySelectorAll('#contact img').length === 4, { timeout: PATIENCE });
    expect(await textOf('#drop-hint')).toBe(invitation);
  });

  test('words are asked for: blanks alone are refused without starting', async () => {
    await open('?model=emoji-text');
    await page.$eval('#prompt', (input) => ((input as HTMLInputElement).value = '  '));
    await page.click('#develop');
    expect(await page.$eval('body', (body) => body.dataset.state)).toBe('ready');
    expect(await page.$eval('#prompt', (input) => (input as HTMLInputElement).checkValidity())).toBe(false);
    await page.$eval('#prompt', (input) => ((input as HTMLInputElement).value = ' red heart '));
    expect(await page.$eval('#prompt', (input) => (input as HTMLInputElement).checkValidity())).toBe(true);
  });

  test('models that are not beside the page are not offered', async () => {
    await page.setRequestInterception(true);
    page.on('request', (request) => {
      if (/weights\/emoji-(vq|dit)/.test(request.url())) void request.respond({ status: 404 });
      else void request.continue();
    });
    await open('?model=emoji-vq');
    const offered = await page.$$eval('#models input', (inputs) => inputs.map((i) => (i as HTMLInputElement).value));
    expect(offered).toContain('emoji');
    expect(offered).not.toContain('emoji-vq');
    expect(await page.$eval('#classes', (part) => (part as HTMLElement).hidden)).toBe(false);
  });
});

describe('trouble', { timeout: 300_000 }, () => {
  beforeEach(openPage);

  test('a lost device is told, and reloading the model brings the page back', async () => {
    await page.evaluateOnNewDocument(() => {
      const original = GPUAdapter.prototype.requestDevice;
      GPUAdapter.prototype.requestDevice = async function (...args) {
        const device = await original.apply(this, args);
        // As a driver's restart looks to a page: the promise settles, and it was not the page that asked for it.
        let lose!: (info: GPUDeviceLostInfo) => void;
        const lost = new Promise<GPUDeviceLostInfo>((resolve) => (lose = resolve));
        Object.defineProperty(device, 'lost', { value: lost });
        Object.assign(globalThis, { loseDevice: () => lose({ reason: 'unknown', message: 'driver reset' } as never) });
        return device;
      };
    });
    await open('?steps=1');
    await page.evaluate('loseDevice()');
    await state('failed');
    expect(await textOf('#notice-title')).toBe('The graphics device was lost');
    expect(await textOf('#notice-text')).toMatch(/driver reset/);
    await page.click('#notice-action');
    await state('ready');
    expect(await page.$eval('#develop', (button) => (button as HTMLButtonElement).disabled)).toBe(false);
  });

  test('a model that is not there is told, with a button that tries again', async () => {
    await page.setRequestInterception(true);
    let missing = true;
    page.on('request', (request) => {
      if (missing && request.url().includes('/weights/')) void request.respond({ status: 404 });
      else void request.continue();
    });
    await page.goto(server.url);
    await state('failed');
    expect(await textOf('#notice-text')).toMatch(/model_index\.json.*404/);
    missing = false;
    await page.click('#notice-action');
    await state('ready');
  });

  test.each([
    [
      'no WebGPU',
      () => Object.defineProperty(navigator, 'gpu', { value: undefined }),
      /has no WebGPU/,
      /Chrome or Edge/,
    ],
    [
      'no adapter',
      () => (GPU.prototype.requestAdapter = async () => null),
      /no graphics adapter/,
      /hardware acceleration/,
    ],
  ])('%s is said with what to do', async (_, spoil, title, advice) => {
    await page.evaluateOnNewDocument(spoil as () => void);
    await page.goto(server.url);
    await state('failed');
    expect(await textOf('#notice-title')).toMatch(title);
    expect(await textOf('#notice-steps')).toMatch(advice);
    expect(await textOf('#notice-action')).toBe('Try again');
    expect(await page.$eval('#develop', (button) => (button as HTMLButtonElement).disabled)).toBe(true);
  });

  test('fits a phone, without sideways scrolling', async () => {
    await page.setViewport({ width: 360, height: 740, isMobile: true, hasTouch: true });
    await open();
    // A name of one word may be as long as a prompt.
    await page.$eval('#status', (status) => (status.textContent = 'x'.repeat(200)));
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    expect(wide).toBe(0);
  });

  test.runIf(wantsImages)(
    'has its picture taken',
    async () => {
      await page.setViewport({ width: 1120, height: 1180, deviceScaleFactor: 1 });
      await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: 'dark' }]);
      await open('?steps=20');
      const subjects = [6, 5, 4, 3, 2, 7, 8, 1, 0];
      for (const subject of subjects) {
        await page.click(`#classes .choices label:nth-child(${subject + 1})`);
        await page.$eval('#seed', (input, seed) => ((input as HTMLInputElement).value = seed), `${1839 + subject}`);
        await page.click('#develop');
        await state('developing');
        await state('ready');
      }
      mkdirSync(join(root, 'docs', 'images'), { recursive: true });
      await page.evaluate(() => scrollTo(0, 0));
      await page.screenshot({ path: join(root, 'docs', 'images', 'demo.png') });
    },
    1_200_000,
  );
});
