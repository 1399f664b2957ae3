/** A model on a device, whatever it is: its weights checked and loaded once, one program per form of call. */
import {
  DEFAULT_CAPABILITIES,
  Graph,
  type Capabilities,
  type Device,
  type Profile,
  type Report,
  type WeightChange,
  type WeightSource,
} from '../engine/index.ts';
import { checkKeys, type Checkpoint, type KeyReport, type RawConfig, type Rename } from '../loading/index.ts';
import {
  ModelRuntime,
  planOf,
  type ModelOutput,
  type ModelOutputs,
  type RunOptions,
  type TensorData,
} from './modelRuntime.ts';
import { openModel, type LoadOptions, type ModelSource } from './modelSource.ts';
import { WeightScope } from './weightScope.ts';

/**
 * What a model is. `Call` says everything that changes the recording (batch, sizes, which optional inputs are there)
 * and nothing else: plain data, since a program is kept per value of it.
 */
export interface ModelDefinition<Config, Call extends object> {
  /** What messages call it, and the `_class_name` or architecture of its configs. */
  readonly className: string;
  /** Other classes whose configs it reads. */
  readonly alsoReads?: readonly string[];
  /** @throws ConfigError naming a field that is not understood. */
  readConfig(raw: RawConfig): Config;
  /** Declares inputs, records, names outputs. @throws ShapeError, InvalidArgumentError before anything runs. */
  record(g: Graph, w: WeightScope, config: Config, call: Call): void;
  /** Calls whose recordings together ask for every weight. */
  probes(config: Config): readonly Call[];
  /** Names of older files → today's. */
  readonly rename?: Rename;
  /** Keys that a checkpoint may hold and the model need not read. */
  readonly ignorable?: readonly RegExp[];
  /** See {@link checkKeys}. */
  readonly allowTrailingOnes?: boolean;
  /**
   * Weights as the graph wants them, where they follow from several stored ones; the recording names their keys itself.
   */
  derive?(stored: Checkpoint): WeightSource;
  /** Weights that the host computes with, by key; see {@link LoadedModel.hostWeight}. */
  hostWeights?(config: Config): readonly string[];
}

/** Values of the inputs that a recording declares, by name. */
export type ModelInputs = Readonly<Record<string, TensorData | Uint32Array>>;

/** A definition with the weights of one checkpoint, on a device. */
export class LoadedModel<Config, Call extends object> {
  private constructor(
    private readonly definition: ModelDefinition<Config, Call>,
    readonly config: Config,
    private readonly runtime: ModelRuntime,
    private readonly host: ReadonlyMap<string, Float32Array>,
    /** Stored keys that the architecture may leave unread. */
    readonly ignoredKeys: readonly string[],
  ) {}

  /**
   * Reads the config, checks every key and shape, loads the weights.
   * @param options.calls whose weights to bring now, where not all are wanted; the others come when they are called.
   * @throws ConfigError, WeightError naming keys, FormatError, NotFoundError, OutOfMemoryError, AbortedError; what had
   * been allocated is released.
   */
  static async load<Config, Call extends object>(
    device: Device,
    source: ModelSource,
    definition: ModelDefinition<Config, Call>,
    options: LoadOptions & { calls?: (config: Config) => readonly Call[] } = {},
  ): Promise<LoadedModel<Config, Call>> {
    const { className, alsoReads = [], rename, ignorable, allowTrailingOnes } = definition;
    const opened = await openModel(source, [className, ...alsoReads], options, rename);
    const { config: raw, checkpoint, close } = opened;
    try {
      const config = definition.readConfig(raw);
      const wanted = weightsOf(definition, config);
      const { ignored }: KeyReport = checkKeys({
        where: className,
        wanted,
        checkpoint,
        ignorable,
        allowTrailingOnes,
      });
      const host = new Map<string, Float32Array>();
      for (const key of definition.hostWeights?.(config) ?? []) {
        host.set(key, await checkpoint.read(key, { signal: options.signal, checkFinite: true }));
      }
      const runtime = new ModelRuntime(className, device, definition.derive?.(checkpoint) ?? checkpoint, options);
      const graphs = (options.calls ?? definition.probes)(config).map((call) =>
        runtime.record(recorder(definition, config, call)),
      );
      await runtime.load(graphs, options);
      return new LoadedModel(definition, config, runtime, host, ignored);
    } finally {
      await close();
    }
  }

