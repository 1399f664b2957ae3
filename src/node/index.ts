/** `daguerre/node`: the library with a WebGPU of its own (Dawn), paths on disk, and PNG files. */
import { existsSync } from 'node:fs';
import { Pipeline as Anywhere, type FromPretrainedOptions, type PretrainedSource } from '../pipelines/index.ts';
import { openGpu, type AdapterChoice } from './adapter.ts';
import { pathDirectory } from './fileSource.ts';

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

/** How to load a pipeline in Node. */
export interface NodeOptions extends FromPretrainedOptions {
  /** `auto` (a real GPU, else a software adapter), `hardware`, `lavapipe`, `swiftshader`, or part of a device's name. */
  adapter?: AdapterChoice;
}

/** A string that names a folder here rather than on the hub. */
const isPath = (source: string) => /^(\.{0,2}[/\\]|\.{1,2}$|[A-Za-z]:[/\\])/.test(source) || existsSync(source);

/** A loaded pipeline; call it to make pictures. */
export type Pipeline = Anywhere;

/** Loads pipelines, from paths too, on a WebGPU of its own. */
export const Pipeline = {
  /**
   * As in the browser; a source may also be a path, and WebGPU is opened when no device or gpu is given.
   * @throws as the browser's, and AdapterError where WebGPU cannot be had.
   */
  async fromPretrained(source: PretrainedSource, options: NodeOptions = {}): Promise<Anywhere> {
    const place = typeof source === 'string' && isPath(source) ? pathDirectory(source) : source;
    if (options.device || options.gpu) return Anywhere.fromPretrained(place, options);
    const { gpu } = await openGpu({ adapter: options.adapter });
    return Anywhere.fromPretrained(place, { ...options, gpu });
  },
};
