import { existsSync, readFileSync, realpathSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import type { Browser, LaunchOptions } from 'puppeteer';
import { AdapterError } from '../engine/errors.ts';
import type { Log } from './setup/aptFetch.ts';
import { ensureComponent, fetchedFolder, libraryFolders } from './setup/components.ts';

export interface FoundBrowser {
  executablePath: string;
  /** Variables to add to the environment of the browser process. */
  env: Record<string, string>;
  /** Arguments that this browser needs wherever it runs. */
  args: string[];
  /** Where it comes from, for `daguerre doctor`. */
  origin: 'environment' | 'installed' | 'puppeteer' | 'fetched';
}

/** Arguments of every run: no sandbox (it needs privileges that containers lack), no traffic of the browser's own. */
const COMMON = [
  '--no-sandbox',
  '--enable-unsafe-webgpu',
  '--disable-background-networking',
  '--disable-component-update',
  '--no-first-run',
];

/** WebGPU on SwiftShader. Without the Vulkan and ANGLE flags a WebGPU canvas loses its device at the first frame. */
const SOFTWARE = [
  '--use-webgpu-adapter=swiftshader',
  '--enable-features=Vulkan',
  '--use-vulkan=swiftshader',
  '--use-angle=swiftshader',
];

/** WebGPU on the machine's GPU, which headless Chromium on Linux reaches through Vulkan only. */
const HARDWARE = process.platform === 'linux' ? ['--enable-features=Vulkan', '--use-angle=vulkan'] : [];

/** Command-line arguments for headless WebGPU. */
export function browserArguments(hardware = false): string[] {
  return [...COMMON, ...(hardware ? HARDWARE : SOFTWARE)];
}

const INSTALLED: Partial<Record<NodeJS.Platform, string[]>> = {
  linux: [
    '/usr/bin/chromium',
    '/usr/bin/google-chrome',
    '/usr/bin/google-chrome-stable',
    '/opt/google/chrome/chrome',
    '/usr/bin/chromium-browser',
  ],
  darwin: [
    '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
    '/Applications/Chromium.app/Contents/MacOS/Chromium',
  ],
  win32: [
    'C:\\Program Files\\Google\\Chrome\\Application\\chrome.exe',
    'C:\\Program Files (x86)\\Google\\Chrome\\Application\\chrome.exe',
  ],
};

/** Ubuntu's chromium is a script that asks for a snap, which cannot run in a container or be driven by puppeteer. */
function isSnapStub(file: string): boolean {
  const real = realpathSync(file);
  if (real.startsWith('/snap/') || real === '/usr/bin/snap') return true;
  const head = readFileSync(real).subarray(0, 4096);
  return head.subarray(0, 2).toString() === '#!' && head.toString('latin1').includes('snap');
}

async function puppeteerExecutable(): Promise<string | undefined> {
  try {
    const { default: puppeteer } = await import('puppeteer');
    const path = await puppeteer.executablePath();
    return existsSync(path) ? path : undefined;
  } catch {
    return undefined; // puppeteer or its browser is not installed
  }
}

/** Chromium's text needs fonts, and a description of where they are; a bare system has neither. */
async function writeFontConfiguration(folder: string): Promise<string> {
  const file = join(folder, 'fonts.conf');
  const folders = [join(folder, 'usr', 'share', 'fonts'), '/usr/share/fonts', '/usr/local/share/fonts'];
  const text =
    '<?xml version="1.0"?>\n<!DOCTYPE fontconfig SYSTEM "urn:fontconfig:fonts.dtd">\n<fontconfig>\n' +
    folders.map((path) => `  <dir>${path}</dir>\n`).join('') +
    `  <cachedir>${join(folder, 'fontcache')}</cachedir>\n</fontconfig>\n`;
  if (!existsSync(file) || readFileSync(file, 'utf8') !== text) await writeFile(file, text);
  return file;
}

async function fetchedBrowser(folder: string): Promise<FoundBrowser> {
  const libraries = libraryFolders('chromium', folder);
  if (process.env.LD_LIBRARY_PATH) libraries.push(process.env.LD_LIBRARY_PATH);
  const env: Record<string, string> = { LD_LIBRARY_PATH: libraries.join(delimiter) };
  if (!existsSync('/etc/fonts/fonts.conf')) env.FONTCONFIG_FILE = await writeFontConfiguration(folder);
  return { executablePath: join(folder, 'usr', 'lib', 'chromium', 'chromium'), env, args: [], origin: 'fetched' };
}

/**
 * A browser that is there already: named by a variable, installed, puppeteer's own, or fetched before.
 * @throws AdapterError when a variable names one that is not there.
 */
export async function existingBrowser(): Promise<FoundBrowser | undefined> {
  for (const variable of ['DAGUERRE_CHROMIUM', 'PUPPETEER_EXECUTABLE_PATH']) {
    const executablePath = process.env[variable];
    if (!executablePath) continue;
    if (!existsSync(executablePath)) {
      throw new AdapterError(
        `findBrowser: ${variable} names ${executablePath}, which does not exist; correct or unset it`,
      );
    }
    return { executablePath, env: {}, args: [], origin: 'environment' };
  }
  const installed = (INSTALLED[process.platform] ?? []).find((file) => existsSync(file) && !isSnapStub(file));
  if (installed) return { executablePath: installed, env: {}, args: [], origin: 'installed' };
  const own = await puppeteerExecutable();
  if (own) return { executablePath: own, env: {}, args: [], origin: 'puppeteer' };
  const folder = fetchedFolder('chromium');
  return folder ? fetchedBrowser(folder) : undefined;
}

/**
 * Finds a Chromium or Chrome, and fetches one into the cache folder where there is none.
 * @throws AdapterError where none can be had, naming the one command that would install one.
 */
export async function findBrowser(log?: Log): Promise<FoundBrowser> {
  return (await existingBrowser()) ?? fetchedBrowser(await ensureComponent('chromium', log));
}

export interface LaunchBrowserOptions extends LaunchOptions {
  /**
   * WebGPU on the machine's GPU instead of SwiftShader; default false, because results are then the same everywhere.
   */
  hardware?: boolean;
}

/**
 * Starts a headless browser with WebGPU through puppeteer.
 * @param options passed on to puppeteer's `launch`; `args` are added to ours.
 * @throws AdapterError where there is no browser or no puppeteer.
 */
export async function launchBrowser(options: LaunchBrowserOptions = {}): Promise<Browser> {
  const { hardware = false, args = [], env = {}, ...rest } = options;
  const found = await findBrowser();
  const { default: puppeteer } = await import('puppeteer').catch((cause: unknown) => {
    throw new AdapterError('launchBrowser: puppeteer is not installed; run: npm install --save-dev puppeteer', {
      cause,
    });
  });
  return puppeteer.launch({
    executablePath: found.executablePath,
    headless: true,
    // One software-rendered submit may take longer than puppeteer's default patience.
    protocolTimeout: 600_000,
    ...rest,
    args: [...browserArguments(hardware), ...found.args, ...args],
    env: { ...process.env, ...found.env, ...env },
  });
}
