/** `Pipeline.fromPretrained`: reads what a folder is, loads it, and gives back something to call. */
import { ConfigError, Device, UnsupportedError, type DeviceOptions } from '../engine/index.ts';
import { readModelIndex } from '../loading/index.ts';
import { ClassLatentDiffusionPipeline } from './classLatentDiffusion.ts';
import type { ClassToImageOptions, ClassToImageResult } from './classToImage.ts';
import type { LoadPipelineOptions } from './options.ts';
import { resolveSource, type PretrainedSource, type SourceOptions } from './source.ts';

/** How to load a pipeline, and on which device. */
export interface FromPretrainedOptions extends LoadPipelineOptions, SourceOptions {
  /** An open device, which stays the caller's; by default one is opened and disposed of with the pipeline. */
  device?: Device;
  /** The WebGPU entry point for a device to be opened; default `navigator.gpu`. */
  gpu?: GPU;
  /** Limits of a device to be opened. */
  limits?: DeviceOptions['limits'];
}

/** A loaded pipeline; call it to make pictures. */
export interface Pipeline extends Pick<
  ClassLatentDiffusionPipeline,
  'device' | 'labels' | 'sampleSize' | 'sizeMultiple' | 'plan' | 'profile' | 'decode' | 'dispose'
> {
  /** From noise to pictures. @throws as {@link ClassLatentDiffusionPipeline.generate}. */
  (options: ClassToImageOptions): Promise<ClassToImageResult>;
}

/** Makes the object callable; everything else is the object's. */
function callable(pipeline: ClassLatentDiffusionPipeline, dispose: () => Promise<void>): Pipeline {
  const call = (options: ClassToImageOptions) => pipeline.generate(options);
  return new Proxy(call, {
    get(_, name) {
      if (name === 'dispose') return dispose;
      // A promise would otherwise take the pipeline for one.
      const value = Reflect.get(pipeline, name, pipeline) as unknown;
      return typeof value === 'function' ? (value.bind(pipeline) as unknown) : value;
    },
    has: (_, name) => name in pipeline,
  }) as unknown as Pipeline;
}

/** Loads pipelines of any kind that this version builds. */
export const Pipeline = {
  /**
   * Loads the pipeline that a source holds.
   * @param source a hub name, the URL of a folder, picked files, or a directory handle; in Node also a path
   * (`daguerre/node`).
   * @throws NotFoundError, NetworkError, FormatError, ConfigError, WeightError, AdapterError, OutOfMemoryError,
   * AbortedError, and UnsupportedError for a kind of pipeline that is not built yet; nothing is left behind.
   */
  async fromPretrained(source: PretrainedSource, options: FromPretrainedOptions = {}): Promise<Pipeline> {
    const directory = resolveSource(source, options);
    const { className } = await readModelIndex(directory, undefined, options.signal);
    if (className !== ClassLatentDiffusionPipeline.className) {
      const known = ClassLatentDiffusionPipeline.className;
      if (!className.endsWith('Pipeline')) {
        throw new ConfigError(`${directory.name}: expected a pipeline, got _class_name ${className}`, '_class_name');
      }
      throw new UnsupportedError(
        `${directory.name}: expected ${known}, got ${className}, which this version does not run`,
      );
    }
    const device = options.device ?? (await Device.open({ gpu: options.gpu, limits: options.limits }));
    const release = () => {
      if (!options.device) device.dispose();
    };
    try {
      const pipeline = await ClassLatentDiffusionPipeline.load(device, directory, options);
      return callable(pipeline, async () => {
        await pipeline.dispose();
        release();
      });
    } catch (error) {
      release();
      throw error;
    }
  },
};
