/**
 * An autoencoder alone, from its own folder (`config.json` and weights at its root): pictures to latents, to indices of
 * a codebook where there is one, and back. van den Oord et al. 2017, https://arxiv.org/abs/1711.00937; Kingma & Welling
 * 2014.
 */
import { InvalidArgumentError, throwIfAborted, UnsupportedError, type Device } from '../../engine/index.ts';
import { configClass, readConfig, type Directory } from '../../loading/index.ts';
import { AutoencoderKL } from '../../models/index.ts';
import { AutoencoderTiny } from '../../models/tiny/autoencoderTinyModel.ts';
import { VQModel, type CodeIndices } from '../../models/vq/vqModel.ts';
import { TorchGenerator } from '../../sampler/noise/torchGenerator.ts';
import { LinearForm } from '../../sampler/vec.ts';
import type { Autoencoder, EncodeOptions } from '../run/autoencoding.ts';
import {
  BasePipeline,
  loadParts,
  pictureCount,
  type Part,
  type PictureLatents,
  type RunShape,
  type Work,
} from '../run/basePipeline.ts';
import type { GenerationResult } from '../options/generation.ts';
import type { GeneratedImage } from '../picture/image.ts';
import { planesOf, type ImageInput } from '../picture/imageInput.ts';
import { klDecoder, klLatents, type LatentDecoder } from '../run/latentDecoder.ts';
import { latentSize } from '../run/latents.ts';
import { networkOptions, type LoadPipelineOptions } from '../options/loadOptions.ts';
import { anyPicturesOf, expectPicture, vqDecoder } from '../run/pixelDecoder.ts';

/** Indices of a codebook by cell, row by row. */
export interface Codes {
  data: Uint32Array;
  /** [B,h,w] */
  shape: readonly [number, number, number];
}

/** What one call takes: pictures, or indices; without either, indices are drawn evenly, which no picture is like. */
export interface AutoencoderOptions {
  /** Pictures to take through the autoencoder and back. */
  image?: ImageInput;
  /** Indices of the codebook [B,h,w] to make pictures of. */
  indices?: CodeIndices;
  /** Of drawn indices: pictures, default 1, and their size in pixels. */
  batchSize?: number;
  width?: number;
  height?: number;
  /** Draws indices as `torch.randint` does: a seed, a generator, or one per picture; default a random seed. */
  generator?: number | TorchGenerator | readonly TorchGenerator[];
  /** Waits after every op and names the first that writes a NaN or an infinity; slow. */
  checkFinite?: boolean;
  signal?: AbortSignal;
}

/** What one call gives; latents in the scale of `encode` and `decode`. */
export interface AutoencoderResult extends GenerationResult {
  /** Of the pictures, where there is a codebook. */
  indices?: Codes;
}

const CLASSES = ['VQModel', 'AutoencoderKL', 'AutoencoderTiny'] as const;

/** An autoencoder with or without codebook, on one device. */
export class AutoencoderPipeline extends BasePipeline {
  /** The `_class_name`s of such folders. */
  static readonly classNames: readonly string[] = CLASSES;

  private constructor(
    device: Device,
    private readonly model: Autoencoder,
    all: readonly Part[],
    onProgress: LoadPipelineOptions['onProgress'],
  ) {
    super(device, all, decoderOf(device, model), onProgress);
  }

  /**
   * Loads the folder of an autoencoder.
   * @throws NotFoundError, NetworkError, FormatError, ConfigError for the folder of another model, UnsupportedError for
   * one whose results are no pictures, WeightError, OutOfMemoryError, AbortedError; nothing is left behind.
   */
  static async load(
    device: Device,
    directory: Directory,
    options: LoadPipelineOptions = {},
  ): Promise<AutoencoderPipeline> {
    const { signal, onProgress } = options;
    const className = configClass(await readConfig(directory, CLASSES, { signal }));
    const load = networkOptions(device, options);
    return loadParts(async (own, all) => {
      const model: Autoencoder =
        className === 'VQModel'
          ? await own(VQModel.load(device, directory, load))
          : className === 'AutoencoderKL'
            ? await own(AutoencoderKL.load(device, directory, load))
            : await own(AutoencoderTiny.load(device, directory, load));
      expectPicture(directory.name, model.config.outChannels);
      return new AutoencoderPipeline(device, model, all, onProgress);
    });
  }

