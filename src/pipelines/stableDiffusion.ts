/**
 * Text → picture by latent diffusion: diffusers' `StableDiffusionPipeline` folders and those with ControlNets. The same
 * object makes image → image and fills masks.
 *
 * Rombach et al. 2022, https://arxiv.org/abs/2112.10752; Meng et al. 2022 (SDEdit), https://arxiv.org/abs/2108.01073;
 * Zhang et al. 2023 (ControlNet), https://arxiv.org/abs/2302.05543
 */
import { InvalidArgumentError, LimitError, UnsupportedError, type Device, type Profile } from '../engine/index.ts';
import { readConfig, readModelIndex, type Directory, type ModelIndex } from '../loading/index.ts';
import { AutoencoderKL, type TensorInput } from '../models/index.ts';
import { ControlNet } from '../models/controlNet/controlNetModel.ts';
import { UNet2DCondition } from '../models/unetCondition/unetConditionModel.ts';
import { guided } from '../sampler/guidance.ts';
import type { Denoiser, Sampler } from '../sampler/index.ts';
import { samplerFrom } from '../sampler/samplerFrom.ts';
import type { TorchGenerator } from '../sampler/torchGenerator.ts';
import type { Vec } from '../sampler/vec.ts';
import { openClipPrompts } from './clipPrompts.ts';
import { ControlBranch } from './controlBranch.ts';
import type { GenerationResult, PipelinePlan } from './generation.ts';
import { GpuSpace } from './gpuSpace.ts';
import type { GeneratedImage } from './image.ts';
import { planesOf, repeatedTo } from './imageInput.ts';
import { klDecoder, type LatentDecoder } from './latentDecoder.ts';
import { runLatents, type StartingPoint } from './latentRun.ts';
import { latentSize, type LatentShape } from './latents.ts';
import { storageOf, type LoadPipelineOptions } from './options.ts';
import { conditionsOf, type Conditions, type PromptEncoder } from './promptEncoder.ts';
import type { TextToImageOptions } from './textToImage.ts';

interface Parts {
  unet: UNet2DCondition;
  vae: AutoencoderKL;
  controlNets: readonly ControlNet[];
  encode: PromptEncoder | undefined;
  scheduler: Readonly<Record<string, unknown>>;
  onProgress: LoadPipelineOptions['onProgress'];
  /** Everything that is to be disposed of. */
  all: readonly { dispose(): void; readonly weightBytes: number }[];
}

/** What the reference library does without being told. */
const DEFAULTS = { numInferenceSteps: 50, guidanceScale: 7.5 } as const;

/** Components that a folder may have and pictures do not need. */
const UNUSED = new Set(['safety_checker', 'feature_extractor', 'image_encoder']);
const KNOWN = new Set(['unet', 'vae', 'scheduler', 'text_encoder', 'tokenizer', 'controlnet']);

/** Text → picture: text encoder, U-Net, autoencoder, scheduler and perhaps ControlNets of one folder on one device. */
export class StableDiffusionPipeline {
  /** The `_class_name`s of such folders. */
  static readonly classNames: readonly string[] = [
    'StableDiffusionPipeline',
    'StableDiffusionImg2ImgPipeline',
    'StableDiffusionInpaintPipeline',
    'StableDiffusionControlNetPipeline',
  ];

  /** Pictures are not made from classes. */
  readonly labels = {};
  private readonly toPictures: LatentDecoder;

  private constructor(
    readonly device: Device,
    private readonly parts: Parts,
  ) {
    const decode = klDecoder(device, parts.vae);
    this.toPictures = (space, z, shape, options) =>
      decode(space, z, shape, { onProgress: parts.onProgress, ...options });
  }

