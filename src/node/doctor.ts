import { existsSync, readFileSync } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { release } from 'node:os';
import { dirname, join } from 'node:path';
import { type AdapterChoice, openGpu } from './adapter.ts';
import { existingBrowser } from './browser.ts';
import { freeBytes, type Log } from './setup/aptFetch.ts';
import { cacheFolder, packageRoot } from './setup/cacheFolder.ts';
import { runCommand } from './setup/command.ts';
import { cannotFetch, type Component, ensureComponent, fetchedFolder } from './setup/components.ts';
import { remedy } from './setup/remedy.ts';
import { readSystem } from './setup/system.ts';
import { findSystemDrivers } from './softwareAdapter.ts';

/** A limit that decides what fits and how fast it runs; `standard` is what every WebGPU device has. */
export interface LimitReport {
  name: string;
  standard: number;
  offered: number;
}

export interface AdapterReport {
  name: string;
  available: boolean;
  vendor: string;
  architecture: string;
  device: string;
  /** Driver and its version, in the driver's own words. */
  driver: string;
  backend: string;
  isFallback: boolean;
  subgroups: [number, number];
  features: string[];
  limits: LimitReport[];
  /** Why it is not available. */
  problem?: string;
}

export interface Problem {
  what: string;
  /** One command that would put it right. */
  command: string;
}

export interface Report {
  version: string;
  node: { version: string; needed: string; ok: boolean };
  system: string;
  /** Version of the npm package webgpu, which is Dawn. */
  dawn: string | undefined;
  adapters: AdapterReport[];
  browser: { executablePath: string; origin: string; version: string } | undefined;
  cache: { folder: string; free: number; components: { name: string; bytes: number; fetched: string }[] };
  problems: Problem[];
}

/** Limits that matter here, with WebGPU's defaults (bytes or counts). */
export const DEFAULT_LIMITS = {
  maxStorageBufferBindingSize: 128 * 2 ** 20,
  maxBufferSize: 256 * 2 ** 20,
  maxStorageBuffersPerShaderStage: 8,
  maxUniformBufferBindingSize: 64 * 2 ** 10,
  maxComputeWorkgroupStorageSize: 16 * 2 ** 10,
  maxComputeInvocationsPerWorkgroup: 256,
  maxComputeWorkgroupSizeX: 256,
  maxComputeWorkgroupsPerDimension: 65535,
} as const;

const BACKENDS: Partial<Record<NodeJS.Platform, string>> = { darwin: 'Metal', win32: 'D3D12', linux: 'Vulkan' };

const ABSENT = {
  available: false,
  vendor: '',
  architecture: '',
  device: '',
  driver: '',
  backend: '',
  isFallback: false,
  subgroups: [0, 0] as [number, number],
  features: [],
  limits: [],
};

async function examine(choice: AdapterChoice): Promise<AdapterReport> {
  const name = String(choice);
  try {
    const adapter = await (await openGpu({ adapter: choice })).gpu.requestAdapter();
    if (!adapter) return { ...ABSENT, name, problem: 'the driver gave no adapter' };
    const { info, limits } = adapter;
    const names = Object.keys(DEFAULT_LIMITS) as (keyof typeof DEFAULT_LIMITS)[];
    return {
      name,
      available: true,
      vendor: info.vendor,
      architecture: info.architecture,
      device: info.device,
      driver: info.description,
      backend: BACKENDS[process.platform] ?? 'unknown',
      isFallback: info.isFallbackAdapter,
      subgroups: [Number(info.subgroupMinSize), Number(info.subgroupMaxSize)],
      features: [...adapter.features].sort(),
      limits: names.map((limit) => ({ name: limit, standard: DEFAULT_LIMITS[limit], offered: limits[limit] })),
    };
  } catch (error) {
    return { ...ABSENT, name, problem: (error as Error).message };
  }
}

async function bytesBelow(folder: string): Promise<number> {
  const entries = await readdir(folder, { withFileTypes: true, recursive: true });
  const files = entries.filter((entry) => entry.isFile());
  const sizes = await Promise.all(files.map((entry) => stat(join(entry.parentPath, entry.name)).then((s) => s.size)));
  return sizes.reduce((a, b) => a + b, 0);
}

function packageVersion(folder: string): string {
  return (JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as { version: string }).version;
}

function dawnVersion(): string | undefined {
  try {
    return packageVersion(dirname(createRequire(import.meta.url).resolve('webgpu')));
  } catch {
    return undefined;
  }
}

