/** What models share at run time: weights on a device, one compiled program per shape, one call at a time. */
import {
  Graph,
  InvalidArgumentError,
  numel,
  Program,
  Weights,
  formatShape,
  prepare,
  profile,
  throwIfAborted,
  type Capabilities,
  type CompileOptions,
  type Device,
  type LoadProgress,
  type Profile,
  type Report,
  type WeightChange,
  type WeightSource,
} from '../engine/index.ts';
import { rewrites } from '../kernels/index.ts';

/**
 * Values for an input: host f32, a buffer of dense f32 on the same device, or several buffers with equal parts of the
 * batch (the same one twice serves both halves of guidance).
 */
export type TensorData = Float32Array | GPUBuffer | readonly GPUBuffer[];

/** Values with their shape. */
export interface TensorInput {
  data: TensorData;
  shape: readonly number[];
}

/** What every call of a model takes. */
export interface RunOptions {
  signal?: AbortSignal;
  /** Stops at the first op that writes a NaN or an infinity; slow. */
  checkFinite?: boolean;
  /** Called while a new shape is compiled. */
  onProgress?: CompileOptions['onProgress'];
}

/** A result on the GPU, dense f32 row-major. Valid until the next call of the model that made it. */
export interface ModelOutput {
  readonly shape: readonly number[];
  readonly buffer: GPUBuffer;
  /** The values on the host; call it before the model's next call. @throws DeviceLostError */
  read(): Promise<Float32Array>;
}

/** Results by the names that the recording gives them. */
export type ModelOutputs = Readonly<Record<string, ModelOutput>>;

/** Programs hold activations of their size: the least recently used makes room. */
const MAX_PROGRAMS = 4;

/** How a model is stored and compiled. */
export interface RuntimeOptions {
  /** Storage of activations and weights; arithmetic is f32 either way. */
  dtype?: 'f32' | 'f16';
  /** Names of graph rewrites to leave out: for finding out which one is to blame. */
  rewritesOff?: ReadonlySet<string>;
}

/** The weights of a model on a device and its programs, one per shape. */
export class ModelRuntime {
  readonly dtype: 'f32' | 'f16';
  private readonly programs = new Map<string, Promise<Program>>();
  private last: Promise<unknown> = Promise.resolve();
  private disposed = false;
  /** Calls that run or wait. */
  private calls = 0;
  private readonly weights: Weights;

  constructor(
    /** What messages call the model. */
    readonly name: string,
    readonly device: Device,
    source: WeightSource,
    private readonly options: RuntimeOptions = {},
  ) {
    this.dtype = options.dtype ?? 'f32';
    this.weights = new Weights(device, source);
  }

  /** Records at the model's storage type. */
  record(build: (g: Graph) => void): Graph {
    const graph = new Graph(this.dtype);
    build(graph);
    return graph;
  }

  /** Brings the weights of a recording to the GPU. @throws WeightError, OutOfMemoryError, AbortedError */
  async load(
    graphs: readonly Graph[],
    options: { signal?: AbortSignal; onProgress?: (p: LoadProgress) => void } = {},
  ): Promise<void> {
    try {
      const { rewritesOff } = this.options;
      for (const graph of graphs) {
        const choices = await this.device.tuner.settle(graph, { rewrites, rewritesOff, signal: options.signal });
        await this.weights.load(graph, { ...options, rewrites, rewritesOff, choices });
      }
    } catch (error) {
      this.dispose();
      throw error;
    }
  }

  /**
   * Runs the program of `key`, recorded by `build` if it is not compiled yet, on the given inputs. Calls wait for each
   * other, since they share buffers.
   * @param inputs every input of the recording, u32 ones as Uint32Array.
   * @returns the output named `out`.
   */
  async call(
    key: string,
    build: (g: Graph) => void,
    inputs: Readonly<Record<string, TensorData | Uint32Array>>,
    options: RunOptions = {},
  ): Promise<ModelOutput> {
    return (await this.callAll(key, build, inputs, options)).out;
  }

  /** As {@link call}; every output of the recording by its name. */
  callAll(
    key: string,
    build: (g: Graph) => void,
    inputs: Readonly<Record<string, TensorData | Uint32Array>>,
    options: RunOptions = {},
  ): Promise<ModelOutputs> {
    return this.inTurn(() => this.run(key, build, inputs, options));
  }

  /**
   * Times every dispatch of the program of `key` on whatever its inputs hold, after one run that compiles and warms up.
   * Waits for calls under way.
   * @throws as {@link call}
   */
  profile(key: string, build: (g: Graph) => void, options: RunOptions = {}): Promise<Profile> {
    return this.inTurn(async () => {
      this.alive(options.signal);
      const program = await this.program(key, build, options);
      await program.run(options);
      await this.device.idle();
      return profile(program);
    });
  }

