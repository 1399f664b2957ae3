/** Pipelines from checkpoints in one file, in the layout of their authors. */
import type { Device } from '../engine/index.ts';
import type { ByteSource } from '../loading/index.ts';
import { openSingleFile } from '../models/singleFile.ts';
import type { LoadPipelineOptions } from './options.ts';
import { fileSources } from './sdSources.ts';
import type { SourceOptions } from './source.ts';
import { StableDiffusionPipeline } from './stableDiffusion.ts';

/**
 * Loads the Stable Diffusion (1.x, 2.x, XL or its refiner) that a file holds. The device is opened once the file is known
 * to be one.
 * @throws FormatError for a pickle or an unknown layout; ConfigError for a part alone, or a tokenizer of another model;
 * otherwise as {@link StableDiffusionPipeline.load}; nothing is left behind.
 */
export async function loadSingleFile(
  open: () => Promise<Device>,
  source: ByteSource,
  options: LoadPipelineOptions & SourceOptions,
): Promise<StableDiffusionPipeline> {
  const { signal, configs, predictionType } = options;
  const file = await openSingleFile(source, { signal, configs, predictionType });
  try {
    const sources = await fileSources(source.name, file, options);
    return await StableDiffusionPipeline.fromSources(await open(), sources, options);
  } finally {
    await file.close();
  }
}
