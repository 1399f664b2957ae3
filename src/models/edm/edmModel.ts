/** EDM's networks on a device: load one, call it with any batch and size. */
import { InvalidArgumentError, type Capabilities, type Device, type Report } from '../../engine/index.ts';
import { fromNchw } from '../../kernels/index.ts';
import { LoadedModel, planModel, weightsOf, type ModelDefinition } from '../loadedModel.ts';
import {
  checkTensorInput,
  type ModelOutput,
  type RunOptions,
  type TensorData,
  type TensorInput,
} from '../modelRuntime.ts';
import { Network } from '../network.ts';
import type { LoadOptions, ModelSource } from '../modelSource.ts';
import { dhariwalUNet } from './dhariwalUnet.ts';
import { EDM_CLASSES, noiseFeatures, readEdmConfig, type EdmConfig } from './edmConfig.ts';
import { fourierFeatures, positionalFeatures } from './noiseFeatures.ts';
import { songUNet } from './songUnet.ts';

/** One evaluation of the network. */
export interface EdmCall extends RunOptions {
  /** c_in·x, [B,C,H,W]. */
  sample: TensorInput;
  /** c_noise of the level, one for the batch or one per item. */
  noiseLabels: number | readonly number[];
  /** Per item a class id, or rows of labelDim values (one-hot as a rule); without them all zeros, no class. */
  classLabels?: readonly number[] | Float32Array;
  /** Rows of augmentDim values; without them the augmentation has no say. */
  augmentLabels?: Float32Array;
}

/** Batch and size of a call, and whether it has augmentation labels. */
export interface EdmShape {
  batch: number;
  height: number;
  width: number;
  augmented?: boolean;
}

/** Height and width of a sample must be multiples of this. */
const sizeMultiple = ({ net }: EdmConfig) => 2 ** (net.channelMult.length - 1);

const prefixOf = ({ precond }: EdmConfig) => (precond ? 'model' : '');

const definition: ModelDefinition<EdmConfig, EdmShape> = {
  className: 'EDMPrecond',
  alsoReads: EDM_CLASSES,
  readConfig: readEdmConfig,
  // The filters that the config names are stored, too.
  ignorable: [/(^|\.)resample_filter$/],
  probes(config) {
    const side = sizeMultiple(config);
    return [{ batch: 1, height: side, width: side, augmented: config.net.augmentDim > 0 }];
  },
  hostWeights: (config) => hostKeys(config).map(([key]) => key),
  record(g, w, config, { batch: B, height, width, augmented = false }) {
    const { net } = config;
    for (const [key, length] of hostKeys(config)) w.param(key, [length]);
    const labelled = net.labelDim > 0;
    const scale = net.modelType === 'SongUNet' ? Math.sqrt(net.labelDim) : 1;
    const inputs = {
      x: fromNchw(g.input('sample', [B, net.inChannels, height, width])),
      noise: fromNchw(g.input('noise', [B, noiseFeatures(net)])),
      labels: labelled ? fromNchw(g.input('classLabels', [B, net.labelDim]), { scale }) : undefined,
      augment: augmented ? fromNchw(g.input('augmentLabels', [B, net.augmentDim])) : undefined,
    };
    const at = w.at(prefixOf(config));
    g.output('out', net.modelType === 'SongUNet' ? songUNet(net, at, inputs) : dhariwalUNet(net, at, inputs));
  },
};

/** Weights that the host computes with, and their lengths. */
function hostKeys({ net, precond }: EdmConfig): [string, number][] {
  const keys: [string, number][] = [];
  if (precond?.type === 'iddpm') keys.push(['u', precond.M + 1]);
  if (net.modelType === 'SongUNet' && net.embeddingType === 'fourier') {
    keys.push([precond ? 'model.map_noise.freqs' : 'map_noise.freqs', noiseFeatures(net) / 2]);
  }
  return keys;
}

/** A SongUNet or DhariwalUNet on a device: the raw F of a denoiser. Karras et al. 2022, equation 7. */
export class EdmNetwork extends Network<EdmConfig, EdmShape> {
  /**
   * Loads `config.json` and the weights beside it.
   * @throws ConfigError, WeightError naming keys, FormatError, NotFoundError, OutOfMemoryError, AbortedError; what had
   * been allocated is released.
   */
  static async load(device: Device, source: ModelSource, options: LoadOptions = {}): Promise<EdmNetwork> {
    return new EdmNetwork(await LoadedModel.load(device, source, definition, options));
  }