  /**
   * Runs one call; results are valid until the next one.
   * @param inputs every input of the recording.
   * @throws ShapeError, InvalidArgumentError, LimitError, OutOfMemoryError, DeviceLostError, NonFiniteError,
   * AbortedError; all but a lost device leave it usable.
   */
  runAll(call: Call, inputs: ModelInputs, options: RunOptions = {}): Promise<ModelOutputs> {
    return this.runtime.callAll(keyOf(call), recorder(this.definition, this.config, call), inputs, options);
  }

  /** As {@link runAll}, for the output named `out`. */
  async run(call: Call, inputs: ModelInputs, options: RunOptions = {}): Promise<ModelOutput> {
    return (await this.runAll(call, inputs, options)).out;
  }

  /** A weight that the definition names for the host, f32. */
  hostWeight(key: string): Float32Array {
    return this.host.get(key)!;
  }

  /** Where the time of such a call goes, dispatch by dispatch. @throws as {@link runAll} */
  profile(call: Call, options?: RunOptions): Promise<Profile> {
    return this.runtime.profile(keyOf(call), recorder(this.definition, this.config, call), options);
  }

  /** What such a call takes here; nothing is allocated. @throws LimitError, ShapeError, InvalidArgumentError */
  plan(call: Call): Report {
    const { dtype, device } = this.runtime;
    return planModel(this.definition, this.config, call, dtype, device.caps);
  }

  /** Every key and shape of its weights. */
  get weights(): ReadonlyMap<string, readonly number[]> {
    return weightsOf(this.definition, this.config);
  }

  /**
   * Puts weights through a change on their way from the file to the GPU, in place of the one before; undefined gives
   * back the file's. Waits for calls under way.
   * @throws WeightError for a value that is not finite; DeviceLostError, AbortedError; the next call does what is left.
   */
  changeWeights(change: WeightChange | undefined, options: { signal?: AbortSignal } = {}): Promise<void> {
    return this.runtime.changeWeights(change, options);
  }

  /** What it runs on. */
  get device(): Device {
    return this.runtime.device;
  }

  /** Bytes of the weights on the GPU. */
  get weightBytes(): number {
    return this.runtime.weightBytes;
  }

  /** Releases programs and weights; while a call is under way, as soon as it ends. */
  dispose(): void {
    this.runtime.dispose();
  }
}

/** Every key and shape that a checkpoint of this config must have; allocates nothing. */
export function weightsOf<Config, Call extends object>(
  definition: ModelDefinition<Config, Call>,
  config: Config,
): ReadonlyMap<string, readonly number[]> {
  const w = new WeightScope();
  for (const call of definition.probes(config)) definition.record(new Graph('f32'), w, config, call);
  return w.wanted;
}

/**
 * What a call takes, by default at the limits that every adapter has; needs neither weights nor device.
 * @throws as {@link LoadedModel.plan}
 */
export function planModel<Config, Call extends object>(
  definition: ModelDefinition<Config, Call>,
  config: Config,
  call: Call,
  dtype: 'f32' | 'f16' = 'f32',
  caps: Capabilities = DEFAULT_CAPABILITIES,
): Report {
  return planOf(recorder(definition, config, call), dtype, caps);
}

function recorder<Config, Call extends object>(
  definition: ModelDefinition<Config, Call>,
  config: Config,
  call: Call,
): (g: Graph) => void {
  return (g) => definition.record(g, new WeightScope(), config, call);
}

const keyOf = (call: object) => JSON.stringify(Object.entries(call).sort(([a], [b]) => (a < b ? -1 : 1)));