  /** Pixels per latent cell along each side. */
  get downsampling(): number {
    return this.model.downsampling;
  }

  /** Width and height in pixels must be multiples of this. */
  get sizeMultiple(): number {
    return this.model.downsampling;
  }

  /** The size the autoencoder was trained at, pixels; 0 where its config does not say. */
  get sampleSize(): { width: number; height: number } {
    if (this.model instanceof AutoencoderTiny) return { width: 0, height: 0 };
    const [height, width] = this.model.config.sampleSize;
    return { width, height };
  }

  /** Entries of the codebook; 0 without one. */
  get codebookSize(): number {
    return this.model instanceof VQModel ? this.model.config.numVqEmbeddings : 0;
  }

  /**
   * Pictures [B,C,H,W] in −1 … 1, or bytes → the indices of their cells, [B,h,w].
   * @throws UnsupportedError without a codebook; InvalidArgumentError, ShapeError for pictures that do not fit;
   * LimitError, OutOfMemoryError, DeviceLostError, AbortedError
   */
  async encodeToIndices(image: ImageInput, { signal }: Pick<EncodeOptions, 'signal'> = {}): Promise<Codes> {
    const model = this.withCodebook('encodeToIndices');
    const planes = planesOf('image', image, model.config.inChannels, [-1, 1]);
    const codes = await model.encodeToIndices({ image: planes, signal, onProgress: this.onProgress });
    const [B, h, w] = codes.shape;
    return { data: await codes.read(), shape: [B, h, w] };
  }

  /**
   * Indices [B,h,w] → pictures: those of {@link encodeToIndices}, edited ones, or any others.
   * @throws UnsupportedError without a codebook; InvalidArgumentError for an index beyond it or another shape;
   * LimitError, OutOfMemoryError, DeviceLostError, AbortedError
   */
  async decodeIndices(indices: CodeIndices, signal?: AbortSignal): Promise<GeneratedImage[]> {
    const model = this.withCodebook('decodeIndices');
    const out = await model.decodeIndices({ indices, signal, onProgress: this.onProgress });
    return anyPicturesOf(this.device, out.buffer, out.shape);
  }

  /**
   * Pictures through the autoencoder and back, or pictures of indices.
   * @throws as {@link encodeToIndices} and {@link decodeIndices}; InvalidArgumentError for both pictures and indices,
   * or for neither where there is no codebook to draw from
   */
  async generate(options: AutoencoderOptions = {}): Promise<AutoencoderResult> {
    const { image, indices: given, signal } = options;
    throwIfAborted(signal, 'generate');
    if (image && given) {
      throw new InvalidArgumentError('generate: expected image or indices, got both; leave one of them out');
    }
    const started = performance.now();
    if (image && !this.codebookSize) return this.throughLatents(image, options, started);
    const codes = image ? await this.encodeToIndices(image, { signal }) : this.codesOf(options);
    const encoded = performance.now();
    const images = await this.decodeIndices(codes, signal);
    try {
      const { scalingFactor } = this.withCodebook('generate').config;
      const entries = await this.withCodebook('generate').lookup({ indices: codes, signal });
      const latents = (await entries.read()).map((z) => z * scalingFactor);
      return { images, latents, indices: codes, timing: timingOf(started, image ? [encoded - started] : [], encoded) };
    } catch (error) {
      images.forEach((picture) => picture.dispose());
      throw error;
    }
  }

  protected override get autoencoder(): PictureLatents {
    const { model } = this;
    if (model instanceof AutoencoderKL) return klLatents(model);
    return { model, scale: model.config.scalingFactor };
  }

