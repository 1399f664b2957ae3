import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { AdapterError } from '../../engine/errors.ts';
import { aptFetch, megabytes, type Log } from './aptFetch.ts';
import { readAptSources } from './aptSources.ts';
import { cacheFolder } from './cacheFolder.ts';
import { withLock } from './lock.ts';
import { type Component, keepSwiftShader, RECIPE_VERSION, RECIPES, SWIFTSHADER_FILES } from './recipes.ts';
import { remedy } from './remedy.ts';
import { planArchives, readSystem, type System } from './system.ts';

export type { Component } from './recipes.ts';

/** The folder of a component fetched before, or `undefined`. */
export function fetchedFolder(component: Component, cache = cacheFolder()): string | undefined {
  const folder = join(cache, component);
  try {
    const about = JSON.parse(readFileSync(join(folder, 'fetched.json'), 'utf8')) as { version: number };
    return about.version === RECIPE_VERSION ? folder : undefined;
  } catch {
    return undefined;
  }
}

/** Library folders of a fetched component, for LD_LIBRARY_PATH or {@link preload}. */
export function libraryFolders(component: Component, folder: string, triplet = readSystem().triplet): string[] {
  if (component === 'swiftshader') return [folder];
  const shared = join(folder, 'usr', 'lib', triplet);
  const folders = [shared, join(folder, 'lib', triplet), join(folder, 'usr', 'lib')];
  if (component === 'chromium') folders.unshift(join(folder, 'usr', 'lib', 'chromium'), join(shared, 'pulseaudio'));
  return folders.filter((path) => existsSync(path));
}

/** Why a component cannot be fetched on this system, or `undefined` where it can. */
export function cannotFetch(component: Component, system: System = readSystem()): string | undefined {
  const recipe = RECIPES[component];
  if (/^(1|true|yes)$/i.test(process.env.DAGUERRE_NO_FETCH ?? '')) return 'DAGUERRE_NO_FETCH is set';
  if (system.platform !== 'linux' || !recipe.systems.includes(system.id) || !system.triplet) {
    const here = `${system.id || system.platform} on ${system.arch}`;
    const snap = system.id === 'ubuntu' ? " (Ubuntu's chromium package is only a stub for a snap)" : '';
    return `it can be fetched on ${recipe.systems.join(' and ')} only, and this is ${here}${snap}`;
  }
  if (system.codename === 'bullseye' || system.codename === 'jammy') {
    return `the packages of ${system.codename} are too old for the WebGPU implementation (Mesa 24 is needed)`;
  }
  if (!planArchives(system, readAptSources())) return `/etc/apt names no archive of ${system.codename}`;
  return undefined;
}

/** Removes what killed processes left; called with the lock held, so that nobody else is at work. */
async function removeLeftovers(cache: string): Promise<void> {
  for (const name of await readdir(cache)) {
    if (/^tmp-/.test(name) || /^old-/.test(name)) await rm(join(cache, name), { recursive: true, force: true });
  }
}

/** SwiftShader beside a browser that is there already. */
function swiftShaderNearby(cache: string): string | undefined {
  const own = fetchedFolder('chromium', cache);
  const places = [own && join(own, 'usr', 'lib', 'chromium'), '/usr/lib/chromium', '/opt/google/chrome'];
  const puppeteer = join(process.env.HOME ?? '', '.cache', 'puppeteer', 'chrome');
  for (const name of existsSync(puppeteer) ? readdirSync(puppeteer) : []) {
    places.push(join(puppeteer, name, name.startsWith('linux_arm') ? 'chrome-linux-arm64' : 'chrome-linux64'));
  }
  return places.find((place) => place && existsSync(join(place, SWIFTSHADER_FILES[0])));
}

async function install(component: Component, cache: string, log: Log): Promise<string> {
  const target = join(cache, component);
  const work = join(cache, `tmp-${component}-${process.pid}-${Date.now()}`);
  const system = readSystem();
  const nearby = component === 'swiftshader' ? swiftShaderNearby(cache) : undefined;
  let kept: string;
  let packages = [`copied from ${nearby}`];
  if (nearby) {
    kept = await keepSwiftShader(nearby, work);
  } else {
    const recipe = RECIPES[component];
    const reason = cannotFetch(component, system);
    const plan = reason ? undefined : planArchives(system, readAptSources());
    if (reason || !plan) {
      throw new AdapterError(
        `${recipe.title}: not installed here, and not fetched: ${reason}; this command would put it in place:\n` +
          `  ${remedy(component, system)}`,
      );
    }
    log(`${recipe.title} is not installed; fetching it into ${target}`);
    log(`  about ${megabytes(recipe.down)} to download, ${megabytes(recipe.disk)} kept; the system is not touched`);
    log('  (DAGUERRE_NO_FETCH=1 forbids this, DAGUERRE_CACHE chooses another folder)');
    const { dependencies } = recipe;
    const request = { folder: join(cache, 'apt'), plan, packages: recipe.packages, dependencies, into: work };
    packages = await aptFetch({ ...request, what: recipe.title, log }).catch((cause: Error) => {
      if (cause instanceof AdapterError) throw cause;
      throw new AdapterError(
        `${recipe.title}: not installed here, and fetching it failed: ${cause.message}\n` +
          `try again when the mirror can be reached (what was downloaded is kept), or run:\n  ${remedy(component, system)}`,
        { cause },
      );
    });
    kept = await recipe.finish(work, system);
  }
  const about = { component, version: RECIPE_VERSION, fetched: new Date().toISOString(), packages };
  await writeFile(join(kept, 'fetched.json'), JSON.stringify(about, null, 2));
  const old = join(cache, `old-${component}-${process.pid}`);
  if (existsSync(target)) await rename(target, old);
  await rename(kept, target);
  await rm(old, { recursive: true, force: true });
  await rm(work, { recursive: true, force: true });
  log(`${component}: ready`);
  return target;
}

/** Lines of set-up go to standard error: standard output belongs to the program's own result. */
export const logToStderr: Log = (line) => process.stderr.write(`daguerre: ${line}\n`);

/**
 * Makes sure that a component is in the cache folder, fetching it where it is not; says so before it does.
 * Safe when several processes ask at once, and after a process was killed at any point.
 * @returns its folder.
 * @throws AdapterError where it cannot be fetched, naming the one command that would put it in place.
 */
export async function ensureComponent(component: Component, log: Log = logToStderr): Promise<string> {
  const cache = cacheFolder();
  const found = fetchedFolder(component, cache);
  if (found) return found;
  await mkdir(dirname(join(cache, component)), { recursive: true });
  return withLock(
    join(cache, 'lock'),
    async () => {
      const meanwhile = fetchedFolder(component, cache);
      if (meanwhile) return meanwhile;
      await removeLeftovers(cache);
      return install(component, cache, log);
    },
    (pid) => log(`waiting for process ${pid}, which is fetching`),
  );
}
