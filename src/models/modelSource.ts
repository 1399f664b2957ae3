/** Where a model comes from: a folder with config and weights, or both opened already. */
import type { LoadProgress } from '../engine/index.ts';
import {
  checkClass,
  type Checkpoint,
  openWeights,
  readConfig,
  type Directory,
  type RawConfig,
  type Rename,
} from '../loading/index.ts';
import { legacyAttentionKeys } from './legacyKeys.ts';
import type { RuntimeOptions } from './modelRuntime.ts';

/** A config and the weights that belong to it. The checkpoint stays the caller's to close. */
export interface OpenedModel {
  config: RawConfig;
  checkpoint: Checkpoint;
}

/** A component's folder, or its config and weights opened already. */
export type ModelSource = Directory | OpenedModel;

/** How to load a model. */
export interface LoadOptions extends RuntimeOptions {
  /** `fp16` prefers `NAME.fp16.safetensors`. */
  variant?: string;
  signal?: AbortSignal;
  /** Called after each weight. */
  onProgress?: (progress: LoadProgress) => void;
}

/**
 * Opens a component of a class (the first one names it), older key names under today's.
 * @returns `close` lets go of files that were opened here.
 * @throws NotFoundError, FormatError, ConfigError when it is of another class.
 */
export async function openModel(
  source: ModelSource,
  className: string | readonly string[],
  { variant, signal }: LoadOptions,
  rename: Rename = legacyAttentionKeys,
): Promise<OpenedModel & { close(): Promise<void> }> {
  if ('checkpoint' in source) {
    const names = typeof className === 'string' ? [className] : className;
    checkClass(source.config, names, names[0]);
    return { ...source, checkpoint: withCurrentNames(source.checkpoint, rename), close: async () => {} };
  }
  const config = await readConfig(source, className, { signal });
  const checkpoint = await openWeights(source, { variant, signal, rename });
  return { config, checkpoint, close: () => checkpoint.close() };
}

/** A checkpoint that its opener has given names of his own keeps them. */
function withCurrentNames(checkpoint: Checkpoint, rename: Rename): Checkpoint {
  const asStored = checkpoint.keys().every((key) => checkpoint.info(key).storedKey === key);
  return asStored ? checkpoint.view(rename) : checkpoint;
}
