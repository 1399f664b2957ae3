/** NCSNv2 on a device: load one, call it with any batch and size. */
import { InvalidArgumentError, type Capabilities, type Device, type Report } from '../../engine/index.ts';
import { LoadedModel, planModel, weightsOf, type ModelDefinition } from '../loadedModel.ts';
import { checkTensorInput, type ModelOutput, type RunOptions, type TensorInput } from '../modelRuntime.ts';
import { Network } from '../network.ts';
import type { LoadOptions, ModelSource } from '../modelSource.ts';
import { ncsnv2 } from './ncsnv2.ts';
import { NCSNV2_CLASSES, ncsnv2SizeMultiple, readNcsnv2Config, type Ncsnv2Config } from './ncsnv2Config.ts';

/** One evaluation of the network. */
export interface Ncsnv2Call extends RunOptions {
  /** [B,C,H,W]. */
  sample: TensorInput;
  /** Index of the noise level, the largest sigma first; one for the batch, or one per item. */
  noiseIndex: number | readonly number[];
}

/** Batch and size of a call. */
export interface Ncsnv2Shape {
  batch: number;
  height: number;
  width: number;
}

const definition: ModelDefinition<Ncsnv2Config, Ncsnv2Shape> = {
  className: 'NCSNv2',
  alsoReads: NCSNV2_CLASSES,
  readConfig: readNcsnv2Config,
  ignorable: [/\.num_batches_tracked$/],
  probes: (config) => [{ batch: 1, height: ncsnv2SizeMultiple(config), width: ncsnv2SizeMultiple(config) }],
  hostWeights: () => ['sigmas'],
  record(g, w, config, { batch: B, height, width }) {
    w.param('sigmas', [config.numClasses]);
    const sample = g.input('sample', [B, config.channels, height, width]);
    g.output('out', ncsnv2(config, w, sample, g.input('inverseSigma', [B, config.channels])));
  },
};

/** `NCSNv2` on a device: the score of a noisy picture. Song & Ermon 2020, appendix A. */
export class NCSNv2 extends Network<Ncsnv2Config, Ncsnv2Shape> {
  /**
   * Loads `config.json` and the weights beside it.
   * @throws ConfigError, WeightError naming keys, FormatError, NotFoundError, OutOfMemoryError, AbortedError; what had
   * been allocated is released.
   */
  static async load(device: Device, source: ModelSource, options: LoadOptions = {}): Promise<NCSNv2> {
    return new NCSNv2(await LoadedModel.load(device, source, definition, options));
  }

  /** The noise levels that the network knows, falling. */
  get sigmas(): Float32Array {
    return this.model.hostWeight('sigmas');
  }

  /**
   * Result [B,C,H,W], valid until the next call.
   * @throws InvalidArgumentError, ShapeError for inputs that do not fit, or after {@link dispose}; LimitError where the
   * size does not fit the device; OutOfMemoryError, DeviceLostError, NonFiniteError, AbortedError; all but a lost
   * device leave it usable.
   */
  async forward(call: Ncsnv2Call): Promise<ModelOutput> {
    checkTensorInput('NCSNv2', 'sample', call.sample);
    const { config, sigmas } = this;
    const [batch, channels, height, width] = call.sample.shape;
    const multiple = ncsnv2SizeMultiple(config);
    if (channels !== config.channels || height % multiple !== 0 || width % multiple !== 0) {
      throw new InvalidArgumentError(
        `NCSNv2: expected ${config.channels} channels and sizes divisible by ${multiple}, ` +
          `got ${channels} channels of ${height}×${width}`,
      );
    }
    const { noiseIndex } = call;
    const indices = typeof noiseIndex === 'number' ? Array<number>(batch).fill(noiseIndex) : noiseIndex;
    const bad = indices.find((i) => !Number.isInteger(i) || i < 0 || i >= sigmas.length);
    if (indices.length !== batch || bad !== undefined) {
      throw new InvalidArgumentError(
        `NCSNv2: expected one noiseIndex or ${batch}, in 0 … ${sigmas.length - 1}, got ${indices.join(', ')}`,
      );
    }
    const inverseSigma = Float32Array.from(
      { length: batch * channels },
      (_, i) => 1 / sigmas[indices[Math.floor(i / channels)]],
    );
    return this.model.run({ batch, height, width }, { sample: call.sample.data, inverseSigma }, call);
  }
}

/** Every key and shape that a checkpoint of this config must have; allocates nothing. */
export const ncsnv2Weights = (config: Ncsnv2Config): ReadonlyMap<string, readonly number[]> =>
  weightsOf(definition, config);

/** What a call takes, by default at the limits that every adapter has; needs neither weights nor device. */
export const planNcsnv2 = (
  config: Ncsnv2Config,
  shape: Ncsnv2Shape,
  dtype?: 'f32' | 'f16',
  caps?: Capabilities,
): Report => planModel(definition, config, shape, dtype, caps);
