/** A diffusion transformer on a device: load it once, call it with any batch and size. */
import { InvalidArgumentError, type Device, type Graph, type Profile, type Report } from '../../engine/index.ts';
import type { Checkpoint } from '../../loading/index.ts';
import { LoadedModel, type ModelDefinition } from '../loadedModel.ts';
import type { ModelOutput, ModelOutputs, RunOptions, TensorData, TensorInput } from '../modelRuntime.ts';
import { openModel, type LoadOptions, type ModelSource } from '../modelSource.ts';
import { sinusoidalEmbedding } from '../timestep.ts';
import type { WeightScope } from '../weightScope.ts';
import { dit } from './dit.ts';
import { readDiTConfig, TIME_FEATURES, type DiTConfig } from './ditConfig.ts';
import { ditKeys, LATER_EMBEDDINGS, sharesEmbedding } from './ditKeys.ts';
import { Cached, labelsOf, perItem, shapeOf } from './inputs.ts';
import { gridPositions, paddedRows } from './positions.ts';

/** One evaluation of the network. */
export interface DiTCall extends RunOptions {
  /** Latents [B,inChannels,H,W]; what patches do not cover at the right and bottom is dropped. */
  sample: TensorInput;
  /** One for the batch, or one per item: a training timestep, 0 … 999. */
  timestep: number | readonly number[];
  /** Per item: a class, or {@link DiT.nullClass}. */
  classLabels: readonly number[];
}

/** What {@link DiT.forwardGuided} takes beside latents, timestep and classes. */
export interface DiTGuidedCall extends DiTCall {
  /** 1 turns guidance off. */
  guidanceScale: number;
  /** What the second half is of, one per item; default the null class. */
  uncondLabels?: readonly number[];
  /** The first output channels are guided; default 3, as in the authors' samples. */
  guidedChannels?: number;
}

/** Batch and size of a call, in latents. */
export interface DiTShape {
  batch: number;
  height: number;
  width: number;
}

interface DiTForm extends DiTShape {
  guided?: boolean;
  traced?: boolean;
}

const TABLE = 'pos_embed.pos_embed';

/** Its weights and recordings. */
export const ditDefinition: ModelDefinition<DiTConfig, DiTForm> = {
  className: 'DiTTransformer2DModel',
  alsoReads: ['Transformer2DModel', 'DiT'],
  readConfig: readDiTConfig,
  record,
  probes: ({ sampleSize }) => [{ batch: 1, height: sampleSize, width: sampleSize }],
  rename: ditKeys,
  // Older versions of the library stored the table that it computes.
  ignorable: [/^pos_embed\.pos_embed$/],
  hostWeights: ({ layout }) => (layout === 'original' ? [TABLE] : []),
};

function record(g: Graph, w: WeightScope, config: DiTConfig, form: DiTForm): void {
  const { batch: B, height, width, guided, traced } = form;
  const { patchSize, inChannels, outChannels, heads, headDim } = config;
  const T = Math.floor(height / patchSize) * Math.floor(width / patchSize);
  if (T < 1) {
    throw new InvalidArgumentError(
      `DiT: expected latents of at least ${patchSize}×${patchSize}, got ${height}×${width}`,
    );
  }
  const factors = (name: string) => g.input(name, [B / 2, patchSize ** 2 * outChannels]);
  const out = dit(
    config,
    w,
    {
      sample: g.input('sample', [B, inChannels, height, width]),
      timestep: g.input('timestep', [B, TIME_FEATURES]),
      classLabels: g.input('classLabels', [B], { dtype: 'u32' }),
      positions: g.input('positions', [T, heads * headDim]),
      guidance: guided ? [factors('guidance'), factors('nullGuidance')] : undefined,
    },
    traced ? (name, tensor) => g.output(name, tensor) : undefined,
  );
  g.output('out', out);
}

/**
 * A diffusion transformer on a device: noise, and the variance where it is learned, from noisy latents, a timestep and
 * a class. Reads diffusers' `DiTTransformer2DModel` and `Transformer2DModel` and the authors' layout. Peebles & Xie
 * 2023.
 */
export class DiT {
  private readonly positions = new Cached<Float32Array>();

  private constructor(private readonly model: LoadedModel<DiTConfig, DiTForm>) {}

  /**
   * Loads `config.json` and the weights beside it; for a checkpoint in the authors' layout without a config see
   * {@link originalDiTConfig}.
   * @throws ConfigError, WeightError naming keys, FormatError, NotFoundError, OutOfMemoryError, AbortedError; what had
   * been allocated is released.
   */
  static async load(device: Device, source: ModelSource, options: LoadOptions = {}): Promise<DiT> {
    const { className, alsoReads = [] } = ditDefinition;
    const opened = await openModel(source, [className, ...alsoReads], options, ditKeys);
    try {
      const { config, checkpoint } = opened;
      const definition = await definitionOf(readDiTConfig(config), checkpoint, options.signal);
      return new DiT(await LoadedModel.load(device, { config, checkpoint }, definition, options));
    } finally {
      await opened.close();
    }
  }

  get config(): DiTConfig {
    return this.model.config;
  }

  /** The label of "no class"; undefined for a network that was trained without it. */
  get nullClass(): number | undefined {
    const { numClasses, classRows } = this.config;
    return classRows > numClasses ? numClasses : undefined;
  }

  /**
   * Predicts from noisy latents, one call at a time. Result [B,outChannels,H,W], valid until the next call: the noise,
   * and behind it the variance where that is learned.
   * @throws InvalidArgumentError, ShapeError for inputs that do not fit, or after {@link dispose}; LimitError where the
   * size does not fit the device; OutOfMemoryError, DeviceLostError, NonFiniteError, AbortedError; all but a lost
   * device leave it usable.
   */
  async forward(call: DiTCall): Promise<ModelOutput> {
    return (await this.run(call, {})).out;
  }

