/** `UNet2DModel` on a device: load it once, call it with any batch and size. */
import { InvalidArgumentError, type Capabilities, type Device, type Report } from '../engine/index.ts';
import { LoadedModel, planModel, weightsOf, type ModelDefinition } from './loadedModel.ts';
import {
  checkTensorInput,
  type ModelOutput,
  type RunOptions,
  type TensorData,
  type TensorInput,
} from './modelRuntime.ts';
import { Network } from './network.ts';
import type { LoadOptions, ModelSource } from './modelSource.ts';
import { fourierEmbedding, sinusoidalEmbedding } from './timestep.ts';
import { sizeMultiple, timeFeatureDim, unet2d } from './unet2d.ts';
import { readUNet2DConfig, type UNet2DConfig } from './unet2dConfig.ts';

/** One evaluation of the network. */
export interface UNet2DCall extends RunOptions {
  /** [B,C,H,W]. */
  sample: TensorInput;
  /** One for the batch, or one per item: a training timestep, or sigma for networks with Fourier features. */
  timestep: number | readonly number[];
  /** Per item: a class id, a class timestep, or an embedding of timeEmbeddingDim values, as the config says. */
  classLabels?: readonly number[] | Float32Array;
}

/** Batch and size of a call. */
export interface UNet2DShape {
  batch: number;
  height: number;
  width: number;
}

const definition: ModelDefinition<UNet2DConfig, UNet2DShape> = {
  className: 'UNet2DModel',
  readConfig: readUNet2DConfig,
  probes: (config) => [{ batch: 1, height: sizeMultiple(config), width: sizeMultiple(config) }],
  hostWeights: ({ timeEmbeddingType }) => (timeEmbeddingType === 'fourier' ? ['time_proj.weight'] : []),
  record(g, w, config, { batch: B, height, width }) {
    const { inChannels, outChannels, classEmbedding, timeEmbeddingDim, timeEmbeddingType } = config;
    const features = (name: string) =>
      timeEmbeddingType === 'learned'
        ? g.input(name, [B], { dtype: 'u32' })
        : g.input(name, [B, timeFeatureDim(config)]);
    const labels = () => {
      if (classEmbedding === 'table') return g.input('classLabels', [B], { dtype: 'u32' });
      if (classEmbedding === 'identity') return g.input('classLabels', [B, timeEmbeddingDim]);
      return classEmbedding === 'timestep' ? features('classLabels') : undefined;
    };
    const out = unet2d(config, w, {
      sample: g.input('sample', [B, inChannels, height, width]),
      timestep: features('timestep'),
      classLabels: labels(),
      inverseTimestep: timeEmbeddingType === 'fourier' ? g.input('inverseTimestep', [B, outChannels]) : undefined,
    });
    g.output('out', out);
  },
};

/** `UNet2DModel` on a device: noise (or v, or x₀) from a noisy sample and a timestep. Ho et al. 2020, appendix B. */
export class UNet2D extends Network<UNet2DConfig, UNet2DShape> {
  /**
   * Loads `config.json` and the weights beside it.
   * @throws ConfigError, WeightError naming keys, FormatError, NotFoundError, OutOfMemoryError, AbortedError; what had
   * been allocated is released.
   */
  static async load(device: Device, source: ModelSource, options: LoadOptions = {}): Promise<UNet2D> {
    return new UNet2D(await LoadedModel.load(device, source, definition, options));
  }