async function cacheReport(): Promise<Report['cache']> {
  const folder = cacheFolder();
  const components = [];
  for (const name of ['lavapipe', 'swiftshader', 'chromium', 'loader'] as const) {
    const at = fetchedFolder(name);
    if (!at) continue;
    const { fetched } = JSON.parse(readFileSync(join(at, 'fetched.json'), 'utf8')) as { fetched: string };
    components.push({ name, bytes: await bytesBelow(at), fetched });
  }
  let there = folder;
  while (!existsSync(there)) there = dirname(there);
  return { folder, free: await freeBytes(there), components };
}

async function browserReport(): Promise<Report['browser']> {
  const found = await existingBrowser();
  if (!found) return undefined;
  const { executablePath, origin } = found;
  const said = await runCommand(executablePath, ['--version'], { env: { ...process.env, ...found.env } });
  return { executablePath, origin, version: said.code === 0 ? said.stdout.trim() : 'does not start' };
}

function missing(component: Component, what: string): Problem {
  const reason = cannotFetch(component);
  if (!reason) return { what, command: 'npx daguerre doctor --fetch' };
  return { what: `${what}; not fetched: ${reason}`, command: remedy(component, readSystem()) };
}

/** Whether Node's version is at least 20.19, the oldest that is tested. */
export function isNodeSupported(version = process.versions.node): boolean {
  const [major, minor] = version.split('.').map(Number);
  return major > 20 || (major === 20 && minor >= 19);
}

/**
 * Finds out what WebGPU can do on this machine, what is missing, and what to do about it.
 * @param options.fetch also fetches the software adapters and the browser first; without it nothing is downloaded.
 */
export async function doctor(options: { fetch?: boolean; log?: Log } = {}): Promise<Report> {
  const problems: Problem[] = [];
  if (options.fetch) {
    for (const component of ['lavapipe', 'swiftshader', 'chromium'] as const) {
      if (component === 'chromium' && (await existingBrowser())) continue;
      await ensureComponent(component, options.log).catch(() => undefined); // told below as missing
    }
  }
  const dawn = dawnVersion();
  if (!dawn)
    problems.push({ what: 'WebGPU in Node (npm package webgpu) is not installed', command: 'npm install webgpu' });

  const adapters: AdapterReport[] = [];
  if (dawn) {
    adapters.push(await examine('hardware'));
    for (const name of ['lavapipe', 'swiftshader'] as const) {
      const onSystem = name === 'lavapipe' && findSystemDrivers().some((file) => file.includes('lvp_icd'));
      if (onSystem || fetchedFolder(name)) adapters.push(await examine(name));
      else adapters.push({ ...ABSENT, name, problem: 'not installed and not fetched' });
    }
  }
  if (dawn && !adapters.some((adapter) => adapter.available)) {
    problems.push(missing('lavapipe', 'no WebGPU adapter, neither hardware nor software'));
  }
  const swiftshader = adapters.find((adapter) => adapter.name === 'swiftshader');
  if (swiftshader && !swiftshader.available) problems.push(missing('swiftshader', 'no SwiftShader (the tests use it)'));

  let browser: Report['browser'];
  try {
    browser = await browserReport();
    if (!browser) problems.push(missing('chromium', 'no browser (browser tests and benchmark use it)'));
    if (browser?.version === 'does not start') {
      const what = `${browser.executablePath} does not start: libraries are missing`;
      problems.push({ what, command: remedy('chromium', readSystem()) });
    }
  } catch (error) {
    problems.push({ what: (error as Error).message, command: 'unset DAGUERRE_CHROMIUM PUPPETEER_EXECUTABLE_PATH' });
  }

  const needed = '>= 20.19';
  const node = { version: process.versions.node, needed, ok: isNodeSupported() };
  if (!node.ok)
    problems.push({ what: `Node ${node.version} is too old, ${needed} is needed`, command: 'nvm install 22' });

  const { id, codename, arch, platform } = readSystem();
  const system = [id || platform, codename, arch, release()].filter(Boolean).join(' ');
  const cache = await cacheReport();
  if (cache.free < 2e9 && cache.components.length < 3) {
    const what = `only ${Math.round(cache.free / 1e6)} MB free at ${cache.folder}, where up to 2 GB are needed`;
    problems.push({ what, command: 'export DAGUERRE_CACHE=/a/folder/on/a/larger/disk' });
  }
  return { version: packageVersion(packageRoot()), node, system, dawn, adapters, browser, cache, problems };
}
