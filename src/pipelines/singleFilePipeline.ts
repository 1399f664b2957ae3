/** Pipelines from checkpoints in one file, in the layout of their authors. */
import { FormatError, type Device } from '../engine/index.ts';
import { Checkpoint, type ByteSource } from '../loading/index.ts';
import { openSingleFile, refusePickle } from '../models/singleFile.ts';
import type { LoadPipelineOptions } from './options/loadOptions.ts';
import { kindByKeys } from './original/byKeys.ts';
import { originalPipeline, type OriginalPipelineClass } from './original/index.ts';
import type { LoadedPipeline } from './pipeline.ts';
import { fileSources } from './stableDiffusion/sources.ts';
import type { SourceOptions } from './source/source.ts';
import { StableDiffusionPipeline } from './stableDiffusion/stableDiffusion.ts';

/**
 * Loads the Stable Diffusion (1.x, 2.x, XL or its refiner) that a file holds, or the network whose whole config is
 * given as that of `unet`. The device is opened once the file is known to be one.
 * @throws FormatError for a pickle or an unknown layout; ConfigError for a part alone, or a tokenizer of another model;
 * otherwise as {@link StableDiffusionPipeline.load}; nothing is left behind.
 */
export async function loadSingleFile(
  open: () => Promise<Device>,
  source: ByteSource,
  options: LoadPipelineOptions & SourceOptions,
): Promise<LoadedPipeline> {
  const { signal, configs, predictionType } = options;
  const own = configs?.unet && (await originalPipeline(configs.unet));
  if (own) return networkAlone(open, source, options, own);
  const file = await openSingleFile(source, { signal, configs, predictionType }).catch(async (error: unknown) => {
    throw (error instanceof FormatError && (await networkWithoutConfig(source, signal))) || error;
  });
  try {
    const sources = await fileSources(source.name, file, options);
    return await StableDiffusionPipeline.fromSources(await open(), sources, options);
  } finally {
    await file.close();
  }
}

/** A network in its authors' layout, which no file says enough of. */
async function networkAlone(
  open: () => Promise<Device>,
  source: ByteSource,
  options: LoadPipelineOptions,
  pipeline: OriginalPipelineClass,
): Promise<LoadedPipeline> {
  await refusePickle(source, options.signal);
  const checkpoint = await Checkpoint.open(source, { signal: options.signal });
  try {
    return await pipeline.load(await open(), { config: options.configs!.unet!, checkpoint }, options);
  } finally {
    await checkpoint.close();
  }
}

/** What to do with a network in its authors' layout that comes alone; undefined for any other file. */
async function networkWithoutConfig(source: ByteSource, signal?: AbortSignal): Promise<FormatError | undefined> {
  const checkpoint = await Checkpoint.open(source, { signal }).catch(() => undefined);
  try {
    const kind = checkpoint && kindByKeys(checkpoint);
    return (
      kind &&
      new FormatError(
        `single file ${source.name}: expected a checkpoint whose weights tell its config, got a ${kind.className} in the ` +
          'layout of its authors; pass a folder with its config.json beside it, or configs: { unet: its config }',
      )
    );
  } finally {
    await checkpoint?.close();
  }
}