  /**
   * Predicts from a noisy sample [B,inChannels,H,W], one call at a time. Result [B,outChannels,H,W], valid until the
   * next call.
   * @throws InvalidArgumentError, ShapeError for inputs that do not fit, or after {@link dispose}; LimitError where the
   * size does not fit the device; OutOfMemoryError, DeviceLostError, NonFiniteError, AbortedError; all but a lost
   * device leave it usable.
   */
  async forward(call: UNet2DCall): Promise<ModelOutput> {
    checkTensorInput('UNet2DModel', 'sample', call.sample);
    const { config } = this;
    const [batch, channels, height, width] = call.sample.shape;
    if (channels !== config.inChannels) {
      throw new InvalidArgumentError(`UNet2DModel: expected ${config.inChannels} channels, got ${channels}`);
    }
    const timesteps = perItem('timestep', call.timestep, batch);
    const inputs: Record<string, TensorData | Uint32Array> = {
      sample: call.sample.data,
      timestep: this.features('timestep', timesteps),
    };
    const labels = this.labels(call.classLabels, batch);
    if (labels) inputs.classLabels = labels;
    if (config.timeEmbeddingType === 'fourier') inputs.inverseTimestep = inverse(timesteps, config.outChannels);
    return this.model.run({ batch, height, width }, inputs, call);
  }

  /** Height and width of a sample must be multiples of this. */
  get sizeMultiple(): number {
    return sizeMultiple(this.config);
  }

  /** Timesteps, or class labels that are treated like them. */
  private features(name: string, values: readonly number[]): Float32Array | Uint32Array {
    const { timeEmbeddingType, blockOutChannels, flipSinToCos, freqShift, numTrainTimesteps } = this.config;
    if (timeEmbeddingType === 'fourier') return fourierEmbedding(values, this.model.hostWeight('time_proj.weight'));
    if (timeEmbeddingType === 'learned') return rows(name, values, numTrainTimesteps!);
    return sinusoidalEmbedding(values, blockOutChannels[0], { flipSinToCos, freqShift });
  }

  private labels(labels: UNet2DCall['classLabels'], batch: number): Float32Array | Uint32Array | undefined {
    const { classEmbedding, numClassEmbeds, timeEmbeddingDim } = this.config;
    if (classEmbedding === 'none') {
      if (labels === undefined) return undefined;
      throw new InvalidArgumentError(
        'UNet2DModel: expected no classLabels, the config has no class embedding; omit them',
      );
    }
    const each = classEmbedding === 'identity' ? timeEmbeddingDim : 1;
    if (labels?.length !== batch * each) {
      const what = classEmbedding === 'identity' ? `embeddings of ${timeEmbeddingDim} values` : 'class labels';
      throw new InvalidArgumentError(`UNet2DModel: expected ${batch} ${what}, got ${labels?.length ?? 0} values`);
    }
    if (classEmbedding === 'identity') return Float32Array.from(labels);
    const values = [...labels];
    if (classEmbedding === 'timestep') return this.features('classLabels', values);
    return rows('classLabels', values, numClassEmbeds!);
  }
}

/** Every key and shape that a checkpoint of this config must have; allocates nothing. */
export function unet2dWeights(config: UNet2DConfig): ReadonlyMap<string, readonly number[]> {
  return weightsOf(definition, config);
}

/**
 * What a call takes, by default at the limits that every adapter has; needs neither weights nor device.
 * @throws as {@link UNet2D.plan}.
 */
export function planUNet2D(
  config: UNet2DConfig,
  shape: UNet2DShape,
  dtype?: 'f32' | 'f16',
  caps?: Capabilities,
): Report {
  return planModel(definition, config, shape, dtype, caps);
}

function perItem(name: string, value: number | readonly number[], batch: number): readonly number[] {
  if (typeof value === 'number') return Array<number>(batch).fill(value);
  if (value.length === batch) return value;
  throw new InvalidArgumentError(`UNet2DModel: expected one ${name} or ${batch}, got ${value.length}`);
}

/** Row numbers of a table. */
function rows(name: string, values: readonly number[], count: number): Uint32Array {
  const bad = values.find((v) => !Number.isInteger(v) || v < 0 || v >= count);
  if (bad === undefined) return Uint32Array.from(values);
  throw new InvalidArgumentError(`UNet2DModel: expected ${name} to be integers in 0 … ${count - 1}, got ${bad}`);
}

/** 1/t in every channel of each item. */
function inverse(timesteps: readonly number[], channels: number): Float32Array {
  return Float32Array.from({ length: timesteps.length * channels }, (_, i) => 1 / timesteps[Math.floor(i / channels)]);
}
