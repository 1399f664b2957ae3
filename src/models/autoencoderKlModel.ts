/** `AutoencoderKL` on a device: pictures to latents and back. */
import type { Capabilities, Device, Profile, Report } from '../engine/index.ts';
import { autoencoderKlDecode, autoencoderKlEncode } from './autoencoderKl.ts';
import { readAutoencoderKLConfig, type AutoencoderKLConfig } from './autoencoderKlConfig.ts';
import { DiagonalGaussian } from './diagonalGaussian.ts';
import { LoadedModel, planModel, weightsOf, type ModelDefinition } from './loadedModel.ts';
import { checkTensorInput, type ModelOutput, type RunOptions, type TensorInput } from './modelRuntime.ts';
import type { LoadOptions, ModelSource } from './modelSource.ts';
import { SplitCalls, type Direction, type SplitReport, type Tiling } from './splitCalls.ts';

/** A direction: pictures to moments, or latents to pictures. */
export type AutoencoderPart = 'encode' | 'decode';

/** How to load an autoencoder. */
export interface AutoencoderLoadOptions extends LoadOptions {
  /** What to bring to the GPU now; the other half comes when it is first called. Both by default. */
  parts?: readonly AutoencoderPart[];
}

/** Batch and size of what goes in: pixels for `encode`, latent cells for `decode`. */
export interface AutoencoderShape {
  batch: number;
  height: number;
  width: number;
}

/** Moments [B,2L,h,w] on the GPU, and the distribution that they describe. */
export interface EncodeOutput extends ModelOutput {
  /** Reads the moments back; call it before the model's next call. @throws DeviceLostError */
  posterior(): Promise<DiagonalGaussian>;
}

/** A direction, and the shape [B,C,H,W] of what goes in. */
interface Call {
  part: AutoencoderPart;
  shape: readonly number[];
}

const PARTS: readonly AutoencoderPart[] = ['encode', 'decode'];

const definition: ModelDefinition<AutoencoderKLConfig, Call> = {
  className: 'AutoencoderKL',
  readConfig: readAutoencoderKLConfig,
  probes: (config) => PARTS.map((part) => smallest(config, part)),
  record(g, w, config, { part, shape }) {
    const model = part === 'encode' ? autoencoderKlEncode : autoencoderKlDecode;
    g.output('out', model(config, w, g.input(inputName(part), shape)));
  },
};

/**
 * `AutoencoderKL` on a device: pictures to latents and back. Kingma & Welling 2014; Rombach et al. 2022, section 3.1.
 */
export class AutoencoderKL {
  private readonly split: SplitCalls;

  private constructor(private readonly model: LoadedModel<AutoencoderKLConfig, Call>) {
    this.split = new SplitCalls(model.device);
  }

  /**
   * Loads `config.json` and the weights beside it, under old or new attention names.
   * @throws ConfigError, WeightError naming keys, FormatError, NotFoundError, OutOfMemoryError, AbortedError; what had
   * been allocated is released.
   */
  static async load(device: Device, source: ModelSource, options: AutoencoderLoadOptions = {}): Promise<AutoencoderKL> {
    const { parts = PARTS, ...rest } = options;
    const calls = (config: AutoencoderKLConfig) => parts.map((part) => smallest(config, part));
    return new AutoencoderKL(await LoadedModel.load(device, source, definition, { ...rest, calls }));
  }

  /** The fields of `config.json`. */
  get config(): AutoencoderKLConfig {
    return this.model.config;
  }

  /** Pixels per latent cell along each side. */
  get downsampling(): number {
    return 2 ** (this.config.blockOutChannels.length - 1);
  }

  /** When pictures go through in tiles; default `auto`. */
  get tiling(): Tiling {
    return this.split.tiling;
  }

  set tiling(tiling: Tiling) {
    this.split.tiling = tiling;
  }

  /**
   * image [B,C,H,W], in −1 … 1 as trained → moments [B,2L,H/f,W/f], valid until the next call. Scales nothing.
   * @throws InvalidArgumentError, ShapeError for a bad image, or after {@link dispose}; LimitError where the size does
   * not fit the device; OutOfMemoryError, DeviceLostError, NonFiniteError, AbortedError; all but a lost device leave it
   * usable.
   */
  async encode({ image, ...options }: RunOptions & { image: TensorInput }): Promise<EncodeOutput> {
    const out = await this.call('encode', image, options);
    return { ...out, posterior: async () => new DiagonalGaussian(await out.read(), out.shape) };
  }

  /**
   * latent [B,L,h,w] → image [B,C,h·f,w·f], valid until the next call. Scales nothing.
   * @throws as {@link AutoencoderKL.encode}.
   */
  decode({ latent, ...options }: RunOptions & { latent: TensorInput }): Promise<ModelOutput> {
    return this.call('decode', latent, options);
  }

  /** Where the time of a call of that shape goes, dispatch by dispatch. @throws as {@link encode} */
  profile(part: AutoencoderPart, shape: AutoencoderShape, options?: RunOptions): Promise<Profile> {
    return this.model.profile(callOf(this.config, part, shape), options);
  }

  /**
   * What a call of that shape takes here, and how it is split; nothing is allocated.
   * @throws LimitError when it does not fit; ShapeError for a shape that the network cannot have.
   */
  plan(part: AutoencoderPart, shape: AutoencoderShape): SplitReport {
    return this.split.plan(this.direction(part), callOf(this.config, part, shape).shape);
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

  private async call(part: AutoencoderPart, input: TensorInput, options: RunOptions): Promise<ModelOutput> {
    checkTensorInput(`AutoencoderKL ${part}`, inputName(part), input);
    return this.split.run(this.direction(part), input, options);
  }

  private direction(part: AutoencoderPart): Direction {
    const { model } = this;
    return {
      encode: part === 'encode',
      cell: this.downsampling,
      tileSize: Math.max(...this.config.sampleSize),
      run: ({ data, shape }, options) => model.run({ part, shape }, { [inputName(part)]: data }, options),
      plan: (shape) => model.plan({ part, shape }),
    };
  }
}

/** Every key and shape that a checkpoint of this config must have; allocates nothing. */
export function autoencoderKlWeights(config: AutoencoderKLConfig): ReadonlyMap<string, readonly number[]> {
  return weightsOf(definition, config);
}

/**
 * What a call takes, by default at the limits that every adapter has; needs neither weights nor device.
 * @throws as {@link AutoencoderKL.plan}.
 */
export function planAutoencoderKL(
  config: AutoencoderKLConfig,
  part: AutoencoderPart,
  shape: AutoencoderShape,
  dtype?: 'f32' | 'f16',
  caps?: Capabilities,
): Report {
  return planModel(definition, config, callOf(config, part, shape), dtype, caps);
}

const inputName = (part: AutoencoderPart) => (part === 'encode' ? 'image' : 'latent');

function callOf(config: AutoencoderKLConfig, part: AutoencoderPart, shape: AutoencoderShape): Call {
  const channels = part === 'encode' ? config.inChannels : config.latentChannels;
  return { part, shape: [shape.batch, channels, shape.height, shape.width] };
}

function smallest(config: AutoencoderKLConfig, part: AutoencoderPart): Call {
  const side = part === 'encode' ? 2 ** (config.blockOutChannels.length - 1) : 1;
  return callOf(config, part, { batch: 1, height: side, width: side });
}