  /** As {@link forward}, with intermediate results: `x_embedder`, `t_emb`, `y_emb`, `block0` …, and `out`. */
  forwardTraced(call: DiTCall): Promise<ModelOutputs> {
    return this.run(call, { traced: true });
  }

  /**
   * Classifier-free guidance inside the network, as the authors' `forward_with_cfg`: the second half of the batch has
   * no class, both halves see the first one's latents, and the first channels of both become u + guidanceScale·(c − u).
   * @param call.sample latents [B/2,inChannels,H,W]
   * @param call.classLabels B/2 classes
   * @throws InvalidArgumentError for a network without a null class where uncondLabels are missing; as {@link forward}
   */
  async forwardGuided(call: DiTGuidedCall): Promise<ModelOutput> {
    const { sample, timestep, classLabels, guidanceScale, guidedChannels = 3 } = call;
    const uncondLabels = call.uncondLabels ?? this.nullLabels(classLabels.length);
    if (!Number.isFinite(guidanceScale)) {
      throw new InvalidArgumentError(`DiT: expected a finite guidanceScale, got ${guidanceScale}; 1 turns it off`);
    }
    const { patchSize, outChannels } = this.config;
    const B = sample.shape[0];
    const factors = (rest: number): Float32Array =>
      Float32Array.from({ length: B * patchSize ** 2 * outChannels }, (_, i) =>
        i % outChannels < guidedChannels ? guidanceScale : rest,
      );
    const twice: DiTCall = {
      ...call,
      sample: { data: doubled(sample.data), shape: [2 * B, ...sample.shape.slice(1)] },
      timestep: typeof timestep === 'number' ? timestep : [...timestep, ...timestep],
      classLabels: [...classLabels, ...uncondLabels],
    };
    return (await this.run(twice, { guided: true }, { guidance: factors(1), nullGuidance: factors(0) })).out;
  }

  /** Where the time of a call of that shape goes, dispatch by dispatch. @throws as {@link forward} */
  profile(shape: DiTShape, options?: RunOptions): Promise<Profile> {
    return this.model.profile(formOf(shape), options);
  }

  /** What a call of that shape takes here; nothing is allocated. @throws LimitError, ShapeError */
  plan(shape: DiTShape): Report {
    return this.model.plan(formOf(shape));
  }

  /** Bytes of the weights on the GPU. */
  get weightBytes(): number {
    return this.model.weightBytes;
  }

  /** Releases programs and weights; while a call is under way, as soon as it ends. */
  dispose(): void {
    this.model.dispose();
  }

  private run(
    call: DiTCall,
    form: Pick<DiTForm, 'guided' | 'traced'>,
    more: Record<string, Float32Array> = {},
  ): Promise<ModelOutputs> {
    const { config } = this;
    const [batch, , height, width] = shapeOf('DiT', 'sample', call.sample, ['B', config.inChannels, 'H', 'W']);
    const timesteps = perItem('DiT', 'timestep', call.timestep, batch);
    const { freqShift } = config;
    return this.model.runAll(
      { batch, height, width, ...form },
      {
        sample: call.sample.data,
        timestep: sinusoidalEmbedding(timesteps, TIME_FEATURES, { flipSinToCos: true, freqShift }),
        classLabels: labelsOf('DiT', call.classLabels, batch, config.classRows),
        positions: this.positions.get(`${height}×${width}`, () => this.table(height, width)),
        ...more,
      },
      call,
    );
  }

  private nullLabels(count: number): number[] {
    const { nullClass } = this;
    if (nullClass !== undefined) return Array<number>(count).fill(nullClass);
    throw new InvalidArgumentError(
      'DiT: expected a network with a null class for guidance, or uncondLabels; call forward instead',
    );
  }

  /** Stored positions where they were stored for this size, else computed ones. */
  private table(height: number, width: number): Float32Array {
    const { layout, sampleSize, patchSize, heads, headDim, interpolationScale: scale } = this.config;
    const [rows, columns, base] = [height, width, sampleSize].map((n) => Math.floor(n / patchSize));
    const D = heads * headDim;
    if (layout === 'original' && rows === base && columns === base) {
      return paddedRows(this.model.hostWeight(TABLE), D);
    }
    return gridPositions(D, { rows, columns, base, scale });
  }
}

/** With one embedding for all blocks where all are the same: it is computed once, and kept once. */
async function definitionOf(
  config: DiTConfig,
  checkpoint: Checkpoint,
  signal: AbortSignal | undefined,
): Promise<typeof ditDefinition> {
  if (config.sharedEmbedding || !(await sharesEmbedding(checkpoint, config.layers, signal))) return ditDefinition;
  return {
    ...ditDefinition,
    readConfig: () => ({ ...config, sharedEmbedding: true }),
    ignorable: [...ditDefinition.ignorable!, LATER_EMBEDDINGS],
  };
}

const formOf = ({ batch, height, width }: DiTShape): DiTForm => ({ batch, height, width });

/** The same values for both halves of a batch. */
function doubled(data: TensorData): TensorData {
  if (data instanceof Float32Array) {
    const out = new Float32Array(2 * data.length);
    out.set(data);
    out.set(data, data.length);
    return out;
  }
  const parts = Array.isArray(data) ? (data as readonly GPUBuffer[]) : [data as GPUBuffer];
  return [...parts, ...parts];
}
