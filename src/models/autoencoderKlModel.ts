/** `AutoencoderKL` on a device: pictures to latents and back. */
import {
  DEFAULT_CAPABILITIES,
  Graph,
  type Capabilities,
  type Device,
  type Profile,
  type Report,
} from '../engine/index.ts';
import { checkKeys } from '../loading/index.ts';
import { autoencoderKlDecode, autoencoderKlEncode } from './autoencoderKl.ts';
import { readAutoencoderKLConfig, type AutoencoderKLConfig } from './autoencoderKlConfig.ts';
import { DiagonalGaussian } from './diagonalGaussian.ts';
import {
  checkTensorInput,
  ModelRuntime,
  planOf,
  type ModelOutput,
  type RunOptions,
  type TensorInput,
} from './modelRuntime.ts';
import { openModel, type LoadOptions, type ModelSource } from './modelSource.ts';
import { WeightScope } from './weightScope.ts';

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

/**
 * `AutoencoderKL` on a device: pictures to latents and back. Kingma & Welling 2014; Rombach et al. 2022, section 3.1.
 */
export class AutoencoderKL {
  private constructor(
    readonly config: AutoencoderKLConfig,
    private readonly runtime: ModelRuntime,
  ) {}

  /**
   * Loads `config.json` and the weights beside it, under old or new attention names.
   * @throws ConfigError, WeightError naming keys, FormatError, NotFoundError, OutOfMemoryError, AbortedError; what had
   * been allocated is released.
   */
  static async load(device: Device, source: ModelSource, options: AutoencoderLoadOptions = {}): Promise<AutoencoderKL> {
    const { config: raw, checkpoint, close } = await openModel(source, 'AutoencoderKL', options);
    try {
      const config = readAutoencoderKLConfig(raw);
      checkKeys({ where: 'AutoencoderKL', wanted: autoencoderKlWeights(config), checkpoint });
      const runtime = new ModelRuntime('AutoencoderKL', device, checkpoint, options);
      const parts = options.parts ?? ['encode', 'decode'];
      await runtime.load(
        parts.map((part) => runtime.record(recorder(config, part, smallest(config, part)))),
        options,
      );
      return new AutoencoderKL(config, runtime);
    } finally {
      await close();
    }
  }

  /** Pixels per latent cell along each side. */
  get downsampling(): number {
    return 2 ** (this.config.blockOutChannels.length - 1);
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
    const { batch, height, width } = shape;
    const channels = part === 'encode' ? this.config.inChannels : this.config.latentChannels;
    const key = keyOf(part, [batch, channels, height, width]);
    return this.runtime.profile(key, recorder(this.config, part, shape), options);
  }

  /**
   * What a call of that shape takes here; nothing is allocated.
   * @throws LimitError when it does not fit; ShapeError for a shape that the network cannot have.
   */
  plan(part: AutoencoderPart, shape: AutoencoderShape): Report {
    return planAutoencoderKL(this.config, part, shape, this.runtime.dtype, this.runtime.device.caps);
  }

  /** Bytes of the weights on the GPU. */
  get weightBytes(): number {
    return this.runtime.weightBytes;
  }

  /** Releases programs and weights; while a call is under way, as soon as it ends. */
  dispose(): void {
    this.runtime.dispose();
  }

  private async call(part: AutoencoderPart, input: TensorInput, options: RunOptions): Promise<ModelOutput> {
    checkTensorInput(`AutoencoderKL ${part}`, inputName(part), input);
    const [batch, channels, height, width] = input.shape;
    const shape = { batch, height, width };
    const build = recorder(this.config, part, shape, undefined, channels);
    const key = keyOf(part, input.shape);
    return this.runtime.call(key, build, { [inputName(part)]: input.data }, options);
  }
}

/** Every key and shape that a checkpoint of this config must have; allocates nothing. */
export function autoencoderKlWeights(config: AutoencoderKLConfig): ReadonlyMap<string, readonly number[]> {
  const w = new WeightScope();
  for (const part of ['encode', 'decode'] as const) {
    recorder(config, part, smallest(config, part), w)(new Graph('f32'));
  }
  return w.wanted;
}

/**
 * What a call takes, by default at the limits that every adapter has; needs neither weights nor device.
 * @throws as {@link AutoencoderKL.plan}.
 */
export function planAutoencoderKL(
  config: AutoencoderKLConfig,
  part: AutoencoderPart,
  shape: AutoencoderShape,
  dtype: 'f32' | 'f16' = 'f32',
  caps: Capabilities = DEFAULT_CAPABILITIES,
): Report {
  return planOf(recorder(config, part, shape), dtype, caps);
}

/** Declares the input of one direction and records it. */
function recorder(
  config: AutoencoderKLConfig,
  part: AutoencoderPart,
  { batch, height, width }: AutoencoderShape,
  w = new WeightScope(),
  channels = part === 'encode' ? config.inChannels : config.latentChannels,
): (g: Graph) => void {
  const model = part === 'encode' ? autoencoderKlEncode : autoencoderKlDecode;
  return (g) => g.output('out', model(config, w, g.input(inputName(part), [batch, channels, height, width])));
}

const inputName = (part: AutoencoderPart) => (part === 'encode' ? 'image' : 'latent');

function smallest(config: AutoencoderKLConfig, part: AutoencoderPart): AutoencoderShape {
  const side = part === 'encode' ? 2 ** (config.blockOutChannels.length - 1) : 1;
  return { batch: 1, height: side, width: side };
}

const keyOf = (part: AutoencoderPart, shape: readonly number[]) => `${part} ${shape.join('×')}`;
