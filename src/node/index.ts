/** `daguerre/node`: the library with a WebGPU of its own (Dawn), paths on disk, and PNG files. */
import { existsSync, statSync } from 'node:fs';
import { tuneOptions } from '../engine/tune.ts';
import type { ByteSource, Directory } from '../loading/index.ts';
import { Pipeline as Anywhere, type FromPretrainedOptions, type PretrainedSource } from '../pipelines/index.ts';
import { openGpu, type AdapterChoice } from './adapter.ts';
import { FileSource, pathDirectory } from './fileSource.ts';
import { fileTuneStore } from './tuneCache.ts';

export * from '../index.ts';
export * from '../models/all.ts';
export * as ops from '../kernels/all.ts';
export { isSoftware, openGpu } from './adapter.ts';
export { findBrowser, launchBrowser } from './browser.ts';
export { doctor } from './doctor.ts';
export { formatReport } from './doctorText.ts';
export { FileSource, pathDirectory } from './fileSource.ts';
export { runParity } from './parity/run.ts';
export { decodePng, encodePng, saveImage, type Raster } from './png.ts';
export { ensureComponent } from './setup/components.ts';
export { softwareEnvironment } from './softwareAdapter.ts';
export { fileTuneStore } from './tuneCache.ts';

/** How to load a pipeline in Node. */
export interface NodeOptions extends FromPretrainedOptions {
  /**
   * `auto` (a real GPU, else a software adapter), `hardware`, `lavapipe`, `swiftshader`, or part of a device's name.
   */
  adapter?: AdapterChoice;
}

/** A string that names a folder or a file here rather than on the hub. */
const isPath = (source: string) => /^(\.{0,2}[/\\]|\.{1,2}$|[A-Za-z]:[/\\])/.test(source) || existsSync(source);

/** A folder or a checkpoint in one file, by its path; undefined for what is no path. */
function local(name: string): Directory | ByteSource | undefined {
  if (!isPath(name)) return undefined;
  const info = statSync(name, { throwIfNoEntry: false });
  const isFile = info ? info.isFile() : /\.(safetensors|ckpt|pt|pth|bin|pkl)$/i.test(name);
  return isFile ? new FileSource(name) : pathDirectory(name);
}

/** A loaded pipeline; call it to make pictures. */
export type Pipeline = Anywhere;

/** Loads pipelines, from paths too, on a WebGPU of its own. */
export const Pipeline = {
  /**
   * As in the browser; a source may also be the path of a folder or of a checkpoint in one file, as may the sources of
   * a tokenizer and of adapters, and WebGPU is opened when no device or gpu is given.
   * @throws as the browser's, and AdapterError where WebGPU cannot be had.
   */
  async fromPretrained(source: PretrainedSource, options: NodeOptions = {}): Promise<Anywhere> {
    const here = { local, ...options, tune: { store: fileTuneStore(), ...tuneOptions(options.tune) } };
    if (options.device || options.gpu) return Anywhere.fromPretrained(source, here);
    const { gpu } = await openGpu({ adapter: options.adapter });
    return Anywhere.fromPretrained(source, { ...here, gpu });
  },
};