  /**
   * Loads a pipeline folder.
   * @throws NotFoundError, NetworkError, FormatError, ConfigError, UnsupportedError for a component or a scheduler that is
   * not built, WeightError, OutOfMemoryError, AbortedError; nothing is left behind.
   */
  static async load(
    device: Device,
    directory: Directory,
    options: LoadPipelineOptions = {},
  ): Promise<StableDiffusionPipeline> {
    const { signal, variant, onProgress } = options;
    const index = await readModelIndex(directory, StableDiffusionPipeline.classNames, signal);
    const has = (name: string) => (index.components.get(name)?.className ?? null) !== null;
    checkComponents(index, directory.name);
    const file = 'scheduler_config.json';
    const scheduler = await readConfig(directory.folder('scheduler'), undefined, { file, signal });
    samplerFrom(scheduler); // a bad config is an error now, not after a minute of loading
    const load = { dtype: storageOf(options.dtype, device), variant, signal, onProgress };
    const all: { dispose(): void; readonly weightBytes: number }[] = [];
    const loaded = async <T extends { dispose(): void; readonly weightBytes: number }>(
      part: Promise<T>,
    ): Promise<T> => {
      all.push(await part);
      return part;
    };
    try {
      const text = has('text_encoder') ? await loaded(openClipPrompts(device, directory, load)) : undefined;
      const unet = await loaded(UNet2DCondition.load(device, directory.folder('unet'), load));
      const vae = await loaded(AutoencoderKL.load(device, directory.folder('vae'), load));
      const controlNets: ControlNet[] = [];
      for (const folder of has('controlnet') ? await controlFolders(directory, signal) : []) {
        controlNets.push(await loaded(ControlNet.load(device, folder, load)));
      }
      if (unet.config.outChannels !== vae.config.latentChannels) {
        throw new InvalidArgumentError(
          `${directory.name}: expected a U-Net for the ${vae.config.latentChannels} latent channels of the autoencoder, ` +
            `got ${unet.config.outChannels}; these components belong to different models`,
        );
      }
      return new StableDiffusionPipeline(device, {
        unet,
        vae,
        controlNets,
        encode: text?.encode,
        scheduler,
        onProgress,
        all,
      });
    } catch (error) {
      for (const part of all) part.dispose();
      throw error;
    }
  }

  /** Pixels per latent cell along each side. */
  get downsampling(): number {
    return this.parts.vae.downsampling;
  }

  /** Width and height in pixels must be multiples of this: one latent cell, since the U-Net takes any size. */
  get sizeMultiple(): number {
    return this.parts.vae.downsampling;
  }

  /** The size the U-Net was trained at, pixels. */
  get sampleSize(): { width: number; height: number } {
    const { sampleSize } = this.parts.unet.config;
    const [height, width] = [sampleSize ?? 64].flat();
    const f = this.downsampling;
    return { width: f * (width ?? height), height: f * height };
  }

  /**
   * From noise, or from a picture, to pictures; by default 50 steps with a guidance scale of 7.5. A scale of 1 or less is
   * the conditional network alone.
   * @throws InvalidArgumentError for an option out of range; LimitError where the size does not fit the device;
   * AbortedError when the signal fires, between two submits; NonFiniteError, DeviceLostError, OutOfMemoryError. After
   * any of them but a lost device the pipeline stays usable.
   */
  async generate(options: TextToImageOptions): Promise<GenerationResult> {
    const given = { ...DEFAULTS, ...options };
    const { unet, controlNets } = this.parts;
    if (unet.config.inChannels !== unet.config.outChannels) {
      throw new UnsupportedError(
        `generate: expected a U-Net that reads latents alone, got one of ${unet.config.inChannels} channels`,
      );
    }
    const sampler = samplerFrom(this.parts.scheduler);
    const conditions = await conditionsOf(given, this.parts.encode, given.guidanceScale > 1);
    const image = given.image && planesOf('image', given.image, 3, [-1, 1]);
    const [height, width] = image ? [image.shape[2], image.shape[3]] : [given.height, given.width];
    const batch = conditions.text.shape[0];
    const [h, w] = latentSize(this, { height, width });
    const shape: LatentShape = [batch, unet.config.inChannels, h, w];
    const context = this.upload(conditions);
    const control =
      controlNets.length > 0 ? new ControlBranch(this.device, controlNets, given, batch, [h, w]) : undefined;
    try {
      const steps = sampler.timesteps({ numInferenceSteps: given.numInferenceSteps });
      return await runLatents(
        {
          device: this.device,
          sampler,
          shape,
          denoiser: (space) => this.denoiser(space, sampler, shape, { context, control, steps }, given),
          decode: this.toPictures,
          start: image && ((space, generator) => this.start(space, generator, shape, given)),
        },
        given,
      );
    } finally {
      for (const { data } of context) this.device.destroyBuffer(data as GPUBuffer);
      control?.dispose();
    }
  }

