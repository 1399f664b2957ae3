/** What pipelines have in common whatever their pictures are made from: parts, sizes, plan, pictures of latents. */
import {
  InvalidArgumentError,
  LimitError,
  UnsupportedError,
  type CompileProgress,
  type Device,
  type Profile,
} from '../../engine/index.ts';
import { readConfig, type Directory } from '../../loading/index.ts';
import { latentScaling, mapLatents } from '../../models/latentScaling.ts';
import type { SplitReport, Tiling } from '../../models/splitCalls.ts';
import type { TilingOptions } from '../../models/tiling.ts';
import type { SchedulerClass } from '../../sampler/index.ts';
import { samplerFrom } from '../../sampler/diffusers/samplerFrom.ts';
import { encodePictures, reconstruct, type Autoencoder, type EncodeOptions, type Latents } from './autoencoding.ts';
import type { PipelinePlan } from '../options/generation.ts';
import { GpuSpace } from '../gpu/gpuSpace.ts';
import type { GeneratedImage } from '../picture/image.ts';
import type { ImageInput } from '../picture/imageInput.ts';
import type { LatentDecoder } from './latentDecoder.ts';
import { latentSize, type LatentShape, type Sizes } from './latents.ts';
import type { LoadPipelineOptions } from '../options/loadOptions.ts';

/** A network of a pipeline, or something else that holds weights. */
export interface Part {
  readonly weightBytes: number;
  dispose(): void;
}

/** Hands a part on, and remembers it. */
export type Owner = <P extends Part>(part: Promise<P>) => Promise<P>;

/** Loads parts one after the other; when one fails, those before it are given back. @throws as `load` does */
export async function loadParts<T>(load: (own: Owner, all: readonly Part[]) => Promise<T>): Promise<T> {
  const all: Part[] = [];
  try {
    return await load(async (part) => {
      all.push(await part);
      return part;
    }, all);
  } catch (error) {
    for (const part of all) part.dispose();
    throw error;
  }
}

/**
 * The config of a scheduler's folder, tried out: a bad one is an error now, not after a minute of loading.
 * @param className of the scheduler, in place of the one that the folder names
 * @throws NotFoundError, FormatError, ConfigError, UnsupportedError for a scheduler that is not built; AbortedError
 */
export async function readScheduler(
  directory: Directory,
  { signal }: LoadPipelineOptions,
  { folder = 'scheduler', className }: { folder?: string; className?: string } = {},
): Promise<Readonly<Record<string, unknown>>> {
  const config = await readConfig(directory.folder(folder), undefined, { file: 'scheduler_config.json', signal });
  const own = className === undefined ? config : { ...config, _class_name: className };
  samplerFrom(own);
  return own;
}

/** A scheduler's config, or what a call wants in its place: a class, which takes over its fields, or another config. */
export function chosenScheduler(
  own: Readonly<Record<string, unknown>>,
  given: SchedulerClass | Readonly<Record<string, unknown>> | undefined,
): Readonly<Record<string, unknown>> {
  return typeof given === 'string' ? { ...own, _class_name: given } : (given ?? own);
}

/** A number of pictures. @throws InvalidArgumentError unless it is an integer ≥ 1 */
export function pictureCount(name: string, value = 1): number {
  if (Number.isInteger(value) && value >= 1) return value;
  throw new InvalidArgumentError(`generate: expected ${name} to be an integer ≥ 1, got ${value}`);
}

/** Pictures at once, and latent cells. */
export interface RunShape {
  batch: number;
  height: number;
  width: number;
}

/** What one evaluation of a network takes. */
export interface Work {
  /** @throws LimitError where it does not fit the device */
  plan(): SplitReport;
  profile(options: { signal?: AbortSignal; onProgress?: (progress: CompileProgress) => void }): Promise<Profile>;
}

/** A network's calls of one form. */
export function workOf<Call>(
  network: { plan(call: Call): SplitReport; profile(call: Call, options?: object): Promise<Profile> },
  call: Call,
): Work {
  return { plan: () => network.plan(call), profile: (options) => network.profile(call, options) };
}

/** Batch and size in pixels, as callers ask for them. */
export interface SizeOptions {
  /** Pictures at once; default 1. */
  batchSize?: number;
  width?: number;
  height?: number;
}

/** An autoencoder, and what its latents are scaled by for the network: see {@link latentScaling}. */
export interface PictureLatents {
  model: Autoencoder;
  scale: number;
  shift?: number | null;
  /** By channel, in place of the shift. */
  mean?: readonly number[] | null;
  std?: readonly number[] | null;
}

/** A pipeline without what it makes pictures from. */
export abstract class BasePipeline implements Sizes {
  /** Class names by index; empty unless a kind has some. */
  readonly labels: Readonly<Record<number, string>> = {};
  /** From a run's last state to pictures; tells what it compiles. */
  protected readonly toPictures: LatentDecoder;

  protected constructor(
    readonly device: Device,
    private readonly all: readonly Part[],
    decode: LatentDecoder,
    protected readonly onProgress: LoadPipelineOptions['onProgress'],
  ) {
    this.toPictures = (space, latents, shape, options) => decode(space, latents, shape, { onProgress, ...options });
  }

