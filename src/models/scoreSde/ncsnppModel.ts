/** NCSN++ and DDPM++ on a device: load one, call it with any batch and size. */
import { InvalidArgumentError, type Capabilities, type Device, type Report } from '../../engine/index.ts';
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
import { fourierEmbedding } from '../timestep.ts';
import { featureDim, ncsnpp } from './ncsnpp.ts';
import { readNcsnppConfig, type NcsnppConfig } from './ncsnppConfig.ts';

/** One evaluation of the network. */
export interface NcsnppCall extends RunOptions {
  /** [B,C,H,W]. */
  sample: TensorInput;
  /** One for the batch, or one per item: sigma for networks with Fourier features, otherwise a time 0 … 999. */
  timeCond: number | readonly number[];
}

/** Batch and size of a call. */
export interface NcsnppShape {
  batch: number;
  height: number;
  width: number;
}

const sizeMultiple = ({ chMult }: NcsnppConfig) => 2 ** (chMult.length - 1);

/** Sigmas of discrete training are looked up only where the network is told their index. */
const readsSigmas = ({ scaleBySigma, embeddingType }: NcsnppConfig) => scaleBySigma && embeddingType === 'positional';
const FREQUENCIES = 'all_modules.0.W';

const definition: ModelDefinition<NcsnppConfig, NcsnppShape> = {
  className: 'NCSNpp',
  readConfig: readNcsnppConfig,
  ignorable: [/^sigmas$/],
  probes: (config) => [{ batch: 1, height: sizeMultiple(config), width: sizeMultiple(config) }],
  hostWeights(config) {
    const keys = config.embeddingType === 'fourier' ? [FREQUENCIES] : [];
    return readsSigmas(config) ? [...keys, 'sigmas'] : keys;
  },
  record(g, w, config, { batch: B, height, width }) {
    const { numChannels: C } = config;
    if (readsSigmas(config)) w.param('sigmas', [config.numScales]);
    const out = ncsnpp(config, w, {
      sample: g.input('sample', [B, C, height, width]),
      features: config.conditional ? g.input('features', [B, featureDim(config)]) : undefined,
      inverseSigma: config.scaleBySigma ? g.input('inverseSigma', [B, C]) : undefined,
    });
    g.output('out', out);
  },
};

/** `NCSNpp` on a device: the score of a noisy picture, or ε, as it was trained. Song et al. 2021, appendix H. */
export class NCSNpp extends Network<NcsnppConfig, NcsnppShape> {
  /**
   * Loads `config.json` and the weights beside it.
   * @throws ConfigError, WeightError naming keys, FormatError, NotFoundError, OutOfMemoryError, AbortedError; what had
   * been allocated is released.
   */
  static async load(device: Device, source: ModelSource, options: LoadOptions = {}): Promise<NCSNpp> {
    return new NCSNpp(await LoadedModel.load(device, source, definition, options));
  }

  /**
   * Result [B,C,H,W], valid until the next call.
   * @throws InvalidArgumentError, ShapeError for inputs that do not fit, or after {@link dispose}; LimitError where the
   * size does not fit the device; OutOfMemoryError, DeviceLostError, NonFiniteError, AbortedError; all but a lost
   * device leave it usable.
   */
  async forward(call: NcsnppCall): Promise<ModelOutput> {
    checkTensorInput('NCSNpp', 'sample', call.sample);
    const { config } = this;
    const [batch, channels, height, width] = call.sample.shape;
    const multiple = sizeMultiple(config);
    if (channels !== config.numChannels || height % multiple !== 0 || width % multiple !== 0) {
      throw new InvalidArgumentError(
        `NCSNpp: expected ${config.numChannels} channels and sizes divisible by ${multiple}, ` +
          `got ${channels} channels of ${height}×${width}`,
      );
    }
    const times = typeof call.timeCond === 'number' ? Array<number>(batch).fill(call.timeCond) : call.timeCond;
    if (times.length !== batch) {
      throw new InvalidArgumentError(`NCSNpp: expected one timeCond or ${batch}, got ${times.length}`);
    }
    const inputs: Record<string, TensorData> = { sample: call.sample.data };
    if (config.conditional) inputs.features = this.features(times);
    if (config.scaleBySigma) {
      const sigmas = times.map((t) => this.sigmaOf(t));
      inputs.inverseSigma = Float32Array.from(
        { length: batch * channels },
        (_, i) => 1 / sigmas[Math.floor(i / channels)],
      );
    }
    return this.model.run({ batch, height, width }, inputs, call);
  }

  private features(times: readonly number[]): Float32Array {
    const { embeddingType, nf } = this.config;
    if (embeddingType === 'fourier') return fourierEmbedding(times, this.model.hostWeight(FREQUENCIES));
    return timeFeatures(times, nf);
  }

  /** What the output is divided by. */
  private sigmaOf(time: number): number {
    if (this.config.embeddingType === 'fourier') return time;
    const sigmas = this.model.hostWeight('sigmas');
    const index = Math.trunc(time);
    if (index >= 0 && index < sigmas.length) return sigmas[index];
    throw new InvalidArgumentError(`NCSNpp: expected a timeCond in 0 … ${sigmas.length - 1}, got ${time}`);
  }
}

/** Every key and shape that a checkpoint of this config must have; allocates nothing. */
export const ncsnppWeights = (config: NcsnppConfig): ReadonlyMap<string, readonly number[]> =>
  weightsOf(definition, config);

/** What a call takes, by default at the limits that every adapter has; needs neither weights nor device. */
export const planNcsnpp = (
  config: NcsnppConfig,
  shape: NcsnppShape,
  dtype?: 'f32' | 'f16',
  caps?: Capabilities,
): Report => planModel(definition, config, shape, dtype, caps);

/** Sines, then cosines [B,dim] of times, rounded to f32 where DDPM's code rounds; an odd width ends in zero. */
function timeFeatures(times: readonly number[], dim: number): Float32Array {
  const f = Math.fround;
  const half = Math.floor(dim / 2);
  const step = f(-Math.log(10000) / (half - 1));
  const frequencies = Float32Array.from({ length: half }, (_, i) => Math.exp(f(i * step)));
  const out = new Float32Array(times.length * dim);
  times.forEach((t, b) => {
    if (!Number.isFinite(t)) throw new InvalidArgumentError(`NCSNpp: expected a finite timeCond, got ${t}`);
    frequencies.forEach((frequency, i) => {
      const angle = f(f(t) * frequency);
      out[b * dim + i] = Math.sin(angle);
      out[b * dim + half + i] = Math.cos(angle);
    });
  });
  return out;
}