  /** The levels that an iDDPMPrecond knows, falling to 0; empty for the others. */
  get levels(): Float32Array {
    return this.config.precond?.type === 'iddpm' ? this.model.hostWeight('u') : new Float32Array();
  }

  /**
   * F(c_in·x, c_noise): [B,outChannels,H,W], valid until the next call.
   * @throws InvalidArgumentError, ShapeError for inputs that do not fit, or after {@link dispose}; LimitError where the
   * size does not fit the device; OutOfMemoryError, DeviceLostError, NonFiniteError, AbortedError; all but a lost
   * device leave it usable.
   */
  async forward(call: EdmCall): Promise<ModelOutput> {
    checkTensorInput('EDM network', 'sample', call.sample);
    const { net } = this.config;
    const [batch, channels, height, width] = call.sample.shape;
    const multiple = sizeMultiple(this.config);
    if (channels !== net.inChannels || height % multiple !== 0 || width % multiple !== 0) {
      throw new InvalidArgumentError(
        `EDM network: expected ${net.inChannels} channels and sizes divisible by ${multiple}, ` +
          `got ${channels} channels of ${height}×${width}`,
      );
    }
    const labels = perItem(call.noiseLabels, batch);
    const inputs: Record<string, TensorData> = { sample: call.sample.data, noise: this.features(labels) };
    if (net.labelDim > 0) inputs.classLabels = classRows(call.classLabels, batch, net.labelDim);
    else if (call.classLabels) throw unwanted('classLabels', 'label_dim');
    const augmented = call.augmentLabels !== undefined;
    if (augmented) inputs.augmentLabels = this.augmentRows(call.augmentLabels!, batch);
    return this.model.run({ batch, height, width, augmented }, inputs, call);
  }

  private features(labels: readonly number[]): Float32Array {
    const { config } = this;
    const { net } = config;
    const dim = noiseFeatures(net);
    if (net.modelType === 'DhariwalUNet') return positionalFeatures(labels, dim, { endpoint: false, sinFirst: false });
    if (net.embeddingType === 'positional') return positionalFeatures(labels, dim, { endpoint: true, sinFirst: true });
    return fourierFeatures(labels, this.model.hostWeight(hostKeys(config).at(-1)![0]));
  }

  private augmentRows(rows: Float32Array, batch: number): Float32Array {
    const { augmentDim } = this.config.net;
    if (augmentDim === 0) throw unwanted('augmentLabels', 'augment_dim');
    if (rows.length === batch * augmentDim) return rows;
    throw new InvalidArgumentError(
      `EDM network: expected ${batch}·${augmentDim} augmentLabels, got ${rows.length}; pass a row per item`,
    );
  }
}

/** Every key and shape that a checkpoint of this config must have; allocates nothing. */
export const edmWeights = (config: EdmConfig): ReadonlyMap<string, readonly number[]> => weightsOf(definition, config);

/** What a call takes, by default at the limits that every adapter has; needs neither weights nor device. */
export const planEdm = (config: EdmConfig, shape: EdmShape, dtype?: 'f32' | 'f16', caps?: Capabilities): Report =>
  planModel(definition, config, shape, dtype, caps);

function unwanted(what: string, field: string): InvalidArgumentError {
  return new InvalidArgumentError(`EDM network: expected no ${what}, ${field} of the config is 0; omit them`);
}

function perItem(value: number | readonly number[], batch: number): readonly number[] {
  if (typeof value === 'number') return Array<number>(batch).fill(value);
  if (value.length === batch) return value;
  throw new InvalidArgumentError(`EDM network: expected one noise label or ${batch}, got ${value.length}`);
}

/** Rows as they are; ids as one-hot rows; nothing as zeros. */
function classRows(labels: EdmCall['classLabels'], batch: number, labelDim: number): Float32Array {
  const rows = new Float32Array(batch * labelDim);
  if (labels === undefined) return rows;
  const isRows = labels instanceof Float32Array;
  if (labels.length !== (isRows ? rows.length : batch)) {
    throw new InvalidArgumentError(
      `EDM network: expected ${batch} class ids or ${batch}·${labelDim} label values, got ${labels.length}`,
    );
  }
  if (isRows) return labels;
  labels.forEach((id, b) => {
    if (!Number.isInteger(id) || id < 0 || id >= labelDim) {
      throw new InvalidArgumentError(`EDM network: expected class ids in 0 … ${labelDim - 1}, got ${id}`);
    }
    rows[b * labelDim + id] = 1;
  });
  return rows;
}
