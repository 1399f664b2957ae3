/** Pipeline folders put together in memory from recorded networks, and the same networks on the host's vectors. */
import { readFileSync } from 'node:fs';
import { numel, type Device } from '../../src/engine/index.ts';
import { filesDirectory, type Directory } from '../../src/loading/index.ts';
import type { ModelOutput } from '../../src/models/index.ts';
import type { HostSpace, Network } from '../../src/sampler/index.ts';
import { fixturesPath } from '../models/fixtures.ts';
import { file, type Tensor } from '../loading/files.ts';

const WEIGHTS = 'diffusion_pytorch_model.safetensors';

/** A network of a folder: a recorded one, or one with other fields and weights. */
export type PartSource = string | { config: Record<string, unknown>; tensors: Record<string, Tensor> };

export interface FolderParts {
  className: string;
  /** By folder name. */
  parts: Readonly<Record<string, PartSource>>;
  /** Scheduler configs by folder name. */
  schedulers: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  /** Further fields of `model_index.json`. */
  fields?: Readonly<Record<string, unknown>>;
  /** Further files by path. */
  more?: Readonly<Record<string, Uint8Array>>;
}

/** A pipeline folder. */
export function pipelineFolder({ className, parts, schedulers, fields, more = {} }: FolderParts): Directory {
  const files: Record<string, Blob> = {};
  const index: Record<string, unknown> = { _class_name: className, _diffusers_version: '0.31.0', ...fields };
  const json = (value: unknown) => new Blob([JSON.stringify(value)]);
  for (const [name, part] of Object.entries(parts)) {
    const config =
      typeof part === 'string'
        ? (JSON.parse(readFileSync(`${fixturesPath}/${part}/config.json`, 'utf8')) as Record<string, unknown>)
        : part.config;
    const bytes =
      typeof part === 'string'
        ? Uint8Array.from(readFileSync(`${fixturesPath}/${part}/${WEIGHTS}`))
        : file(part.tensors);
    index[name] = ['diffusers', config._class_name];
    files[`${name}/config.json`] = json(config);
    files[`${name}/${WEIGHTS}`] = new Blob([bytes as Uint8Array<ArrayBuffer>]);
  }
  for (const [name, config] of Object.entries(schedulers)) {
    index[name] = ['diffusers', config._class_name];
    files[`${name}/scheduler_config.json`] = json(config);
  }
  for (const [path, bytes] of Object.entries(more)) files[path] = new Blob([bytes as Uint8Array<ArrayBuffer>]);
  files['model_index.json'] = json(index);
  return filesDirectory(files, className);
}

/** A model's forward as a network on host vectors. */
export function hostNetwork(
  space: HostSpace,
  shape: readonly number[],
  forward: (sample: { data: Float32Array; shape: readonly number[] }, timestep: number) => Promise<ModelOutput>,
): Network {
  return async (x, timestep) => {
    const out = await forward({ data: Float32Array.from(await space.read(x)), shape }, timestep);
    return space.vec((await out.read()).slice(0, numel(out.shape)), shape[0]);
  };
}

/** Largest magnitude: what tolerances are relative to. */
export const largest = (values: ArrayLike<number>): number =>
  Array.from(values).reduce((a, v) => Math.max(a, Math.abs(v)), 0);

/** What the device holds, once it has settled. */
export async function heldBy(device: Device): Promise<{ bytes: number; buffers: number }> {
  await device.idle();
  return { ...device.held };
}
