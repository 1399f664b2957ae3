/** `VQModel` on a device: pictures to latents, to indices of a codebook, and back. */
import {
  formatShape,
  InvalidArgumentError,
  numel,
  type Capabilities,
  type Device,
  type Profile,
  type Report,
} from '../../engine/index.ts';
import { expectIds, reshape, toNchw } from '../../kernels/index.ts';
import { LoadedModel, planModel, weightsOf, type ModelDefinition } from '../loadedModel.ts';
import { checkTensorInput, type ModelOutput, type RunOptions, type TensorInput } from '../modelRuntime.ts';
import type { LoadOptions, ModelSource } from '../modelSource.ts';
import { SplitCalls, type Direction, type SplitReport, type Tiling } from '../splitCalls.ts';
import { vqDecode, vqEncode, vqIndices, vqLatents, vqLookup } from './vq.ts';
import { readVQConfig, type VQConfig } from './vqConfig.ts';

/**
 * One of the ways through. `encode`: image → latents; `indices`: image → indices; `quantize`: latents → indices and
 * entries; `decode`: latents → entries → image; `decodeAsIs`: latents → image; `decodeIndices`: indices → image;
 * `lookup`: indices → entries.
 */
export type VQPart = 'encode' | 'indices' | 'quantize' | 'decode' | 'decodeAsIs' | 'decodeIndices' | 'lookup';

/** What changes the recording: pixels for `encode` and `indices`, latent cells for the others. */
export interface VQCall {
  part: VQPart;
  batch: number;
  channels: number;
  height: number;
  width: number;
}

/** Indices of the codebook by cell. */
export interface CodeIndices {
  data: ArrayLike<number>;
  /** [B,h,w] */
  shape: readonly number[];
}

/** Indices on the GPU: u32 in a buffer that is valid until the model's next call. */
export interface CodeOutput {
  /** [B,h,w] */
  readonly shape: readonly number[];
  readonly buffer: GPUBuffer;
  /** On the host; call it before the model's next call. @throws DeviceLostError */
  read(): Promise<Uint32Array>;
}

/** An autoencoder with a codebook. */
export const vqDefinition: ModelDefinition<VQConfig, VQCall> = {
  className: 'VQModel',
  readConfig: readVQConfig,
  record(g, w, config, { part, batch, channels, height, width }) {
    if (part === 'decodeIndices' || part === 'lookup') {
      const indices = g.input('indices', [batch * height * width], { dtype: 'u32' });
      const zq = vqLookup(config, w, indices, [batch, height, width]); // [B,h,w,E]
      g.output('out', part === 'lookup' ? toNchw(zq) : vqDecode(config, w, zq));
      return;
    }
    const looksAt = part === 'encode' || part === 'indices' ? 'image' : 'latent';
    const input = g.input(looksAt, [batch, channels, height, width]);
    const z = looksAt === 'image' ? vqEncode(config, w, input) : vqLatents(config, input); // [B,h,w,E]
    const cells = z.shape.slice(0, 3);
    if (part === 'encode') return g.output('out', toNchw(z));
    if (part === 'decodeAsIs') return g.output('out', vqDecode(config, w, z));
    const indices = vqIndices(config, w, z); // [B·h·w]
    if (part !== 'decode') g.output('indices', reshape(indices, cells));
    if (part === 'indices') return;
    const zq = vqLookup(config, w, indices, cells); // [B,h,w,E]
    g.output('out', part === 'decode' ? vqDecode(config, w, zq) : toNchw(zq));
  },
  probes(config) {
    const side = sideOf(config);
    return [
      { part: 'encode', batch: 1, channels: config.inChannels, height: side, width: side },
      { part: 'decode', batch: 1, channels: config.vqEmbedDim, height: 1, width: 1 },
    ];
  },
};

/** An autoencoder with a codebook, on a device. van den Oord et al. 2017; Rombach et al. 2022, section 3.1. */
export class VQModel {
  private readonly split: SplitCalls;

  private constructor(private readonly model: LoadedModel<VQConfig, VQCall>) {
    this.split = new SplitCalls(model.device);
  }

  /**
   * Loads `config.json` and the weights beside it, under old or new attention names.
   * @throws ConfigError, WeightError naming keys, FormatError, NotFoundError, OutOfMemoryError, AbortedError; what had
   * been allocated is released.
   */
  static async load(device: Device, source: ModelSource, options: LoadOptions = {}): Promise<VQModel> {
    return new VQModel(await LoadedModel.load(device, source, vqDefinition, options));
  }

  get config(): VQConfig {
    return this.model.config;
  }

  /** Pixels per latent cell along each side. */
  get downsampling(): number {
    return sideOf(this.config);
  }

  /** When pictures go through in tiles, in {@link encode} and {@link decode}; default `auto`. */
  get tiling(): Tiling {
    return this.split.tiling;
  }

  set tiling(tiling: Tiling) {
    this.split.tiling = tiling;
  }

  /**
   * image [B,C,H,W], in −1 … 1 as trained → latents [B,E,h,w], not quantised, valid until the next call. Scales
   * nothing.
   * @throws InvalidArgumentError, ShapeError for a bad image, or after {@link dispose}; LimitError, OutOfMemoryError,
   * DeviceLostError, NonFiniteError, AbortedError; all but a lost device leave it usable.
   */
  async encode({ image, ...options }: RunOptions & { image: TensorInput }): Promise<ModelOutput> {
    this.call('encode', 'image', image);
    return this.split.run(this.direction('encode'), image, options);
  }

