/** `AutoencoderTiny` on a device: pictures to latents and back, fast. */
import type { Capabilities, Device, Profile, Report } from '../../engine/index.ts';
import { LoadedModel, planModel, weightsOf, type ModelDefinition } from '../loadedModel.ts';
import { checkTensorInput, type ModelOutput, type RunOptions, type TensorInput } from '../modelRuntime.ts';
import type { LoadOptions, ModelSource } from '../modelSource.ts';
import { SplitCalls, type Direction, type SplitReport, type Tiling } from '../splitCalls.ts';
import { autoencoderTinyDecode, autoencoderTinyEncode } from './autoencoderTiny.ts';
import { readAutoencoderTinyConfig, type AutoencoderTinyConfig } from './autoencoderTinyConfig.ts';

/** What changes the recording: pixels for `encode`, latent cells for `decode`. */
export interface AutoencoderTinyCall {
  part: 'encode' | 'decode';
  batch: number;
  channels: number;
  height: number;
  width: number;
}

/** A tiny autoencoder. */
export const autoencoderTinyDefinition: ModelDefinition<AutoencoderTinyConfig, AutoencoderTinyCall> = {
  className: 'AutoencoderTiny',
  readConfig: readAutoencoderTinyConfig,
  record(g, w, config, { part, batch, channels, height, width }) {
    const model = part === 'encode' ? autoencoderTinyEncode : autoencoderTinyDecode;
    g.output('out', model(config, w, g.input('x', [batch, channels, height, width])));
  },
  probes: (config) => [
    { part: 'encode', batch: 1, channels: config.inChannels, height: 1, width: 1 },
    { part: 'decode', batch: 1, channels: config.latentChannels, height: 1, width: 1 },
  ],
};

/** Side of a tile in pixels, as the reference library has it: its configs name no size. */
const TILE = 512;

/** A tiny autoencoder on a device. */
export class AutoencoderTiny {
  private readonly split: SplitCalls;

  private constructor(private readonly model: LoadedModel<AutoencoderTinyConfig, AutoencoderTinyCall>) {
    this.split = new SplitCalls(model.device);
  }

  /**
   * Loads `config.json` and the weights beside it.
   * @throws ConfigError, WeightError naming keys, FormatError, NotFoundError, OutOfMemoryError, AbortedError; what had
   * been allocated is released.
   */
  static async load(device: Device, source: ModelSource, options: LoadOptions = {}): Promise<AutoencoderTiny> {
    return new AutoencoderTiny(await LoadedModel.load(device, source, autoencoderTinyDefinition, options));
  }

  get config(): AutoencoderTinyConfig {
    return this.model.config;
  }

  /** Pixels per latent cell along each side, of the encoder. */
  get downsampling(): number {
    return 2 ** (this.config.numEncoderBlocks.length - 1);
  }

  /**
   * When pictures go through in tiles; default `auto`. The networks look a few pixels far and at nothing else, so that
   * tiles are the whole picture but near their seams.
   */
  get tiling(): Tiling {
    return this.split.tiling;
  }

  set tiling(tiling: Tiling) {
    this.split.tiling = tiling;
  }

  /**
   * image [B,C,H,W], in −1 … 1 → latents [B,L,H/f,W/f], rounded up, valid until the next call.
   * @throws InvalidArgumentError, ShapeError for a bad image, or after {@link dispose}; LimitError, OutOfMemoryError,
   * DeviceLostError, NonFiniteError, AbortedError; all but a lost device leave it usable.
   */
  async encode({ image, ...options }: RunOptions & { image: TensorInput }): Promise<ModelOutput> {
    return this.run('encode', 'image', image, options);
  }

  /** latent [B,L,h,w] → image [B,C,h·f,w·f], in −1 … 1, valid until the next call. @throws as {@link encode} */
  async decode({ latent, ...options }: RunOptions & { latent: TensorInput }): Promise<ModelOutput> {
    return this.run('decode', 'latent', latent, options);
  }

  /** Latents as they are → 0 … 1, as a picture could hold them. */
  scaleLatents(latents: Float32Array): Float32Array {
    const { latentMagnitude, latentShift } = this.config;
    return latents.map((x) => Math.min(1, Math.max(0, Math.fround(x / (2 * latentMagnitude)) + latentShift)));
  }

  /** Latents in 0 … 1 → as the decoder takes them. */
  unscaleLatents(latents: Float32Array): Float32Array {
    const { latentMagnitude, latentShift } = this.config;
    return latents.map((x) => Math.fround(x - latentShift) * (2 * latentMagnitude));
  }

  /** What such a call takes here, and how it is split; nothing is allocated. @throws LimitError, ShapeError */
  plan({ part, batch, channels, height, width }: AutoencoderTinyCall): SplitReport {
    return this.split.plan(this.direction(part), [batch, channels, height, width]);
  }

  /** Where the time of such a call goes, dispatch by dispatch. @throws as {@link encode} */
  profile(call: AutoencoderTinyCall, options?: RunOptions): Promise<Profile> {
    return this.model.profile(call, options);
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

  private direction(part: AutoencoderTinyCall['part']): Direction {
    const { model, config } = this;
    const stages = part === 'encode' ? config.numEncoderBlocks : config.numDecoderBlocks;
    const factor = part === 'encode' ? 2 : config.upsamplingScalingFactor;
    const call = ([batch, channels, height, width]: readonly number[]): AutoencoderTinyCall => {
      return { part, batch, channels, height, width };
    };
    return {
      encode: part === 'encode',
      cell: factor ** (stages.length - 1),
      tileSize: TILE,
      run: ({ data, shape }, options) => model.run(call(shape), { x: data }, options),
      plan: (shape) => model.plan(call(shape)),
    };
  }

  private async run(
    part: AutoencoderTinyCall['part'],
    name: string,
    input: TensorInput,
    options: RunOptions,
  ): Promise<ModelOutput> {
    checkTensorInput(`AutoencoderTiny ${part}`, name, input);
    return this.split.run(this.direction(part), input, options);
  }
}

/** Every key and shape that a checkpoint of this config must have; allocates nothing. */
export function autoencoderTinyWeights(config: AutoencoderTinyConfig): ReadonlyMap<string, readonly number[]> {
  return weightsOf(autoencoderTinyDefinition, config);
}

/** What a call takes at the limits that every adapter has. @throws LimitError, ShapeError */
export function planAutoencoderTiny(
  config: AutoencoderTinyConfig,
  call: AutoencoderTinyCall,
  dtype: 'f32' | 'f16' = 'f32',
  caps?: Capabilities,
): Report {
  return planModel(autoencoderTinyDefinition, config, call, dtype, caps);
}