  /** Puts weights through a change, or takes it off, once calls under way have ended. @throws as {@link load} */
  changeWeights(change: WeightChange | undefined, options: { signal?: AbortSignal } = {}): Promise<void> {
    return this.inTurn(() => {
      this.alive(options.signal);
      this.weights.change(change);
      return this.weights.refresh(options);
    });
  }

  /** Bytes of the weights on the GPU. */
  get weightBytes(): number {
    return this.weights.bytes;
  }

  /** Releases programs and weights; while a call is under way, as soon as it ends. Calls that still wait fail. */
  dispose(): void {
    this.disposed = true;
    if (this.calls === 0) this.release();
  }

  private inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.last.then(work);
    this.calls++;
    this.last = turn.catch(() => undefined).then(() => this.ended());
    return turn;
  }

  private alive(signal: AbortSignal | undefined): void {
    if (this.disposed) throw new InvalidArgumentError(`${this.name}: disposed; load it again`);
    throwIfAborted(signal, this.name);
  }

  private ended(): void {
    if (--this.calls === 0 && this.disposed) this.release();
  }

  private release(): void {
    for (const program of this.programs.values()) release(program);
    this.programs.clear();
    this.weights.dispose();
  }

  private async run(
    key: string,
    build: (g: Graph) => void,
    inputs: Readonly<Record<string, TensorData | Uint32Array>>,
    options: RunOptions,
  ): Promise<ModelOutputs> {
    this.alive(options.signal);
    await this.weights.refresh(options);
    const program = await this.program(key, build, options);
    for (const [name, data] of Object.entries(inputs)) this.write(program, name, data);
    await program.run(options);
    const outputs: Record<string, ModelOutput> = {};
    for (const [name, { shape }] of program.graph.outputs) {
      outputs[name] = { shape, buffer: program.outputBuffer(name), read: () => program.read(name) };
    }
    return outputs;
  }

  private async program(key: string, build: (g: Graph) => void, options: RunOptions): Promise<Program> {
    let program = this.programs.get(key);
    if (program) this.programs.delete(key);
    else program = this.compile(build, options);
    this.programs.set(key, program);
    const [oldest] = this.programs.keys();
    if (this.programs.size > MAX_PROGRAMS) {
      release(this.programs.get(oldest)!);
      this.programs.delete(oldest);
    }
    try {
      return await program;
    } catch (error) {
      this.programs.delete(key);
      throw error;
    }
  }

  private async compile(build: (g: Graph) => void, { signal, onProgress }: RunOptions): Promise<Program> {
    const graph = this.record(build);
    const { rewritesOff } = this.options;
    return Program.compile(this.device, graph, this.weights, { signal, onProgress, rewrites, rewritesOff });
  }

  private write(program: Program, name: string, data: TensorData | Uint32Array): void {
    if (data instanceof Float32Array || data instanceof Uint32Array) {
      program.write(name, data);
      return;
    }
    const { shape } = program.graph.inputs.get(name)!;
    const parts = partsOf(data);
    const bytes = (4 * numel(shape)) / parts.length;
    const { gpu } = this.device;
    const encoder = gpu.createCommandEncoder({ label: `input ${name}` });
    const into = program.inputBuffer(name);
    parts.forEach((part, i) => encoder.copyBufferToBuffer(part, 0, into, i * bytes, bytes));
    gpu.queue.submit([encoder.finish()]);
  }
}

function release(program: Promise<Program>): void {
  program.then(
    (p) => p.dispose(),
    () => undefined,
  );
}

/** What a recording takes, known without weights and without a device. @throws LimitError, ShapeError */
export function planOf(build: (g: Graph) => void, dtype: 'f32' | 'f16', caps: Capabilities): Report {
  const graph = new Graph(dtype);
  build(graph);
  return prepare(graph, caps, { rewrites }).report;
}

/** @throws InvalidArgumentError unless `input` has four dimensions and as many elements as they say. */
export function checkTensorInput(where: string, name: string, { data, shape }: TensorInput): void {
  const whole = shape.length === 4 && shape.every((n) => Number.isInteger(n) && n > 0);
  if (whole && holds(data, shape)) return;
  const got = data instanceof Float32Array ? `${data.length} elements` : `${partsOf(data).map((b) => b.size)} bytes`;
  throw new InvalidArgumentError(
    `${where}: expected ${name} of shape [B,C,H,W] with as many f32 elements, got ${formatShape(shape)} and ${got}`,
  );
}

function holds(data: TensorData, shape: readonly number[]): boolean {
  if (data instanceof Float32Array) return data.length === numel(shape);
  const parts = partsOf(data);
  return shape[0] % parts.length === 0 && parts.every((part) => part.size >= (4 * numel(shape)) / parts.length);
}

function partsOf(data: GPUBuffer | readonly GPUBuffer[]): readonly GPUBuffer[] {
  return Array.isArray(data) ? data : [data as GPUBuffer];
}