  /** The way in and the way out. */
  protected work({ batch, height, width }: RunShape): { network: Work; decoder: Work } {
    const { model, downsampling: f } = this;
    const pixels = { batch, height: height * f, width: width * f };
    const cells = { batch, height, width };
    if (model instanceof AutoencoderKL) {
      return {
        network: workOf(model, 'encode', pixels),
        decoder: workOf(model, 'decode', cells),
      };
    }
    const { inChannels } = model.config;
    const [E, encode] =
      model instanceof VQModel
        ? [model.config.vqEmbedDim, 'indices' as const]
        : [model.config.latentChannels, 'encode' as const];
    const calls = [
      { ...pixels, part: encode, channels: inChannels },
      { ...cells, part: 'decode' as const, channels: E },
    ];
    const [network, decoder] = calls.map((call): Work => ({
      plan: () => (model as VQModel).plan(call),
      profile: (options) => (model as VQModel).profile(call, options),
    }));
    return { network, decoder };
  }

  private async throughLatents(
    image: ImageInput,
    { signal }: AutoencoderOptions,
    started: number,
  ): Promise<AutoencoderResult> {
    const { data, shape } = await this.encode(image, { signal });
    const encoded = performance.now();
    const images = await this.decode(data, shape, signal);
    return { images, latents: data, timing: timingOf(started, [encoded - started], encoded) };
  }

  /** Indices as given, or drawn. */
  private codesOf(options: AutoencoderOptions): Codes {
    const { indices, generator } = options;
    if (!this.codebookSize) {
      const got = indices ? 'indices' : 'nothing';
      throw new InvalidArgumentError(
        `generate: expected a picture, since this autoencoder has no codebook, got ${got}`,
      );
    }
    if (indices) {
      const [B, h, w] = indices.shape;
      return { data: Uint32Array.from(indices.data), shape: [B, h, w] };
    }
    const list = typeof generator === 'object' && Symbol.iterator in generator ? generator : undefined;
    const batch = pictureCount('batchSize', options.batchSize ?? list?.length);
    const [h, w] = latentSize(this, options);
    if (list && list.length !== batch) {
      throw new InvalidArgumentError(`generate: expected one generator or ${batch}, got ${list.length}`);
    }
    const one = list ? undefined : generatorOf(generator as number | TorchGenerator | undefined);
    const draw = (g: TorchGenerator, items: number) => g.randint(0, this.codebookSize, items * h * w);
    const data = one ? draw(one, batch) : list!.flatMap((g) => draw(g, 1));
    return { data: Uint32Array.from(data), shape: [batch, h, w] };
  }

  private withCodebook(what: string): VQModel {
    if (this.model instanceof VQModel) return this.model;
    throw new UnsupportedError(`${what}: expected an autoencoder with a codebook (VQModel), got one without`);
  }
}

function decoderOf(device: Device, model: Autoencoder): LatentDecoder {
  if (model instanceof AutoencoderKL) return klDecoder(device, model);
  if (model instanceof VQModel) return vqDecoder(device, model, model.config.scalingFactor);
  const scale = 1 / model.config.scalingFactor;
  return async (space, z, shape, options) => {
    const { buffer } = space.contiguous(LinearForm.of(z, scale).materialise());
    const out = await model.decode({ latent: { data: buffer, shape }, ...options });
    return anyPicturesOf(device, out.buffer, out.shape);
  };
}

function workOf(model: AutoencoderKL, part: 'encode' | 'decode', shape: RunShape): Work {
  return {
    plan: () => model.plan(part, shape),
    profile: (options) => model.profile(part, shape, options),
  };
}

const generatorOf = (generator: number | TorchGenerator | undefined): TorchGenerator =>
  typeof generator === 'object' ? generator : new TorchGenerator(generator ?? Math.floor(Math.random() * 2 ** 32));

const timingOf = (started: number, stepMs: number[], decoding: number): GenerationResult['timing'] => ({
  totalMs: performance.now() - started,
  stepMs,
  decodeMs: performance.now() - decoding,
});
