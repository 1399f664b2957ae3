/**
 * A network's folder as its authors lay it out, opened: the config names its class, keys are those of the network
 * alone.
 */
import { openWeights, readConfig, type Checkpoint, type Directory, type RawConfig } from '../../loading/index.ts';
import type { OpenedModel } from '../../models/modelSource.ts';
import type { LoadPipelineOptions } from '../options/loadOptions.ts';
import { withClass } from './kinds.ts';

/** A network's folder, or its config and weights opened already. */
export type OriginalSource = Directory | OpenedModel;

/** What PyTorch puts before every key of a network that was trained on several devices. */
const PARALLEL = 'module.';

/**
 * Opens config and weights. The file of weights may keep the name that its authors gave it where it is the only one.
 * @throws NotFoundError, NetworkError, FormatError (for pickles, too), AbortedError
 */
export async function openOriginal(
  source: OriginalSource,
  { variant, signal }: Pick<LoadPipelineOptions, 'variant' | 'signal'> = {},
): Promise<OpenedModel & { close(): Promise<void> }> {
  if ('checkpoint' in source) {
    return {
      config: withClass(source.config),
      checkpoint: withoutParallel(source.checkpoint),
      close: async () => {},
    };
  }
  const config = await readConfig(source, undefined, { signal });
  const checkpoint = await openWeights(source, { variant, signal, base: await onlyFile(source, signal) });
  return { config: withClass(config), checkpoint: withoutParallel(checkpoint), close: () => checkpoint.close() };
}

/** The same network under keys without the prefix, where all have it. */
export function withoutParallel(checkpoint: Checkpoint): Checkpoint {
  const parallel = checkpoint.keys().every((key) => key.startsWith(PARALLEL));
  return parallel ? checkpoint.view((key) => key.slice(PARALLEL.length)) : checkpoint;
}

/** Class names of a config, by index, and the config without them: networks know no such field. */
export function withoutLabels(config: RawConfig): { labels: Record<number, string>; config: RawConfig } {
  const { id2label, ...rest } = config;
  return { labels: (id2label ?? {}) as Record<number, string>, config: rest };
}

async function onlyFile(folder: Directory, signal?: AbortSignal): Promise<string | undefined> {
  const files = (await folder.list(signal))?.filter((name) => name.endsWith('.safetensors')) ?? [];
  return files.length === 1 ? files[0].replace(/\.safetensors$/, '') : undefined;
}
