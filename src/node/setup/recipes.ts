import { existsSync } from 'node:fs';
import { cp, mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { System } from './system.ts';

/** What can be fetched: two software Vulkan drivers, a browser, and what a hardware driver needs to be found. */
export type Component = 'lavapipe' | 'swiftshader' | 'chromium' | 'loader';

export interface Recipe {
  title: string;
  packages: string[];
  dependencies: boolean;
  /** Bytes to download and to keep, for the announcement before the package lists are known. */
  down: number;
  disk: number;
  /** Systems whose archives hold the packages. */
  systems: string[];
  /** Turns the unpacked packages into what is kept; returns the folder to keep. */
  finish: (tree: string, system: System) => Promise<string>;
}

/** Raised when a recipe changes, so that folders fetched by an older one are replaced. */
export const RECIPE_VERSION = 1;
export const SWIFTSHADER_FILES = ['libvk_swiftshader.so', 'vk_swiftshader_icd.json', 'libvulkan.so.1'];

async function dropDocumentation(tree: string): Promise<void> {
  const unused = ['doc', 'man', 'locale', 'lintian', 'bug', 'info', 'applications', 'icons', 'gtk-doc'];
  await Promise.all(unused.map((name) => rm(join(tree, 'usr', 'share', name), { recursive: true, force: true })));
}

/** A driver description with a path relative to itself, so that the cache folder may be moved. */
async function writeDriverDescription(folder: string, library: string): Promise<void> {
  const description = { file_format_version: '1.0.0', ICD: { library_path: `./${library}`, api_version: '1.3.0' } };
  await writeFile(join(folder, 'icd.json'), JSON.stringify(description, null, 2));
}

export const RECIPES: Record<Component, Recipe> = {
  lavapipe: {
    title: "lavapipe (Mesa's software Vulkan driver)",
    packages: ['mesa-vulkan-drivers', 'libvulkan1'],
    dependencies: true,
    down: 68e6,
    disk: 220e6,
    systems: ['debian', 'ubuntu'],
    async finish(tree, system) {
      const libraries = join('usr', 'lib', system.triplet);
      for (const name of await readdir(join(tree, libraries))) {
        const otherDriver = /^libvulkan_/.test(name) && name !== 'libvulkan_lvp.so';
        if (otherDriver) await rm(join(tree, libraries, name));
      }
      await dropDocumentation(tree);
      await writeDriverDescription(tree, join(libraries, 'libvulkan_lvp.so'));
      return tree;
    },
  },
  swiftshader: {
    title: "SwiftShader (Chromium's software Vulkan driver)",
    packages: ['chromium-common'],
    dependencies: false,
    down: 32e6,
    disk: 30e6,
    systems: ['debian'],
    finish: (tree) => keepSwiftShader(join(tree, 'usr', 'lib', 'chromium'), join(tree, 'kept')),
  },
  chromium: {
    title: 'Chromium (a browser for tests, benchmark and demo pictures)',
    packages: ['chromium', 'fonts-dejavu-core'],
    dependencies: true,
    down: 235e6,
    disk: 820e6,
    systems: ['debian'],
    async finish(tree) {
      await dropDocumentation(tree);
      return tree;
    },
  },
  loader: {
    title: 'the Vulkan loader (the system has a GPU driver but nothing that finds it)',
    // Drivers of NVIDIA's containers come without the X11 libraries that they link to.
    packages: ['libvulkan1', 'libx11-6', 'libxext6'],
    dependencies: true,
    down: 3e6,
    disk: 5e6,
    systems: ['debian', 'ubuntu'],
    async finish(tree) {
      await dropDocumentation(tree);
      return tree;
    },
  },
};

/** Copies the driver's three files out of a browser's folder. */
export async function keepSwiftShader(from: string, to: string): Promise<string> {
  await mkdir(to, { recursive: true });
  for (const name of SWIFTSHADER_FILES) {
    if (existsSync(join(from, name))) await cp(join(from, name), join(to, name), { dereference: true });
  }
  await writeDriverDescription(to, SWIFTSHADER_FILES[0]);
  return to;
}