  /** image [B,C,H,W] → the indices of its cells, [B,h,w]. @throws as {@link encode} */
  async encodeToIndices({ image, ...options }: RunOptions & { image: TensorInput }): Promise<CodeOutput> {
    const out = await this.model.runAll(this.call('indices', 'image', image), { image: image.data }, options);
    return asCodes(out.indices);
  }

  /** latent [B,E,h,w] → the nearest entries, as indices [B,h,w] and as latents [B,E,h,w]. @throws as {@link encode} */
  async quantize({
    latent,
    ...options
  }: RunOptions & { latent: TensorInput }): Promise<{ indices: CodeOutput; quantized: ModelOutput }> {
    const out = await this.model.runAll(this.call('quantize', 'latent', latent), { latent: latent.data }, options);
    return { indices: asCodes(out.indices), quantized: out.out };
  }

  /**
   * latent [B,E,h,w] → the nearest entries → image [B,C,h·f,w·f], valid until the next call. Scales nothing.
   * @param options.forceNotQuantize leaves the latents as they are.
   * @throws as {@link encode}; InvalidArgumentError where the config says that latents which are not to be quantised
   * are indices: call {@link decodeIndices}.
   */
  async decode({
    latent,
    forceNotQuantize = false,
    ...options
  }: RunOptions & { latent: TensorInput; forceNotQuantize?: boolean }): Promise<ModelOutput> {
    if (forceNotQuantize && this.config.lookupFromCodebook) {
      throw new InvalidArgumentError(
        'VQModel decode: expected indices, as lookup_from_codebook says, got latents; call decodeIndices',
      );
    }
    const part = forceNotQuantize ? 'decodeAsIs' : 'decode';
    this.call(part, 'latent', latent);
    return this.split.run(this.direction(part), latent, options);
  }

  /**
   * indices [B,h,w] → image [B,C,h·f,w·f], valid until the next call.
   * @throws InvalidArgumentError for an index beyond the codebook or another shape; otherwise as {@link encode}.
   */
  async decodeIndices({ indices, ...options }: RunOptions & { indices: CodeIndices }): Promise<ModelOutput> {
    return this.fromIndices('decodeIndices', indices, options);
  }

  /**
   * indices [B,h,w] → their entries as latents [B,E,h,w], valid until the next call. @throws as {@link decodeIndices}
   */
  async lookup({ indices, ...options }: RunOptions & { indices: CodeIndices }): Promise<ModelOutput> {
    return this.fromIndices('lookup', indices, options);
  }

  /** Where the time of such a call goes, dispatch by dispatch. @throws as {@link encode} */
  profile(call: VQCall, options?: RunOptions): Promise<Profile> {
    return this.model.profile(call, options);
  }

  /** What such a call takes here, and how it is split; nothing is allocated. @throws LimitError, ShapeError */
  plan(call: VQCall): SplitReport {
    const { part, batch, channels, height, width } = call;
    const splits = part === 'encode' || part === 'decode' || part === 'decodeAsIs';
    return splits ? this.split.plan(this.direction(part), [batch, channels, height, width]) : this.model.plan(call);
  }

  /** Bytes of the weights on the GPU. */
  get weightBytes(): number {
    return this.model.weightBytes;
  }

  /** Releases programs and weights; while a call is under way, as soon as it ends. */
  dispose(): void {
    this.model.dispose();
    this.split.dispose();
  }

  private direction(part: 'encode' | 'decode' | 'decodeAsIs'): Direction {
    const { model } = this;
    const name = part === 'encode' ? 'image' : 'latent';
    const call = ([batch, channels, height, width]: readonly number[]): VQCall => {
      return { part, batch, channels, height, width };
    };
    return {
      encode: part === 'encode',
      cell: this.downsampling,
      tileSize: Math.max(...this.config.sampleSize),
      run: ({ data, shape }, options) => model.run(call(shape), { [name]: data }, options),
      plan: (shape) => model.plan(call(shape)),
    };
  }

  private fromIndices(
    part: 'decodeIndices' | 'lookup',
    { data, shape }: CodeIndices,
    options: RunOptions,
  ): Promise<ModelOutput> {
    if (shape.length !== 3 || numel(shape) !== data.length || data.length === 0) {
      throw new InvalidArgumentError(
        `VQModel ${part}: expected indices of shape [B,h,w] with as many elements, got ${formatShape(shape)} ` +
          `and ${data.length} elements`,
      );
    }
    expectIds(`VQModel ${part}`, data, this.config.numVqEmbeddings);
    const [batch, height, width] = shape;
    const call: VQCall = { part, batch, channels: this.config.vqEmbedDim, height, width };
    return this.model.run(call, { indices: Uint32Array.from(data) }, options);
  }

  private call(part: VQPart, name: string, input: TensorInput): VQCall {
    checkTensorInput(`VQModel ${part}`, name, input);
    const [batch, channels, height, width] = input.shape;
    return { part, batch, channels, height, width };
  }
}

/** Every key and shape that a checkpoint of this config must have; allocates nothing. */
export function vqWeights(config: VQConfig): ReadonlyMap<string, readonly number[]> {
  return weightsOf(vqDefinition, config);
}

/** What a call takes at the limits that every adapter has. @throws LimitError, ShapeError */
export function planVQ(config: VQConfig, call: VQCall, dtype: 'f32' | 'f16' = 'f32', caps?: Capabilities): Report {
  return planModel(vqDefinition, config, call, dtype, caps);
}

const sideOf = (config: VQConfig) => 2 ** (config.blockOutChannels.length - 1);

/** The same bits as the integers that they are. */
function asCodes({ shape, buffer, read }: ModelOutput): CodeOutput {
  return { shape, buffer, read: async () => new Uint32Array((await read()).buffer) };
}
