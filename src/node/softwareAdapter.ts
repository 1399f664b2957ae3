import { existsSync, readdirSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { AdapterError } from '../engine/errors.ts';
import { ensureComponent, fetchedFolder, libraryFolders } from './setup/components.ts';
import type { Log } from './setup/aptFetch.ts';
import { preload } from './setup/preload.ts';
import { readSystem } from './setup/system.ts';

/** Vulkan drivers that run on the CPU. */
export type SoftwareAdapter = 'lavapipe' | 'swiftshader';

const DRIVER: Record<SoftwareAdapter, string> = { lavapipe: 'libvulkan_lvp.so', swiftshader: 'libvk_swiftshader.so' };
const LOADER = 'libvulkan.so.1';

/** The loader's older and newer names for "these drivers only". */
const DRIVER_VARIABLES = ['VK_ICD_FILENAMES', 'VK_DRIVER_FILES'];

/** Whether the system has a Vulkan loader of its own. */
export function hasSystemLoader(): boolean {
  const { triplet } = readSystem();
  const places = [`/usr/lib/${triplet}`, `/lib/${triplet}`, '/usr/lib64', '/usr/lib', '/usr/local/lib'];
  return places.some((place) => existsSync(join(place, LOADER)));
}

/** Driver descriptions that the Vulkan loader would find on this system, fetched ones apart. */
export function findSystemDrivers(): string[] {
  const named = DRIVER_VARIABLES.flatMap((name) => (process.env[name] ?? '').split(delimiter)).filter(Boolean);
  if (named.length > 0) return named;
  const roots = ['/usr/share', '/usr/local/share', '/etc', '/usr/local/etc', process.env.XDG_DATA_HOME ?? ''];
  return roots.filter(Boolean).flatMap((root) => {
    const folder = join(root, 'vulkan', 'icd.d');
    return existsSync(folder) ? readdirSync(folder).map((name) => join(folder, name)) : [];
  });
}

/** Libraries that a hardware driver may need and a bare container may lack. */
const FOR_DRIVERS = [LOADER, 'libX11.so.6', 'libXext.so.6'];

function hasGpuDevice(): boolean {
  return ['/dev/dri', '/dev/nvidia0', '/dev/dxg', '/dev/kfd'].some((path) => existsSync(path));
}

/**
 * Makes sure that drivers of the system can be found: where it has a GPU and its driver but no Vulkan loader (usual in
 * containers), one is fetched and mapped.
 */
export async function useSystemDrivers(log?: Log): Promise<void> {
  if (process.platform !== 'linux' || hasSystemLoader()) return;
  let folder = fetchedFolder('loader');
  if (!folder && hasGpuDevice() && findSystemDrivers().length > 0) {
    // Without it there are still the software adapters, which tell what is wrong if they fail too.
    folder = await ensureComponent('loader', log).catch(() => undefined);
  }
  if (!folder) return;
  for (const name of FOR_DRIVERS) preload(name, libraryFolders('loader', folder));
}

/**
 * Makes a software driver usable in this process: fetches it if need be, maps its libraries, and points the Vulkan
 * loader at it.
 * @returns a function that puts the environment back, to be called once the driver has been loaded.
 * @throws AdapterError where it cannot be had.
 */
export async function ensureSoftwareAdapter(name: SoftwareAdapter, log?: Log): Promise<() => void> {
  const folder = await ensureComponent(name, log);
  const libraries = libraryFolders(name, folder);
  if (!hasSystemLoader() && !preload(LOADER, libraries)) {
    throw new AdapterError(`${name}: ${LOADER} does not load from ${libraries[0]}; remove ${folder} and try again`);
  }
  if (name === 'lavapipe') preload(DRIVER[name], libraries);
  const before = DRIVER_VARIABLES.map((variable) => process.env[variable]);
  for (const variable of DRIVER_VARIABLES) process.env[variable] = join(folder, 'icd.json');
  return () => {
    DRIVER_VARIABLES.forEach((variable, i) => {
      if (before[i] === undefined) delete process.env[variable];
      else process.env[variable] = before[i];
    });
  };
}

/** Environment that lets *another* program (a benchmark peer, a native tool) find the software drivers. */
export async function softwareEnvironment(names: SoftwareAdapter[], log?: Log): Promise<Record<string, string>> {
  const libraries: string[] = [];
  const drivers: string[] = [];
  for (const name of names) {
    const folder = await ensureComponent(name, log);
    libraries.push(...libraryFolders(name, folder));
    drivers.push(join(folder, 'icd.json'));
  }
  if (process.env.LD_LIBRARY_PATH) libraries.push(process.env.LD_LIBRARY_PATH);
  const list = drivers.join(delimiter);
  return { LD_LIBRARY_PATH: libraries.join(delimiter), VK_ICD_FILENAMES: list, VK_DRIVER_FILES: list };
}