  /** Pixels per latent cell along each side. */
  abstract get downsampling(): number;
  /** Width and height in pixels must be multiples of this. */
  abstract get sizeMultiple(): number;
  /** The size the networks were trained at, pixels; 0 where a config does not say. */
  abstract get sampleSize(): { width: number; height: number };
  /** One evaluation of the network, and of the decoder where there is one. */
  protected abstract work(shape: RunShape): { network: Work; decoder?: Work };

  /** How pictures become latents; undefined where they are their own. */
  protected get autoencoder(): PictureLatents | undefined {
    return undefined;
  }

  /**
   * Pictures [B,3,H,W] in −1 … 1, or bytes → latents [B,C,h,w] in the scale of `generate` and {@link decode}. With a
   * codebook they are not quantised yet, which decoding does.
   * @throws UnsupportedError where there is no autoencoder; InvalidArgumentError, ShapeError for pictures that do not
   * fit; LimitError, OutOfMemoryError, DeviceLostError, AbortedError
   */
  async encode(image: ImageInput, options: EncodeOptions = {}): Promise<Latents> {
    const { model, scale, shift, mean, std } = this.requireAutoencoder('encode');
    const statistics = { scalingFactor: scale, shiftFactor: shift, latentsMean: mean, latentsStd: std };
    const { data, shape } = await encodePictures(model, image, options);
    return { data: mapLatents(data, shape, latentScaling(statistics).toDenoiser), shape };
  }

  /** Pictures through the autoencoder and back: what is lost before any diffusion. @throws as {@link encode} */
  async reconstruct(image: ImageInput, options: EncodeOptions = {}): Promise<GeneratedImage[]> {
    return reconstruct(this.device, this.requireAutoencoder('reconstruct').model, image, options);
  }

  /**
   * Latents [B,C,h,w] as `generate` gives them → pictures.
   * @throws InvalidArgumentError, ShapeError when they do not fit; LimitError, OutOfMemoryError, DeviceLostError,
   * AbortedError
   */
  async decode(latents: Float32Array, shape: LatentShape, signal?: AbortSignal): Promise<GeneratedImage[]> {
    const space = await GpuSpace.open(this.device);
    try {
      return await this.toPictures(space, space.vec(latents, shape[0]), shape, { signal });
    } finally {
      space.dispose();
    }
  }

  /**
   * Sends pictures larger than a tile through the autoencoder in overlapping tiles, which keeps memory small and is not
   * quite the same picture. Without it only what does not fit the device's limits is split.
   * @throws UnsupportedError where there is no autoencoder
   */
  enableVaeTiling(options: TilingOptions = {}): void {
    this.setTiling('enableVaeTiling', options);
  }

  /** Tiles only where a picture does not fit otherwise. @throws as {@link enableVaeTiling} */
  disableVaeTiling(): void {
    this.setTiling('disableVaeTiling', 'auto');
  }

  /**
   * What a call of that size takes on this device; nothing is allocated. @throws InvalidArgumentError for a bad size
   */
  plan(options: SizeOptions = {}): PipelinePlan {
    const weightBytes = this.all.reduce((sum, part) => sum + part.weightBytes, 0);
    const { network, decoder } = this.work(this.shapeOf(options));
    try {
      const [n, d] = [network.plan(), decoder?.plan()];
      return {
        fits: true,
        peakBytes: n.peakBytes + (d?.peakBytes ?? 0),
        weightBytes,
        largestBinding: d && d.largestBinding.bytes > n.largestBinding.bytes ? d.largestBinding : n.largestBinding,
        split: d?.split,
        dispatches: { unet: n.dispatches, decoder: d?.dispatches ?? 0 },
      };
    } catch (error) {
      if (!(error instanceof LimitError)) throw error;
      return { fits: false, advice: error.message, weightBytes };
    }
  }

  /**
   * Where the time of one evaluation of the network and of the decoder goes; without a decoder its part is empty.
   * @throws InvalidArgumentError for a size that does not fit; AbortedError, OutOfMemoryError, DeviceLostError
   */
  async profile(options: SizeOptions & { signal?: AbortSignal } = {}): Promise<{ unet: Profile; decoder: Profile }> {
    const { network, decoder } = this.work(this.shapeOf(options));
    const { onProgress } = this;
    const unet = await network.profile({ signal: options.signal, onProgress });
    const none: Profile = { clock: unet.clock, rows: [], totalMs: 0 };
    return { unet, decoder: (await decoder?.profile({ signal: options.signal, onProgress })) ?? none };
  }

  /** Releases weights and programs; the device stays. */
  async dispose(): Promise<void> {
    for (const part of this.all) part.dispose();
  }

  private setTiling(what: string, tiling: Tiling): void {
    this.requireAutoencoder(what).model.tiling = tiling;
  }

  private requireAutoencoder(what: string): PictureLatents {
    if (this.autoencoder) return this.autoencoder;
    throw new UnsupportedError(`${what}: expected a pipeline with an autoencoder, got one whose latents are pixels`);
  }

  private shapeOf(options: SizeOptions): RunShape {
    const [height, width] = latentSize(this, options);
    return { batch: pictureCount('batchSize', options.batchSize), height, width };
  }
}