  /**
   * Latents [B,C,h,w] as {@link generate} gives them → pictures.
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
   * What a call of that size takes on this device, with guidance; nothing is allocated.
   * @throws InvalidArgumentError unless width and height are multiples of {@link sizeMultiple}.
   */
  plan(options: { batchSize?: number; width?: number; height?: number } = {}): PipelinePlan {
    const { unet, vae, all } = this.parts;
    const weightBytes = all.reduce((sum, part) => sum + part.weightBytes, 0);
    const [height, width] = latentSize(this, options);
    const batch = options.batchSize ?? 1;
    try {
      const u = unet.plan({ batch: 2 * batch, height, width });
      const d = vae.plan('decode', { batch, height, width });
      return {
        fits: true,
        peakBytes: u.peakBytes + d.peakBytes,
        weightBytes,
        largestBinding: u.largestBinding.bytes > d.largestBinding.bytes ? u.largestBinding : d.largestBinding,
        dispatches: { unet: u.dispatches, decoder: d.dispatches },
      };
    } catch (error) {
      if (!(error instanceof LimitError)) throw error;
      return { fits: false, advice: error.message, weightBytes };
    }
  }

  /** Where the time of one U-Net evaluation (with guidance) and of the decoder goes. @throws as {@link generate} */
  async profile(
    options: { batchSize?: number; width?: number; height?: number; signal?: AbortSignal } = {},
  ): Promise<{ unet: Profile; decoder: Profile }> {
    const { unet, vae, onProgress } = this.parts;
    const { batchSize: batch = 1, signal } = options;
    const [height, width] = latentSize(this, options);
    return {
      unet: await unet.profile({ batch: 2 * batch, height, width }, { signal, onProgress }),
      decoder: await vae.profile('decode', { batch, height, width }, { signal, onProgress }),
    };
  }

  /** Releases weights and programs; the device stays. */
  async dispose(): Promise<void> {
    for (const part of this.parts.all) part.dispose();
  }

  /** Text states on the GPU, the negative ones first. */
  private upload({ text, negative }: Conditions): TensorInput[] {
    const usage = GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
    return (negative ? [negative, text] : [text]).map(({ data, shape }) => {
      const buffer = this.device.createBuffer(4 * data.length, usage, 'text states');
      this.device.gpu.queue.writeBuffer(buffer, 0, Float32Array.from(data));
      return { data: buffer, shape };
    });
  }

  /** The U-Net as a denoiser: both halves of the guidance in one batch, or the conditional one alone. */
  private denoiser(
    space: GpuSpace,
    sampler: Sampler,
    [batch, ...item]: LatentShape,
    run: { context: readonly TensorInput[]; control: ControlBranch | undefined; steps: readonly number[] },
    { guidanceScale = 1, guidanceRescale, checkFinite }: TextToImageOptions,
  ): Denoiser {
    const { unet, onProgress } = this.parts;
    const { context, control, steps } = run;
    const parts = context.length;
    const call = async (v: Vec, timestep: number, signal?: AbortSignal): Promise<Vec[]> => {
      const { buffer } = space.contiguous(v);
      const common = {
        sample: { data: Array<GPUBuffer>(parts).fill(buffer), shape: [parts * batch, ...item] },
        timestep,
        signal,
        checkFinite,
        onProgress,
      };
      const text: TensorInput = {
        data: context.map(({ data }) => data as GPUBuffer),
        shape: [parts * batch, ...context[0].shape.slice(1)],
      };
      const at = Math.max(0, steps.indexOf(timestep));
      const progress = [at / steps.length, (at + 1) / steps.length] as const;
      const controls = await control?.residuals({ ...common, progress, context: text });
      const out = await unet.forward({ ...common, encoderHiddenStates: text, controls });
      // Copies, since the next call of the network writes over its output.
      return Array.from({ length: parts }, (_, i) => space.copy(out.buffer, v.length, batch, i * v.length));
    };
    if (parts === 1) return sampler.denoiser(async (v, t, signal) => (await call(v, t, signal))[0]);
    const pair = sampler.pairDenoiser(async (v, t, signal) => {
      const [uncond, cond] = await call(v, t, signal);
      return [uncond, cond];
    });
    return guided(pair, guidanceScale, { guidanceRescale });
  }

  /** The latents of `image`, and `maskImage` in their size. */
  private async start(
    space: GpuSpace,
    generator: TorchGenerator | readonly TorchGenerator[],
    shape: LatentShape,
    options: TextToImageOptions,
  ): Promise<StartingPoint> {
    const { vae, onProgress } = this.parts;
    const [batch, channels, h, w] = shape;
    const planes = repeatedTo('image', planesOf('image', options.image!, 3, [-1, 1]), batch);
    const encoded = await vae.encode({ image: planes, signal: options.signal, onProgress });
    const posterior = await encoded.posterior();
    const { scalingFactor, shiftFactor } = vae.config;
    const draw = [generator].flat() as TorchGenerator[];
    const count = channels * h * w;
    const noise = new Float32Array(batch * count);
    if (draw.length === 1) noise.set(draw[0].randn(batch * count));
    else draw.forEach((g, i) => noise.set(g.randn(count), i * count));
    const z = posterior.sample(noise).map((v) => (v - (shiftFactor ?? 0)) * scalingFactor);
    const start: StartingPoint = {
      image: space.vec(z, batch),
      strength: options.strength ?? (options.maskImage ? 1 : 0.8),
    };
    if (!options.maskImage) return start;
    const mask = repeatedTo('maskImage', planesOf('maskImage', options.maskImage, 1, [0, 1]), batch);
    return { ...start, maskImage: space.vec(latentMask(mask.data, mask.shape, shape, this.downsampling), batch) };
  }
}

/** A mask of pixels as one of latent cells, for every channel: the pixel that nearest-neighbour sampling picks, then 0 or 1. */
function latentMask(
  data: ArrayLike<number>,
  [, , H, W]: readonly number[],
  [B, C, h, w]: LatentShape,
  f: number,
): Float32Array {
  if (H !== h * f || W !== w * f) {
    throw new InvalidArgumentError(
      `generate: expected maskImage of ${h * f}×${w * f} as image, got ${H}×${W}; resize it`,
    );
  }
  return Float32Array.from({ length: B * C * h * w }, (_, i) => {
    const [x, y, b] = [i % w, Math.floor(i / w) % h, Math.floor(i / (C * h * w))];
    return data[(b * H + y * f) * W + x * f] >= 0.5 ? 1 : 0;
  });
}

/** @throws UnsupportedError for a component that changes pictures and is not built */
function checkComponents({ components }: ModelIndex, where: string): void {
  for (const [name, { className }] of components) {
    if (className === null || KNOWN.has(name) || UNUSED.has(name)) continue;
    throw new UnsupportedError(`${where}: expected ${[...KNOWN].join(', ')}, got component ${name} (${className})`);
  }
}

/** One folder, or several in order: `controlnet/`, or `controlnet/`, `controlnet_1/` … as the reference library saves. */
async function controlFolders(directory: Directory, signal?: AbortSignal): Promise<Directory[]> {
  const folders = [directory.folder('controlnet')];
  while (await directory.has(`controlnet_${folders.length}/config.json`, signal)) {
    folders.push(directory.folder(`controlnet_${folders.length}`));
  }
  return folders;
}
